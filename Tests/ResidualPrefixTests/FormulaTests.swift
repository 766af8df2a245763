import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// The prefix of every mode against its formula in f64.
@Suite struct FormulaTests {
    /// As for the network of prefix tuning, with numbers up to 8.
    static let tolerance: Float = 8e-6

    static let modes = ["output", "hidden", "both", "none"]

    static func options(_ residual: String, layerNorm: Bool) -> JSON {
        ["prefix_length": 3, "residual": .string(residual), "layer_norm": .bool(layerNorm)]
    }

    private func expected(_ adapter: Adapter, _ residual: String, _ attention: PrefixAttention) -> [Float] {
        networkPrefix(
            adapter, attention, aroundHidden: ["hidden", "both"].contains(residual),
            aroundOutput: ["output", "both"].contains(residual))
    }

    @Test(arguments: modes, [false, true]) func everyMode(_ residual: String, _ layerNorm: Bool) throws {
        let model = try OpenModel()
        let adapter = try Adapter(
            backbone: model.backbone, id: "residual-prefix", options: Self.options(residual, layerNorm: layerNorm))
        randomise(adapter)
        let given = GivenPrefixes(model.info)
        let found = try given.through(adapter, model.session, adding: [3, 3, 3])
        let folded = try adapter.folded(for: model.backbone)
        for attention in PrefixAttention.allCases {
            let own = expected(adapter, residual, attention)
            #expect(distance(found[attention.rawValue], given.followed(by: own, attention)) < Self.tolerance)
            let numbers = folded.parameters["\(attention).prefix"]!
            #expect(numbers.shape == [2, 2, 2, 3, 8] && distance(numbers.floats, own) < Self.tolerance)
            #expect((adapter.parameters["\(attention).norm.weight"]?.shape == [16]) == layerNorm)
        }
        // No two modes give the same.
        for other in Self.modes where other != residual {
            let needsWidth = other == "hidden" || other == "both"
            if needsWidth, adapter.parameters["cross.transform.0.bias"]!.shape != [16] { continue }
            #expect(distance(expected(adapter, other, .cross), expected(adapter, residual, .cross)) > 0.1)
        }
    }

    /// Heads of keys and values that are fewer than those of queries: their width counts.
    @Test func groupedHeads() throws {
        let model = try OpenModel(TinyModel(.llama))
        let adapter = try Adapter(
            backbone: model.backbone, id: "residual-prefix", options: Self.options("both", layerNorm: true))
        #expect(adapter.parameters["decoder.embedding.weight"]!.shape == [3, 8])
        randomise(adapter)
        let folded = try adapter.folded(for: model.backbone)
        let numbers = folded.parameters["decoder.prefix"]!.floats
        #expect(distance(numbers, expected(adapter, "both", .decoder)) < Self.tolerance)
    }

    @Test func widthsOfTheHiddenBlock() throws {
        let model = try OpenModel()
        for (residual, width) in [("output", 512), ("hidden", 16), ("both", 16), ("none", 512)] {
            let adapter = try Adapter(
                backbone: model.backbone, id: "residual-prefix", options: Self.options(residual, layerNorm: false))
            #expect(adapter.parameters["encoder.transform.0.weight"]!.shape == [width, 16])
            #expect(adapter.parameters["encoder.transform.2.weight"]!.shape == [64, width])
        }
    }

    /// Without residual connections and norm it is prefix tuning: the same numbers from the same seed, to the last bit.
    @Test(arguments: [TinyModel(.t5), TinyModel(.marian), TinyModel(.gpt2)])
    func withoutResidualItIsPrefixTuning(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        func folded(_ id: String, _ options: JSON) throws -> (Adapter, Adapter) {
            let adapter = try Adapter(backbone: model.backbone, id: id, options: options, seed: 9)
            return (adapter, try adapter.folded(for: model.backbone))
        }
        let (residual, own) = try folded("residual-prefix", ["residual": "none", "prefix_length": 3])
        let (plain, expected) = try folded("prefix-tuning", ["prefix_length": 3])
        #expect(residual.parameters.entries.map(\.name) == plain.parameters.entries.map(\.name))
        for (a, b) in zip(own.parameters.entries, expected.parameters.entries) {
            #expect(a.name == b.name && bitEqual(a.tensor.floats, b.tensor.floats))
        }
        let batch = try Batch(sources: makePairs(3).sources, targets: makePairs(3).targets, info: model.info)
        try model.session.attach(residual)
        let found = try model.logits(batch)
        try model.session.detach(residual)
        try model.session.attach(plain)
        #expect(bitEqual(found, try model.logits(batch)))
    }

    @Test(arguments: modes, [false, true])
    func theFoldedAdapterGivesTheSame(_ residual: String, _ layerNorm: Bool) throws {
        let model = try OpenModel(TinyModel(.t5))
        let batch = try Batch(sources: makePairs(3).sources, targets: makePairs(3).targets, info: model.info)
        let adapter = try model.attach("residual-prefix", Self.options(residual, layerNorm: layerNorm))
        randomise(adapter)
        let expected = try model.logits(batch)
        let folded = try adapter.folded(for: model.backbone)
        try model.session.detach(adapter)
        #expect(distance(try model.logits(batch), expected) > 1e-3, "it matters")
        try model.session.attach(folded)
        // The same operations, run once.
        #expect(bitEqual(try model.logits(batch), expected))
    }

    @Test func widthsThatDoNotFit() throws {
        let model = try OpenModel()
        for residual in ["hidden", "both"] {
            expectError(
                .invalidArgument, "residual '\(residual)' adds the embedding to the hidden block",
                "must be the width of the keys, 16, or 0, found 17"
            ) {
                try model.attach("residual-prefix", ["residual": .string(residual), "mlp_hidden_size": 17])
            }
            try OpenModel().attach("residual-prefix", ["residual": .string(residual), "mlp_hidden_size": 16])
        }
        expectError(.invalidArgument, "option \"residual\"", "output, hidden, both, none") {
            try model.attach("residual-prefix", ["residual": "input"])
        }
        #expect(model.session.adapters.isEmpty)
    }
}
