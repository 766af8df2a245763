import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing
import Trainer

@Suite struct OptimisationTests {
    private func batch(_ model: OpenModel) throws -> Batch {
        let pairs = makePairs(6)
        return try Batch(sources: pairs.sources, targets: pairs.targets, info: model.info)
    }

    /// The reported loss and norm, and an update clipped by torch.nn.utils.clip_grad_norm_'s factor
    /// min(1, max_norm / (norm + 1e-6)), step by step beside the engine's own functions.
    @Test(arguments: [0, 0.05, 100]) func updatesAreClippedAsInTorch(_ maxNorm: Double) throws {
        let (model, twin) = (try OpenModel(), try OpenModel())
        let (adapter, other) = (try model.attach(), try twin.attach())
        let batch = try batch(model)
        var options = TrainingOptions()
        (options.learningRate, options.maxGradientNorm, options.optimizer.weightDecay) = (0.05, maxNorm, 0.1)
        let optimisation = try Optimisation(session: model.session, options: options)
        try other.unfreeze()
        let variables = other.parameters.variables
        var clipped = 0
        for step in 1...5 {
            let report = try optimisation.update(batch)
            let context = twin.session.makeContext(recordsGradients: true)
            // The same rows in the products: other shapes take other kernels, whose sums differ in the last bits.
            let predictions = try twin.session.predictions(context, batch, training: true)
            let loss = try context.crossEntropy(
                predictions.scores, targets: predictions.targets, ignoreIndex: -100, labelSmoothing: 0, reduction: .mean
            )
            try context.backward(loss)
            let norm = try gradientNorm(variables, pool: context.pool)
            #expect(report.step == step && report.learningRate == 0.05 && report.tokenCount == batch.labelCount)
            #expect(report.loss == Double(loss.floats[0]) && report.gradientNorm == norm, "step \(step)")
            let factor = maxNorm > 0 ? min(1, maxNorm / (norm + 1e-6)) : 1
            if factor < 1 { clipped += 1 }
            try options.optimizer.step(
                variables, learningRate: 0.05, gradientScale: factor, number: step, pool: context.pool)
            clearGradients(variables)
            for (one, two) in zip(adapter.parameters.entries, other.parameters.entries) {
                #expect(bitEqual(one.tensor.floats, two.tensor.floats), "\(one.name), step \(step)")
            }
        }
        #expect(clipped == (maxNorm == 0.05 ? 5 : 0))
    }

    @Test func theScheduleScalesTheLearningRate() throws {
        let model = try OpenModel()
        try model.attach()
        var options = TrainingOptions()
        (options.learningRate, options.schedule, options.warmupSteps, options.totalSteps) = (0.1, .linear, 2, 6)
        let optimisation = try Optimisation(session: model.session, options: options)
        let rates = try (0..<6).map { _ in try optimisation.update(try batch(model)).learningRate }
        for (rate, expected) in zip(rates, [0, 0.05, 0.1, 0.075, 0.05, 0.025]) { #expect(abs(rate - expected) < 1e-12) }
    }

    @Test func aLossThatIsNotFiniteChangesNothing() throws {
        let model = try OpenModel()
        let adapter = try model.attach("repcali", ["norm": "none"])
        adapter.parameters["embedding.weight"]!.assign([Float](repeating: 3e38, count: 16))
        let optimisation = try Optimisation(session: model.session, options: TrainingOptions())
        let before = adapter.parameters["embedding.weight"]!.floats
        expectError(.numeric, "of step 1 is ", "the learning rate may be too high") {
            try optimisation.update(try batch(model))
        }
        #expect(bitEqual(adapter.parameters["embedding.weight"]!.floats, before))
        #expect(optimisation.step == 0)
        #expect(adapter.parameters.variables.allSatisfy { $0.tensor.gradient?.value == nil && $0.moments == nil })
    }

    @Test func whatCannotBeTrainedIsRefused() throws {
        let model = try OpenModel()
        expectError(.invalidArgument, "there is nothing to train") {
            try Optimisation(session: model.session, options: TrainingOptions())
        }
        try model.attach()
        let optimisation = try Optimisation(session: model.session, options: TrainingOptions())
        expectError(.invalidArgument, "training and scoring need labels") {
            try optimisation.update(try Batch(sources: [[3, 1]], info: model.info))
        }

        let scratch = try ScratchFolder()
        try model.runtime.loadPlugin(try compilePlugin("opaque-backbone/tiny_opaque.c", into: scratch.path))
        let opaque = try Backbone(runtime: model.runtime, id: "tiny-opaque", path: nil)
        let session = Session(backbone: opaque)
        let adapter = try Adapter(backbone: opaque, id: "repcali")
        try session.attach(adapter)
        var options = TrainingOptions()
        options.trainsBackbone = true
        expectError(.unsupported, "is opaque: its weights cannot be trained") {
            try Optimisation(session: session, options: options)
        }
        #expect(adapter.parameters.variables.isEmpty, "a refused training leaves the adapter frozen")
    }

    @Test func aParameterThatTheLossDoesNotReachIsNamedOnce() throws {
        let model = try OpenModel()
        var warnings: [String] = []
        model.runtime.log = { level, message in if level == .warning { warnings.append(message) } }
        try model.runtime.loadPlugin(try compilePlugin("calibration-plugin/calibration.c", into: model.scratch.path))
        try model.session.attach(try Adapter(backbone: model.backbone, id: "test-unused", seam: "encoder.output"))
        let optimisation = try Optimisation(session: model.session, options: TrainingOptions())
        for _ in 0..<2 { _ = try optimisation.update(try batch(model)) }
        #expect(
            warnings == [
                "adapter \"test-unused\": the loss of step 1 does not reach the trained parameter \"unused\", which is not updated"
            ])
        optimisation.end()

        // Nothing is said of an adapter all of whose parameters are reached, or of what is frozen.
        warnings = []
        let other = try OpenModel()
        other.runtime.log = model.runtime.log
        try other.attach()
        _ = try Optimisation(session: other.session, options: TrainingOptions()).update(try batch(other))
        #expect(warnings.isEmpty)
    }

    @Test func adaptersWithoutATrainedParameterAreNotTrainedInSteps() throws {
        let model = try OpenModel()
        try model.runtime.loadPlugin(try compilePlugin("calibration-plugin/calibration.c", into: model.scratch.path))
        for (id, words) in [
            ("test-constant", "has a parameter that is not frozen"),
            ("test-calibration", "adapter \"test-calibration\" is set from all examples at once, by a fit on features"),
        ] {
            let session = Session(backbone: model.backbone)
            try session.attach(try Adapter(backbone: model.backbone, id: id, seam: "encoder.output"))
            expectError(.invalidArgument, "there is nothing to train", words) {
                try Optimisation(session: session, options: TrainingOptions())
            }
        }
    }

    @Test func anAdapterLearnsThroughAnOpaqueBackbone() throws {
        let scratch = try ScratchFolder()
        let runtime = try makeRuntime()
        try runtime.loadPlugin(try compilePlugin("opaque-backbone/tiny_opaque.c", into: scratch.path))
        let session = Session(backbone: try Backbone(runtime: runtime, id: "tiny-opaque", path: nil))
        try session.attach(try Adapter(backbone: session.backbone, id: "repcali"))
        let pairs = makePairs(4, vocabulary: 16)
        let batch = try Batch(sources: pairs.sources, targets: pairs.targets, info: session.backbone.info)
        var options = TrainingOptions()
        options.learningRate = 0.1
        let optimisation = try Optimisation(session: session, options: options)
        let losses = try (0..<30).map { _ in try optimisation.update(batch).loss }
        #expect(losses.last! < losses[0] - 0.05)
    }

    @Test func scoringIsTheMeanOverLabels() throws {
        let model = try OpenModel()
        let pairs = makePairs(7)
        let data = TokenPairs(sources: pairs.sources, targets: pairs.targets)
        let summary = try score(model.session, data, batchSize: 3)
        #expect(summary.examples == 7)
        #expect(summary.tokens == pairs.targets.map(\.count).reduce(0, +))
        let single = try (0..<7).map { try model.session.score(try data.batch([$0], info: model.info))[0] }
        let loss = -single.map(\.logProbability).reduce(0, +) / Double(summary.tokens)
        #expect(abs(summary.loss - loss) < 1e-5)
        #expect(summary.accuracy == Double(single.map(\.correctCount).reduce(0, +)) / Double(summary.tokens))
        var asked = 0
        expectError(.cancelled, "scoring was cancelled") {
            try score(
                model.session, data, batchSize: 3,
                shouldContinue: {
                    asked += 1
                    return asked < 3
                })
        }
        expectError(.invalidArgument, "has no examples") {
            try score(model.session, TokenPairs(sources: [], targets: []), batchSize: 3)
        }
    }
}
