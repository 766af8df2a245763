import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// Prompt tuning on every family: vectors that are those of tokens are those tokens.
@Suite struct PromptTuningTests {
    static let families = TinyModel.Family.allCases.map { TinyModel($0) }
    /// Of the largest logit: sums of f32 in another order.
    static let tolerance: Float = 1e-5

    private func texts(_ info: BackboneInfo, before tokens: [Int32] = []) throws -> Batch {
        let pairs = makePairs(4)
        let sources = pairs.sources.map { tokens + $0 }
        guard info.architecture == .encoderDecoder else { return try Batch(sources: sources, info: info) }
        return try Batch(sources: sources, targets: pairs.targets, info: info)
    }

    /// The logits of the text's own tokens; of a model with one stack those behind `count` others.
    private func logits(_ model: OpenModel, _ batch: Batch, behind count: Int = 0) throws -> [Float] {
        let context = model.session.makeContext(recordsGradients: false)
        let all = try model.session.forward(context, batch).logits
        let text = try context.slice(all, axis: 1, start: count, length: all.shape[1] - count)
        let values = try context.contiguous(text).floats
        // Padding behind a text is nobody's.
        guard model.info.architecture != .encoderDecoder else { return values }
        let (length, width) = (text.shape[1], text.shape[2])
        return batch.texts.enumerated().flatMap { row, tokens in
            values[row * length * width..<(row * length + tokens.count - count) * width]
        }
    }

    /// The vectors of tokens, as they flow into the first layer.
    private func embedded(_ model: OpenModel, _ tokens: [Int32]) throws -> [Float] {
        let names = ["shared.weight", "word_embeddings.weight", "wte.weight", "embed_tokens.weight"]
        let entry = try #require(
            model.backbone.parameters.entries.first { entry in names.contains { entry.name.hasSuffix($0) } })
        let (table, width) = (entry.tensor.floats, entry.tensor.shape[1])
        return tokens.flatMap { table[Int($0) * width..<(Int($0) + 1) * width] }
    }

    @Test(arguments: families) func vectorsOfTokensAreThoseTokens(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let tokens: [Int32] = [5, 9, 4]
        let isPair = model.info.architecture == .encoderDecoder
        let expected = try logits(
            model, try texts(model.info, before: tokens), behind: isPair ? 0 : tokens.count)
        let plain = try logits(model, try texts(model.info))
        let adapter = try model.attach("prompt-tuning", ["prompt_length": 3])
        let stack = model.info.architecture == .decoderOnly ? "decoder" : "encoder"
        #expect(adapter.parameters.entries.map(\.name) == ["\(stack).embedding.prompt_embeddings"])
        #expect(model.session.promptLength == (stack == "decoder" ? [0, 3] : [3, 0]))
        adapter.parameters.entries[0].tensor.assign(try embedded(model, tokens))
        let found = try logits(model, try texts(model.info))
        let largest = expected.map(abs).max()!
        #expect(distance(found, expected) <= Self.tolerance * largest)
        #expect(distance(found, plain) > 0.01 * largest, "they matter")
        try model.session.detach(adapter)
        #expect(bitEqual(try logits(model, try texts(model.info)), plain))
    }

    /// Behind the decoder's text, too: the scores of a target behind the same tokens.
    @Test(arguments: TinyModel.everyFamily) func vectorsOfADecoder(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let tokens: [Int32] = [5, 9, 4]
        let pairs = makePairs(1)
        func batch(_ before: [Int32]) throws -> Batch {
            try Batch(sources: pairs.sources, decoderInputs: pairs.targets.map { before + $0 }, info: model.info)
        }
        let expected = try logits(model, try batch(tokens), behind: 3)
        let adapter = try model.attach("prompt-tuning", ["prompt_length": 3, "stack": "decoder"])
        adapter.parameters.entries[0].tensor.assign(try embedded(model, tokens))
        #expect(distance(try logits(model, try batch([])), expected) <= Self.tolerance * expected.map(abs).max()!)
    }

    @Test(arguments: [["reparameterization": "none"], ["reparameterization": "mlp", "mlp_hidden_size": 7]] as [JSON])
    func theFoldedAdapterGivesTheSame(_ options: JSON) throws {
        let model = try OpenModel(TinyModel(.mt5))
        let all = JSON.object(options.objectValue! + [(key: "prompt_length", value: 3), (key: "stack", value: "both")])
        let adapter = try model.attach("prompt-tuning", all)
        randomise(adapter, deviation: 0.5)
        let expected = try logits(model, try texts(model.info))
        let folded = try adapter.folded(for: model.backbone)
        #expect(
            folded.parameters.entries.map(\.name) == ["encoder", "decoder"].map { "\($0).embedding.prompt_embeddings" })
        let path = model.scratch["adapter"]
        try AdapterFolder.save(folded, backbone: model.backbone, isBackboneTrained: false, notes: "", to: path)
        try model.session.detach(adapter)
        try model.session.attach(try AdapterFolder.load(path, backbone: model.backbone))
        #expect(bitEqual(try logits(model, try texts(model.info)), expected))
    }

    /// W3 relu(W2 relu(W1 e + b1) + b2) + b3, in f64.
    @Test func theNetworkIsItsFormula() throws {
        let model = try OpenModel()
        let adapter = try Adapter(
            backbone: model.backbone, id: "prompt-tuning",
            options: ["prompt_length": 2, "reparameterization": "mlp", "mlp_hidden_size": 5], seed: 3)
        randomise(adapter, deviation: 0.5)
        func values(_ name: String) -> [Double] {
            adapter.parameters["encoder.embedding.\(name)"]!.floats.map(Double.init)
        }
        let folded = try adapter.folded(for: model.backbone).parameters.entries[0].tensor
        let width = folded.shape[1]
        var expected: [Float] = []
        for vector in 0..<2 {
            var x = Array(values("embedding.weight")[vector * width..<(vector + 1) * width])
            for layer in 0..<3 {
                let (weight, bias) = (values("mlp_head.\(2 * layer).weight"), values("mlp_head.\(2 * layer).bias"))
                if layer > 0 { x = x.map { max($0, 0) } }
                x = bias.indices.map { row in x.indices.reduce(bias[row]) { $0 + weight[row * x.count + $1] * x[$1] } }
            }
            expected += x.map { Float($0) }
        }
        #expect(distance(folded.floats, expected) < 1e-5)
    }

    @Test(
        arguments: [TinyModel(.mt5), TinyModel(.marian)],
        [["reparameterization": "mlp", "mlp_hidden_size": 3], ["reparameterization": "none"]] as [JSON])
    func gradients(_ family: TinyModel, _ options: JSON) throws {
        // A relu has kinks: the network is checked by its formula and by PEFT's losses, its last bias and plain vectors here.
        let isPlain = options["reparameterization"] == "none"
        let all = JSON.object(options.objectValue! + [(key: "prompt_length", value: 2), (key: "stack", value: "both")])
        let model = try OpenModel(family)
        guard isPlain else {
            let adapter = try model.attach("prompt-tuning", all)
            try adapter.unfreeze()
            let context = model.session.makeContext(recordsGradients: true)
            let loss = try model.session.predictions(context, try texts(model.info), training: true)
            try context.backward(
                try context.crossEntropy(
                    loss.scores, targets: loss.targets, ignoreIndex: Batch.ignoredLabel, labelSmoothing: 0,
                    reduction: .mean))
            #expect(adapter.parameters.variables.allSatisfy { $0.tensor.gradient?.value != nil })
            return
        }
        try expectGradients(of: "prompt-tuning", all, in: model)
    }
}
