import Engine
import FewShot
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// Scores, gradients and starting values against their formulas.
@Suite struct LinearHeadTests {
    private func head(_ model: OpenModel, _ options: JSON = .null, classes: Int = 3) throws -> Adapter {
        try Adapter(backbone: model.backbone, id: "linear-head", options: options, classes: classes, seed: 2)
    }

    @Test func scoresAreLinear() throws {
        let adapter = try head(try OpenModel())
        randomise(adapter)
        let given = ClassExamples(7)
        let (weight, bias) = (adapter.parameters["weight"]!.floats, adapter.parameters["bias"]!.floats)
        let expected = (0..<7 * 3).map { place in
            let (row, k) = (place / 3, place % 3)
            return Float(
                (0..<16).reduce(Double(bias[k])) {
                    $0 + Double(weight[k * 16 + $1]) * Double(given.hidden[row * 16 + $1])
                })
        }
        let found = try classScores(adapters: [adapter], scores: given.scores, hidden: given.hidden)
        // Sixteen products, below 8 together: 16 x 2^-24 x 8 at most.
        #expect(distance(found, expected) < 8e-6)
        let others = given.scores.map { 3 - $0 }
        #expect(bitEqual(try classScores(adapters: [adapter], scores: others, hidden: given.hidden), found))
    }

    @Test func gradientsAreTheSlopes() throws {
        let model = try OpenModel()
        let adapter = try head(model)
        randomise(adapter)
        try adapter.unfreeze()
        let given = ClassExamples(6)
        func loss(_ context: Context) throws -> Tensor {
            let inputs = [try context.constant(given.scores, [6, 3]), try context.constant(given.hidden, [6, 16])]
            let scores = try adapter.forward(context, inputs: inputs, expected: [[6, 3]], training: true)[0]
            return try context.crossEntropy(
                scores, targets: try context.constant(given.labels, [6]), ignoreIndex: -100, labelSmoothing: 0,
                reduction: .mean)
        }
        let context = model.session.makeContext(recordsGradients: true)
        try context.backward(try loss(context))
        for variable in adapter.parameters.variables {
            let found = try context.contiguous(try #require(variable.tensor.gradient?.value)).floats
            let expected = try found.indices.map {
                try slope(variable, $0) {
                    Double(try loss(model.session.makeContext(recordsGradients: false)).floats[0])
                }
            }
            // The f32 loss is wrong by 1e-7, its difference quotient over 0.02 by some 1e-5.
            #expect(expected.map(abs).max()! > 0.05 && distance(found, expected) < 5e-5, "\(variable.name)")
        }
    }

    @Test func theStart() throws {
        let model = try OpenModel(TinyModel(.marian, dModel: 64))
        for (options, deviation) in [(.null, 0.02), (["deviation": 0.5], 0.5)] as [(JSON, Float)] {
            let adapter = try head(model, options, classes: 20)
            #expect(adapter.parameters.entries.map(\.name) == ["weight", "bias"])
            #expect(adapter.parameters.entries.map(\.tensor.shape) == [[20, 64], [20]])
            let values = adapter.parameters["weight"]!.floats
            let found = (values.map { $0 * $0 }.reduce(0, +) / Float(values.count)).squareRoot()
            // Within four deviations of that of 1280 draws.
            #expect(abs(found / deviation - 1) < 0.08)
            #expect(adapter.parameters["bias"]!.floats.allSatisfy { $0 == 0 })
        }
    }

    @Test func itLearns() throws {
        let adapter = try head(try OpenModel())
        let given = ClassExamples(30)
        var options = HeadTrainingOptions()
        options.learningRate = 0.05
        let losses = try fit(
            adapters: [adapter], scores: given.scores, hidden: given.hidden, labels: given.labels, options: options)
        #expect(losses.last! < 0.5 * losses[0])
    }

    /// In a session it reads the mean of what the encoder gives behind its prefix.
    @Test func behindAPrefix() throws {
        let model = try OpenModel(TinyModel(.bert))
        let batch = try Batch(sources: makePairs(3).sources, classes: [0, 2, 1], info: model.info)
        func classes() throws -> [Float] {
            let context = model.session.makeContext(recordsGradients: false)
            return try context.contiguous(try model.session.classify(context, batch)).floats
        }
        let adapter = try head(model)
        randomise(adapter)
        try model.session.attach(adapter)
        let plain = try classes()
        let prefix = try model.attach("prefix-tuning", ["prefix_length": 3])
        let context = model.session.makeContext(recordsGradients: false)
        let hidden = try context.contiguous(try model.session.encode(context, batch)).floats
        let (weight, bias) = (adapter.parameters["weight"]!.floats, adapter.parameters["bias"]!.floats)
        let expected = (0..<batch.count).flatMap { row in
            let places = (0..<batch.sourceLength).map { row * batch.sourceLength + $0 }
                .filter { batch.attentionMask[$0] != 0 }
            let pooled = (0..<16).map { axis in
                places.map { Double(hidden[$0 * 16 + axis]) }.reduce(0, +) / Double(places.count)
            }
            return (0..<3).map { k in
                Float(pooled.indices.reduce(Double(bias[k])) { $0 + Double(weight[k * 16 + $1]) * pooled[$1] })
            }
        }
        #expect(distance(try classes(), expected) < 8e-6)
        #expect(distance(plain, expected) > 1e-3, "the prefix matters")
        try model.session.detach(prefix)
        #expect(bitEqual(try classes(), plain))
    }

    @Test func aClassificationIsNeeded() throws {
        let model = try OpenModel()
        expectError(.invalidArgument, "\"linear-head\" on decoder.output", "needs at least 2 classes, found 0") {
            try head(model, classes: 0)
        }
        expectError(.invalidArgument, "option \"deviation\"", "found -1") { try head(model, ["deviation": -1]) }
    }
}
