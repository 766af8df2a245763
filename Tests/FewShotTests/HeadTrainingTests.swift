import Engine
import FewShot
import Files
import SeamHost
import Support
import TestSupport
import Testing

@Suite struct HeadTrainingTests {
    private func options(_ epochs: Int = 30, _ change: (inout HeadTrainingOptions) -> Void = { _ in })
        -> HeadTrainingOptions
    {
        var options = HeadTrainingOptions()
        options.epochs = epochs
        change(&options)
        return options
    }

    private func train(
        _ adapters: [Adapter], _ given: ClassExamples, _ options: HeadTrainingOptions = HeadTrainingOptions(),
        progress: (Int, Double?) -> Bool = { _, _ in true }
    ) throws -> [Double] {
        try fit(
            adapters: adapters, scores: given.scores, hidden: given.hidden, labels: given.labels,
            emptyScores: given.emptyScores, options: options, progress: progress)
    }

    private func values(_ adapter: Adapter) -> [[Float]] { adapter.parameters.entries.map(\.tensor.floats) }

    @Test func theLossFallsAndTheExamplesAreTold() throws {
        let model = try OpenModel()
        let adapter = try Adapter(backbone: model.backbone, id: "dect", classes: 3)
        let given = ClassExamples(48)
        var told: [Double?] = []
        let losses = try train([adapter], given) { epochs, loss in
            told.append(loss)
            return epochs == told.count - 1
        }
        #expect([nil] + losses == told && losses.count == 30)
        #expect(losses.last! < losses[0] - 0.3)
        #expect(adapter.parameters.variables.isEmpty, "frozen again")
        let found = try classScores(adapters: [adapter], scores: given.scores, hidden: given.hidden)
        let right = given.labels.indices.count { row in
            let own = found[row * 3..<(row + 1) * 3]
            return own.indices.max { own[$0] < own[$1] }! - row * 3 == Int(given.labels[row])
        }
        #expect(right >= 46)
    }

    @Test func theSameBitsTwice() throws {
        let model = try OpenModel()
        let given = ClassExamples(20)
        let results = try (0..<2).map { _ in
            let adapter = try Adapter(backbone: model.backbone, id: "dect", classes: 3, seed: 5)
            return (try train([adapter], given), values(adapter))
        }
        #expect(results[0].0 == results[1].0 && results[0].1 == results[1].1)
    }

    /// Only the order of sums differs: f32 rounding, which thirty steps of Adam at 0.01 carry on.
    @Test(arguments: [1, 7, 16, 25]) func chunksGiveTheSame(_ size: Int) throws {
        let model = try OpenModel()
        let given = ClassExamples(25)
        let results = try [4096, size].map { size in
            let adapter = try Adapter(backbone: model.backbone, id: "dect", classes: 3, seed: 5)
            return (try train([adapter], given, options { $0.chunkSize = size }), values(adapter))
        }
        #expect(zip(results[0].0, results[1].0).allSatisfy { abs($0 - $1) < 1e-6 })
        #expect(zip(results[0].1, results[1].1).allSatisfy { distance($0, $1) < 1e-4 })
    }

    @Test func goingOnKeepsTheValues() throws {
        let model = try OpenModel()
        let adapter = try Adapter(backbone: model.backbone, id: "dect", classes: 3)
        let given = ClassExamples(12)
        _ = try train([adapter], given)
        let trained = values(adapter)
        _ = try train([adapter], given, options { ($0.learningRate, $0.prepares) = (0, false) })
        #expect(values(adapter) == trained)
        _ = try train([adapter], given, options { $0.learningRate = 0 })
        #expect(values(adapter) != trained, "the radii start again")
        let losses = try train([adapter], given, options { $0.prepares = false })
        #expect(losses.last! < losses[0])
    }

    @Test func anErrorOrAStopChangesNothing() throws {
        let model = try OpenModel()
        let adapter = try Adapter(backbone: model.backbone, id: "dect", classes: 3)
        let given = ClassExamples(12)
        let before = values(adapter)
        expectError(.cancelled, "stopped after epoch 4") { try train([adapter], given) { epoch, _ in epoch < 4 } }
        #expect(values(adapter) == before && adapter.parameters.variables.isEmpty)
        expectError(.numeric, "after epoch 1", "the learning rate may be too high") {
            try train([adapter], given, options { $0.learningRate = 1e300 })
        }
        #expect(values(adapter) == before && adapter.parameters.variables.isEmpty)
    }

    /// An epoch reuses the memory of the one before.
    @Test func memoryDoesNotGrowWithTheEpochs() throws {
        let model = try OpenModel()
        let given = ClassExamples(200)
        let adapter = try Adapter(backbone: model.backbone, id: "dect", classes: 3)
        let start = model.runtime.pool.usage.live
        _ = try train([adapter], given, options(2) { $0.chunkSize = 64 })
        let peak = model.runtime.pool.usage.peak
        _ = try train([adapter], given, options(40) { $0.chunkSize = 64 })
        #expect(model.runtime.pool.usage.peak == peak)
        #expect(model.runtime.pool.usage.live == start)
    }

    @Test func optionsOutOfRange() throws {
        let model = try OpenModel()
        let adapter = try Adapter(backbone: model.backbone, id: "dect", classes: 3)
        let given = ClassExamples(6)
        let wrong: [(String, (inout HeadTrainingOptions) -> Void)] = [
            ("epochs must be 1 or more, found 0", { $0.epochs = 0 }),
            ("epochs must be at most 16777216, found 9223372036854775807", { $0.epochs = .max }),
            ("learning_rate must be 0 or more, found nan", { $0.learningRate = .nan }),
            ("beta1 must be in [0, 1), found 1.0", { $0.optimizer.beta1 = 1 }),
            ("beta2 must be in [0, 1), found -1.0", { $0.optimizer.beta2 = -1 }),
            ("epsilon must be positive, found 0.0", { $0.optimizer.epsilon = 0 }),
            ("weight_decay must be 0 or more, found -0.5", { $0.optimizer.weightDecay = -0.5 }),
            ("max_grad_norm must be 0 or more, found -1.0", { $0.maxGradientNorm = -1 }),
            ("chunk_size must be 1 or more, found 0", { $0.chunkSize = 0 }),
        ]
        for (sentence, change) in wrong {
            expectError(.invalidArgument, sentence) { try train([adapter], given, options(30, change)) }
        }
    }
}
