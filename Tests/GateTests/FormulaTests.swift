import Engine
import Files
import Glibc
import SeamHost
import Support
import TestSupport
import Testing

/// The weighted prefix against its formula, for every option.
@Suite struct FormulaTests {
    static let options: [JSON] = ["token", "token-layer"].flatMap { scope in
        ["kv", "v"].map { ["scope": .string(scope), "applied_to": .string($0)] }
    }

    private func gate(_ model: OpenModel, _ options: JSON, tokens: [Int] = [2, 3, 1]) throws -> Adapter {
        try Adapter(backbone: model.backbone, id: "gate", options: options, prefixLength: tokens)
    }

    private func sigmoid(_ x: Float) -> Double { 1 / (1 + exp(-Double(x))) }

    @Test(arguments: options) func tokensAreWeighted(_ options: JSON) throws {
        let model = try OpenModel()
        let adapter = try gate(model, options)
        randomise(adapter, deviation: 2)
        let given = GivenPrefixes(model.info)
        let found = try given.through(adapter, model.session)
        for attention in PrefixAttention.allCases {
            let (shape, values) = (given.shapes[attention.rawValue], given.values[attention.rawValue])
            let logits = adapter.parameters["\(attention).gate"]!.floats
            let isPerLayer = options["scope"] == "token-layer"
            #expect(logits.count == (isPerLayer ? shape[0] : 1) * shape[3])
            let expected = values.indices.map { index -> Float in
                let token = index / shape[4] % shape[3]
                let part = index / (shape[4] * shape[3] * shape[2])
                let (layer, isKey) = (part / 2, part % 2 == 0)
                if isKey && options["applied_to"] == "v" { return values[index] }
                return Float(Double(values[index]) * sigmoid(logits[(isPerLayer ? layer * shape[3] : 0) + token]))
            }
            // Two roundings of numbers below 4, and that of the sigmoid.
            #expect(distance(found[attention.rawValue], expected) < 1e-6, "\(attention)")
        }
    }

    @Test(arguments: options) func weightsOfOneAreTheIdentity(_ options: JSON) throws {
        let model = try OpenModel()
        let adapter = try gate(model, options)
        for entry in adapter.parameters.entries {
            entry.tensor.assign([Float](repeating: 20, count: entry.tensor.elementCount))
        }
        let given = GivenPrefixes(model.info)
        let found = try given.through(adapter, model.session)
        // sigmoid(20) is 1 - 2e-9.
        for (found, given) in zip(found, given.values) { #expect(distance(found, given) < 1e-6) }
    }

    @Test(arguments: [0.5, 0.9, 0.01]) func theStart(_ weight: Double) throws {
        let adapter = try gate(try OpenModel(), ["initial_weight": .double(weight)])
        for value in adapter.parameters.entries.flatMap(\.tensor.floats) {
            #expect(abs(sigmoid(value) - weight) < 1e-6)
            #expect(weight != 0.5 || value == 0)
        }
        let plain = try gate(try OpenModel(), .null)
        #expect(plain.parameters.entries.flatMap(\.tensor.floats).allSatisfy { $0 == 0 })
    }

    /// Behind one prefix or two, the gate weights what all of them gave: as one prefix of weighted numbers.
    @Test(arguments: TinyModel.everyFamily + TinyModel.decoders, options)
    func behindPrefixes(_ family: TinyModel, _ options: JSON) throws {
        func attach(_ model: OpenModel, _ id: String, _ options: JSON) throws -> Adapter {
            let adapter = try model.attach(id, options)
            randomise(adapter, deviation: 1, seed: 5)
            return adapter
        }
        func plain(_ length: Int64) -> JSON { ["prefix_length": .int(length), "reparameterization": "none"] }
        let (gated, weighted) = (try OpenModel(family), try OpenModel(family))
        let pairs = makePairs(3)
        let batch = try Batch(sources: pairs.sources, targets: pairs.targets, info: gated.info)
        let parts = try [attach(gated, "prefix-tuning", plain(2)), attach(gated, "prefix-tuning", plain(1))]
        let own = try attach(gated, "gate", options)
        let copies = try [attach(weighted, "prefix-tuning", plain(2)), attach(weighted, "prefix-tuning", plain(1))]
        for (place, copy) in copies.enumerated() {
            for entry in copy.parameters.entries {
                let attention = String(entry.name.prefix { $0 != "." })
                let logits = own.parameters["\(attention).gate"]!
                let (shape, values) = (entry.tensor.shape, parts[place].parameters[entry.name]!.floats)
                entry.tensor.assign(
                    values.indices.map { index in
                        let (token, part) = (index / shape[4] % shape[3], index / (shape[4] * shape[3] * shape[2]))
                        if part % 2 == 0 && options["applied_to"] == "v" { return values[index] }
                        let row = logits.shape.count == 2 ? part / 2 * 3 : 0
                        return values[index] * Float(sigmoid(logits.floats[row + place * 2 + token]))
                    })
            }
        }
        // Relative to logits of up to 10 some layers behind the rounding of the weights.
        #expect(distance(try gated.logits(batch), try weighted.logits(batch)) < 2e-5)
        try gated.session.detach(own)
        #expect(distance(try gated.logits(batch), try weighted.logits(batch)) > 1e-3, "the gate matters")
    }

    /// It stays an adapter of its own, behind the saved prefix.
    @Test(arguments: options) func aLoadedGateGivesTheSame(_ options: JSON) throws {
        let model = try OpenModel()
        let pairs = makePairs(3)
        let batch = try Batch(sources: pairs.sources, targets: pairs.targets, info: model.info)
        let adapters = [try model.attach("residual-prefix", ["prefix_length": 3]), try model.attach("gate", options)]
        randomise(adapters[1], deviation: 2)
        let expected = try model.logits(batch)
        let paths = try adapters.map { adapter in
            let path = model.scratch[adapter.factory.id]
            try AdapterFolder.save(adapter, backbone: model.backbone, isBackboneTrained: false, notes: "", to: path)
            return path
        }
        for adapter in adapters.reversed() { try model.session.detach(adapter) }
        for path in paths { try model.session.attach(try AdapterFolder.load(path, backbone: model.backbone)) }
        #expect(bitEqual(try model.logits(batch), expected))
        let names = model.session.adapters[1].parameters.entries.map(\.name)
        #expect(names == ["encoder.gate", "decoder.gate", "cross.gate"])
    }
}
