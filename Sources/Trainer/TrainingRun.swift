import CSeam
import Datasets
import Engine
import Files
import SeamHost
import Support

/// A whole training: order of examples, seam cache, scoring, log, checkpoints, resuming, and what is saved at the end.
///
/// In `output`: log.jsonl (one JSON object a line, written as it happens), loss.svg, checkpoint/ while unfinished,
/// adapter/ (one or several, `AdapterFolder.saveAll`), routes/ with a folder of that kind for each route with a name that was
/// trained, backbone/ where it was trained; recorded.jsonl and a picture of
/// each where adapters have methods to record. A run that ends with an error leaves its log and pictures. With the same
/// seed, data and machine a run repeats bit for bit, resumed or not.
public final class TrainingRun {
    private let session: Session
    private let data: TokenPairs
    private let development: TokenPairs?
    private let options: RunOptions
    private var history: [RunEntry] = []
    private var log: RunLog?
    private var order: (epoch: Int, batches: [[Int]]) = (-1, [])

    /// - Parameter development: scored at the end and every `evaluationInterval` steps.
    public init(session: Session, data: TokenPairs, development: TokenPairs?, options: RunOptions) throws {
        guard data.count > 0 else { throw SeamError(.invalidArgument, "the training data has no examples") }
        guard options.batchSize > 0 else {
            throw SeamError(.invalidArgument, "batch_size must be positive, found \(options.batchSize)")
        }
        guard options.training.totalSteps > 0 else {
            throw SeamError(.invalidArgument, "steps must be positive, found \(options.training.totalSteps)")
        }
        self.session = session
        self.data = data
        self.development = development
        self.options = options
    }

    /// The adapters that are trained, by route; empty: the default one.
    private var trained: [(route: String, adapters: [Adapter])] {
        options.training.routes.map { ($0 ?? "", session.adapters(of: $0)) }
    }

    private var trainedAdapters: [Adapter] { trained.flatMap(\.adapters) }

    private var checkpointPath: String { FileSystem.join(options.output, RunFolder.checkpointName) }

    /// The settings (`settings()`) of the unfinished run that `output` holds; nil without one.
    public static func resumableSettings(_ output: String) throws -> JSON? {
        guard RunFolder.isResumable(output) else { return nil }
        let path = FileSystem.join(output, RunFolder.checkpointName, Checkpoint.stateName)
        return .object(try JSON.read(path).requireObject("settings", in: path))
    }

    /// Runs to the end, or until `shouldContinue` says no.
    /// - Parameters:
    ///   - resumes: goes on from the checkpoint in `output`.
    ///   - observe: called on this thread.
    /// - Throws: before anything is written, what may be refused, and as `RunFolder.check`; `.numeric` for a loss that
    ///   does not stay finite.
    public func run(
        resumes: Bool, observe: (RunEvent) throws -> Void, shouldContinue: () -> Bool
    ) throws -> RunResult {
        for data in [data, development].compactMap({ $0 }) { try data.check(fits: session) }
        for (route, _) in trained where !route.isEmpty { try SavedRoutes.check(route) }
        try requirePreparable()
        let optimisation = try Optimisation(session: session, options: options.training)
        defer { optimisation.end() }
        for row in data.routes.isEmpty ? 0..<1 : 0..<data.count {
            try data.located(row) { try optimisation.requireTrained([data.route(row)]) }
        }
        try checkRoutesTaken()
        let settings = try self.settings()
        // After what may be refused, before anything is computed.
        let lock = try RunFolder.claim(options.output, resumes: resumes, overwrites: options.overwrites)
        defer { lock.release() }
        // Of a run that goes on, too: the checkpoint holds what is trained, and a preparation sets what is not.
        guard try prepare(shouldContinue) else {
            if !resumes { try save(optimisation, settings, observe) }
            return .stopped(after: optimisation.step)
        }
        history = resumes ? try Checkpoint.load(checkpointPath, into: optimisation, settings: settings) : []
        log = try RunLog(
            FileSystem.join(options.output, RunFolder.logName), entries: history.filter { $0.recordedValues == nil })
        do {
            return try train(optimisation, settings, observe, shouldContinue)
        } catch {
            // The first error is the one to tell.
            if !history.isEmpty { try? writePictures() }
            throw error
        }
    }

    /// Throws for a route to train that no example takes, and warns of development examples that take another.
    private func checkRoutesTaken() throws {
        func taken(_ data: TokenPairs) -> [TextKey] { (0..<data.count).map { TextKey(data.route($0) ?? "") } }
        let learned = Set(taken(data))
        if let (route, _) = trained.first(where: { !learned.contains(TextKey($0.route)) }) {
            throw SeamError(
                .invalidArgument,
                "\(routeTitle(route)) is to be trained, and none of the \(data.count) training examples takes it: name it in their column route, or leave its adapters out"
            )
        }
        guard let development else { return }
        let strays = taken(development).count { !learned.contains($0) }
        if strays > 0 {
            session.runtime.log?(
                .warning,
                "\(strays) of the \(development.count) development examples take a route that is not trained: what is said of these does not change"
            )
        }
    }

    /// Of each trained route the adapters that start from its examples, in their order; not those whose values are of an
    /// earlier run.
    private var unprepared: [(route: String, adapters: [Adapter])] {
        trained.map { ($0.route, $0.adapters.filter { $0.startsFromExamples && !$0.isPrepared }) }
            .filter { !$0.adapters.isEmpty }
    }

    private func requirePreparable() throws {
        guard let adapter = unprepared.flatMap(\.adapters).first(where: { $0.seam == SEAM_ATTENTION_PREFIX }) else {
            return
        }
        throw SeamError(
            .unsupported,
            "adapter \"\(adapter.factory.id)\" starts from the keys and values of one text, and a training has examples: prepare it with seam prepare, and train what that saves"
        )
    }

    /// Prepares each adapter that starts from examples with all those of its route, through the adapters before it.
    /// - Returns: false where it was asked to stop.
    private func prepare(_ shouldContinue: () -> Bool) throws -> Bool {
        for (route, adapters) in unprepared {
            let own = data.examples(ofRoute: route)
            // In the order of the file: some methods compare the first example of a class with the first of another.
            let examples = try batches(Array(0..<own.count), size: options.batchSize).map {
                try own.batch($0, info: session.backbone.info)
            }
            do {
                try session.prepare(all: adapters, route: route, from: examples) { _, _, _ in shouldContinue() }
            } catch let error as SeamError where error.code == .cancelled {
                return false
            }
        }
        return true
    }

    private func train(
        _ optimisation: Optimisation, _ settings: JSON, _ observe: (RunEvent) throws -> Void,
        _ shouldContinue: () -> Bool
    ) throws -> RunResult {
        let (total, first) = (options.training.totalSteps, optimisation.step)
        try observe(.started(steps: total, resumedAt: first))
        let (cache, developmentCache) = try makeCaches()

        func stopped() -> RunResult { .stopped(after: optimisation.step, encoded: cache?.encodedCount) }
        if let cache {
            // What is computed of an example differs in its last bits with the examples beside it. So that a resumed run
            // trains on the same values, its cache is filled as the first epoch filled it.
            for step in 0..<min(first, batchesPerEpoch) {
                guard shouldContinue() else { return stopped() }
                let indices = try batchIndices(step: step)
                _ = try cache.states(of: try data.batch(indices, info: session.backbone.info), examples: indices)
            }
        }

        let start = monotonicSeconds()
        var summary: ScoreSummary?
        // False where it was asked to stop; a run that goes on from there scores first.
        func scoreIfDue() throws -> Bool {
            let (step, interval) = (optimisation.step, options.evaluationInterval)
            guard let development, step == total || (interval > 0 && step > 0 && step % interval == 0),
                !history.contains(where: { $0.isEvaluation(after: step) })
            else { return true }
            let result: ScoreSummary
            do {
                result = try score(
                    session, development, batchSize: options.batchSize, cache: developmentCache,
                    shouldContinue: shouldContinue)
            } catch let error as SeamError where error.code == .cancelled {
                return false
            }
            try note(
                .evaluation(
                    step: step, loss: result.loss, accuracy: result.accuracy, isClassification: data.isClassification))
            summary = result
            try observe(.evaluated(step: step, result))
            return true
        }
        guard try scoreIfDue() else {
            try save(optimisation, settings, observe)
            return stopped()
        }
        while optimisation.step < total {
            guard shouldContinue() else {
                try save(optimisation, settings, observe)
                return stopped()
            }
            let indices = try batchIndices(step: optimisation.step)
            let batch = try data.batch(indices, info: session.backbone.info)
            let kept = try cache?.states(of: batch, examples: indices)
            let report = try optimisation.update(batch, kept: kept)
            try note(.step(report))
            if Recording.isDue(step: report.step, total: total) { try record(step: report.step) }
            try observe(
                .step(
                    report, total: total,
                    secondsPerStep: (monotonicSeconds() - start) / Double(optimisation.step - first)))
            guard try scoreIfDue() else {
                try save(optimisation, settings, observe)
                return stopped()
            }
            if options.checkpointInterval > 0, report.step % options.checkpointInterval == 0, report.step < total {
                try save(optimisation, settings, observe)
            }
        }
        return try finish(optimisation, summary, encoded: cache?.encodedCount)
    }

    /// Caches of the examples that come up more than once, nil for the others; of those both share the room.
    private func makeCaches() throws -> (training: SeamCache?, development: SeamCache?) {
        let routes = options.training.routes
        guard options.usesSeamCache, !options.training.trainsBackbone,
            try SeamCache.isUseful(for: session, routes: routes)
        else { return (nil, nil) }
        let log = session.runtime.log
        let store = StateStore(memoryLimit: options.seamCacheBytes, folder: options.output) { log?(.warning, $0) }
        func cache(_ isRepeated: Bool) -> SeamCache? {
            isRepeated ? SeamCache(session: session, routes: routes, store: store) : nil
        }
        let total = options.training.totalSteps
        return (
            cache(total > batchesPerEpoch),
            cache(development != nil && (1..<total).contains(options.evaluationInterval))
        )
    }

    private func note(_ entry: RunEntry) throws {
        try log?.append(entry)
        history.append(entry)
    }

    private var batchesPerEpoch: Int { (data.count - 1) / options.batchSize + 1 }

    /// The examples of a step: every epoch is a seeded shuffle, cut into batches; a last short batch is kept.
    private func batchIndices(step: Int) throws -> [Int] {
        let epoch = step / batchesPerEpoch
        if order.epoch != epoch {
            var random = SeededGenerator(seed: options.seed, stream: "order of epoch \(epoch)")
            let shuffled = shuffledOrder(data.count, by: &random)
            order = (epoch, try batches(shuffled, size: options.batchSize))
        }
        return order.batches[step % batchesPerEpoch]
    }

    /// What must be equal for a checkpoint to be resumed, and for the results of two runs to be those of one.
    public func settings() throws -> JSON {
        let training = options.training
        let named = trained.filter { !$0.route.isEmpty }
        // What was written before there were routes is as it was.
        let routes: [(key: String, value: JSON)] =
            named.isEmpty
            ? []
            : [
                (
                    key: "routes",
                    value: .array(
                        named.map { ["route": .string($0.route), "adapters": Self.settings(of: $0.adapters)] })
                )
            ]
        let others: JSON = [
            "adapters": Self.settings(of: trained.first { $0.route.isEmpty }?.adapters ?? []),
            "backbone_fingerprint": session.backbone.model.map { .string(ContentHash.hex($0.files.fingerprint())) }
                ?? .null,
            "data": .string(data.contentHash), "batch_size": .int(Int64(options.batchSize)),
            "seed": .string("\(options.seed)"),
            "steps": .int(Int64(training.totalSteps)), "train_backbone": .bool(training.trainsBackbone),
            "learning_rate": .double(training.learningRate),
            "backbone_learning_rate": .double(training.backboneLearningRate),
            "schedule": .string(training.schedule.rawValue), "warmup_steps": .int(Int64(training.warmupSteps)),
            "beta1": .double(training.optimizer.beta1), "beta2": .double(training.optimizer.beta2),
            "epsilon": .double(training.optimizer.epsilon), "weight_decay": .double(training.optimizer.weightDecay),
            "decoupled_weight_decay": .bool(training.optimizer.isDecoupled),
            "max_grad_norm": .double(training.maxGradientNorm), "label_smoothing": .double(training.labelSmoothing),
        ]
        return .object(others.objectValue! + routes)
    }

    private static func settings(of adapters: [Adapter]) -> JSON {
        .array(
            adapters.map { adapter in
                let rate = adapter.learningRate.map { [(key: "learning_rate", value: JSON.double($0))] } ?? []
                // Those of other seams have none, and what was written before there were any is as it was.
                let points =
                    adapter.points.isEmpty
                    ? [] : [(key: "points", value: JSON.array(adapter.points.map { .string($0.path) }))]
                return .object(
                    [
                        (key: "id", value: .string(adapter.factory.id)),
                        (key: "seam", value: .string(adapter.seam)),
                        (key: "options", value: adapter.options.json),
                    ] + points + rate)
            })
    }

    private func save(_ optimisation: Optimisation, _ settings: JSON, _ observe: (RunEvent) throws -> Void) throws {
        try Checkpoint.save(optimisation, settings: settings, history: history, to: checkpointPath)
        try writePictures()
        try observe(.checkpoint(step: optimisation.step, path: checkpointPath))
    }

    private func record(step: Int) throws {
        for (index, adapter) in trainedAdapters.enumerated() {
            for method in adapter.factory.methods where method.isRecorded {
                history.append(
                    .recorded(try RecordedValues(of: adapter, position: index + 1, method: method.name, step: step)))
            }
        }
    }

    /// The pictures of what there is of the run, and what was recorded.
    private func writePictures() throws {
        let adapters = trainedAdapters.map(\.factory.id)
        var plot = LossPlot(
            title: adapters.isEmpty ? "backbone" : adapters.joined(separator: " + "),
            unit: labelUnit(isClassification: data.isClassification))
        for entry in history {
            switch entry {
            case .step(let report): plot.training.append(.init(step: report.step, loss: report.loss))
            case .evaluation(let step, let loss, _, _): plot.development.append(.init(step: step, loss: loss))
            case .recorded, .saved: continue
            }
        }
        try FileSystem.atomicWriteFile(FileSystem.join(options.output, RunFolder.plotName), text: plot.svg)
        try Recording.write(
            history.compactMap(\.recordedValues), total: options.training.totalSteps, to: options.output)
    }

    private func finish(_ optimisation: Optimisation, _ summary: ScoreSummary?, encoded: Int?) throws -> RunResult {
        try writePictures()
        var backbonePath: String?
        var weights: ModelFiles?
        if options.training.trainsBackbone, session.backbone.model != nil {
            let path = FileSystem.join(options.output, RunFolder.backboneName)
            try BackboneFolder.save(session.backbone, to: path)
            backbonePath = path
            weights = try ModelFiles(path)
            try log?.append(.saved(try SavedBackbone(in: path), step: optimisation.step))
        }
        var notes = options.notes
        if let summary {
            notes +=
                "\n- development loss: \(fixed(summary.loss, 4)) nats per \(summary.unit), \(summary.accuracyName) \(fixed(100 * summary.accuracy, 1)) %"
        }
        notes += "\n- steps: \(optimisation.step), batch size \(options.batchSize), seed \(options.seed)"
        var savedNumbers: [String: Int] = [:]
        func save(_ adapters: [Adapter], of route: String, to path: String) throws {
            let kept = try adapters.map {
                options.keepsReparameterization ? $0 : try $0.folded(for: session.backbone)
            }
            savedNumbers[route] = zip(adapters, kept).reduce(0) { sum, pair in
                let (trained, saved) = pair
                return sum + (saved === trained ? trained.parameters.trainableCount : saved.parameters.elementCount)
            }
            try AdapterFolder.saveAll(
                kept, backbone: session.backbone, isBackboneTrained: options.training.trainsBackbone,
                weights: weights, notes: notes, to: path)
        }
        var adapterPath: String?
        if let adapters = trained.first(where: { $0.route.isEmpty })?.adapters, !adapters.isEmpty {
            let path = FileSystem.join(options.output, RunFolder.adapterName)
            try save(adapters, of: "", to: path)
            adapterPath = path
        }
        let named = trained.map(\.route).filter { !$0.isEmpty }
        let routesPath = FileSystem.join(options.output, RunFolder.routesName)
        if !named.isEmpty {
            try SavedRoutes.write(named, to: routesPath) { try save(session.adapters(of: $0), of: $0, to: $1) }
        }
        if FileSystem.exists(checkpointPath) { try FileSystem.remove(checkpointPath) }
        return RunResult(
            isComplete: true, steps: optimisation.step, development: summary, adapterPath: adapterPath,
            routePaths: named.map { ($0, FileSystem.join(routesPath, $0)) }, savedNumbers: savedNumbers,
            backbonePath: backbonePath, encodedExamples: encoded)
    }
}
