import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// The prefix against its formula in f64, where it stands, and what it starts from.
@Suite struct FormulaTests {
    /// Sums of at most 512 products, below 4 together, rounded to f32: some sixteen roundings in a row, 16 x 2^-24 x 4.
    static let tolerance: Float = 4e-6

    @Test(arguments: [TinyModel(.t5), TinyModel(.bart)], [["mlp_hidden_size": 5], [:]] as [JSON])
    func theNetworkFollowsTheFormula(_ family: TinyModel, _ options: JSON) throws {
        let model = try OpenModel(family)
        let all = JSON.object(options.objectValue! + [(key: "prefix_length", value: 4)])
        let adapter = try Adapter(backbone: model.backbone, id: "prefix-tuning", options: all, seed: 3)
        let given = GivenPrefixes(model.info)
        let found = try given.through(adapter, model.session, adding: [4, 4, 4])
        for attention in PrefixAttention.allCases {
            let expected = given.followed(by: networkPrefix(adapter, attention), attention)
            #expect(distance(found[attention.rawValue], expected) < Self.tolerance, "\(attention)")
        }
    }

    @Test func plainNumbersAreTheParameters() throws {
        let model = try OpenModel()
        let adapter = try Adapter(
            backbone: model.backbone, id: "prefix-tuning", options: ["prefix_length": 3, "reparameterization": "none"])
        let given = GivenPrefixes(model.info)
        let found = try given.through(adapter, model.session, adding: [3, 3, 3])
        for (attention, entry) in zip(PrefixAttention.allCases, adapter.parameters.entries) {
            #expect(entry.name == "\(attention).prefix" && entry.tensor.shape == [2, 2, 2, 3, 8])
            #expect(bitEqual(found[attention.rawValue], given.followed(by: entry.tensor.floats, attention)))
        }
    }

    @Test(arguments: PrefixAttention.allCases) func oneAttentionLeavesTheOthers(_ attention: PrefixAttention) throws {
        let model = try OpenModel()
        let adapter = try Adapter(
            backbone: model.backbone, id: "prefix-tuning",
            options: ["prefix_length": 2, "attention": .string("\(attention)")], seed: 1)
        #expect(adapter.parameters.entries.allSatisfy { $0.name.hasPrefix("\(attention).") })
        let given = GivenPrefixes(model.info)
        let found = try given.through(
            adapter, model.session, adding: PrefixAttention.allCases.map { $0 == attention ? 2 : 0 })
        for other in PrefixAttention.allCases where other != attention {
            #expect(bitEqual(found[other.rawValue], given.values[other.rawValue]))
        }
        let expected = given.followed(by: networkPrefix(adapter, attention), attention)
        #expect(distance(found[attention.rawValue], expected) < Self.tolerance)

        // Attached alone, the others get none.
        try model.session.attach(adapter)
        #expect(model.session.prefixLength == PrefixAttention.allCases.map { $0 == attention ? 2 : 0 })
    }

    @Test func theNetworkStartsAsPEFTs() throws {
        let model = try OpenModel(TinyModel(.bart, dModel: 64))
        let adapter = try Adapter(
            backbone: model.backbone, id: "prefix-tuning", options: ["deviation": 0.5, "attention": "decoder"], seed: 1)
        let expected: [(String, Shape)] = [
            ("embedding.weight", [20, 64]), ("transform.0.weight", [512, 64]), ("transform.0.bias", [512]),
            ("transform.2.weight", [256, 512]), ("transform.2.bias", [256]),
        ]
        #expect(adapter.parameters.entries.map(\.name) == expected.map { "decoder." + $0.0 })
        #expect(adapter.parameters.entries.map(\.tensor.shape) == expected.map(\.1))

        func deviation(_ values: [Float]) -> Float {
            (values.map { $0 * $0 }.reduce(0, +) / Float(values.count)).squareRoot()
        }
        // Of 1280 draws: within four of their own deviation / sqrt(2 x 1280).
        #expect(abs(deviation(adapter.parameters["decoder.embedding.weight"]!.floats) - 0.5) < 0.04)
        for (layer, inputs) in [("0", 64), ("2", 512)] {
            let bound = 1 / Float(inputs).squareRoot()
            for part in ["weight", "bias"] {
                let values = adapter.parameters["decoder.transform.\(layer).\(part)"]!.floats
                let largest = values.map(abs).max()!
                #expect(largest <= bound && largest > 0.97 * bound, "\(layer).\(part)")
                // A uniform distribution has the deviation bound / sqrt 3, here within four of its own over 256 draws.
                #expect(abs(deviation(values) / (bound / Float(3).squareRoot()) - 1) < 0.11, "\(layer).\(part)")
            }
        }
    }

    /// Two adapters give what one gives that holds both their numbers.
    @Test(arguments: TinyModel.everyFamily + TinyModel.decoders + [TinyModel(.bert)])
    func twoStandBehindEachOther(_ family: TinyModel) throws {
        func attach(_ model: OpenModel, _ length: Int64) throws -> Adapter {
            try model.attach("prefix-tuning", ["prefix_length": .int(length), "reparameterization": "none"])
        }
        let (parts, whole) = (try OpenModel(family), try OpenModel(family))
        let (first, second, both) = (try attach(parts, 2), try attach(parts, 3), try attach(whole, 5))
        randomise(first, deviation: 1, seed: 1)
        randomise(second, deviation: 1, seed: 2)
        for (index, entry) in both.parameters.entries.enumerated() {
            let (a, b) = (first.parameters.entries[index].tensor, second.parameters.entries[index].tensor)
            let rows = a.elementCount / (2 * a.shape[4])
            func row(_ tensor: Tensor, _ index: Int) -> ArraySlice<Float> {
                let size = tensor.elementCount / rows
                return tensor.floats[index * size..<(index + 1) * size]
            }
            entry.tensor.assign((0..<rows).flatMap { row(a, $0) + row(b, $0) })
        }
        #expect(parts.session.prefixLength == whole.session.prefixLength)
        let found = try parts.scores()
        let expected = try whole.scores()
        #expect(bitEqual(found, expected))
        try parts.session.detach(second)
        #expect(distance(try parts.scores(), expected) > 1e-3, "the second matters")
    }
}

extension OpenModel {
    /// What the model makes of a few texts, with its adapters: scores of a decoder, hidden states of an encoder alone.
    func scores() throws -> [Float] {
        let pairs = makePairs(3)
        if info.architecture == .encoderOnly {
            let batch = try Batch(sources: pairs.sources, info: info)
            let context = session.makeContext(recordsGradients: false)
            return try context.contiguous(try session.encode(context, batch)).floats
        }
        return try logits(try Batch(sources: pairs.sources, targets: pairs.targets, info: info))
    }
}
