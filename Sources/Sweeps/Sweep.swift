import Files
import SeamHost
import Support
import Trainer

/// What a sweep tells while it goes on.
public enum SweepEvent {
    /// Runs that have results already, of all.
    case found(done: Int, of: Int)
    /// A run begins, or goes on behind a step; counted from 1.
    case started(SweepRun, number: Int, of: Int, resumedAt: Int)
    /// A step of the run, and an estimate of the time for all that is left.
    case step(StepReport, total: Int, number: Int, of: Int, secondsLeft: Double)
    case ended(SweepRun, SweepResult, number: Int, of: Int)
}

/// Trains a grid of runs, one after the other, each in a folder of its own. What has a result is not trained again, what
/// has a checkpoint goes on: however often it was stopped, a sweep ends with the same numbers.
public struct Sweep {
    public enum Ending: Equatable, Sendable {
        /// Every run has a result; so many of them failed.
        case complete(failed: Int)
        /// Asked to stop, within this run.
        case stopped(SweepRun)
    }

    private let plan: SweepPlan
    private let task: SweepTask
    private let folder: SweepFolder
    private let description: SweepFolder.Description
    /// Settings of each run.
    private var settings: [SweepRun: JSON] = [:]
    private var steps: [SweepRun: Int] = [:]

    /// Checks what can be refused before anything is written: makes each variant at each point once, and compares with
    /// what the folder holds.
    /// - Parameters:
    ///   - metric: that the report begins with.
    ///   - title: the heading of the report.
    /// - Throws: one sentence; `.invalidArgument` for other settings than those of results in the folder.
    public init(plan: SweepPlan, task: SweepTask, folder: SweepFolder, metric: SweepMetric, title: String) throws {
        try task.check(plan)
        (self.plan, self.task, self.folder) = (plan, task, folder)
        description = SweepFolder.Description(plan: plan, metric: metric, title: title)
        for run in plan.runs {
            // Nothing but the seed differs from the same run with the first one.
            let first = SweepRun(variant: run.variant, point: run.point, seed: plan.seeds[0])
            if let known = settings[first] {
                settings[run] = .object(
                    (known.objectValue ?? []).map { ($0.key, $0.key == "seed" ? .string("\(run.seed)") : $0.value) })
                steps[run] = steps[first]
            } else {
                let (session, options) = try prepared(run)
                settings[run] = try task.settings(of: training(run, session, options))
                steps[run] = options.training.totalSteps
            }
            try checkKnown(run, settings[run]!)
        }
    }

    /// Throws for a result, or a checkpoint, of the run with other settings.
    private func checkKnown(_ run: SweepRun, _ settings: JSON) throws {
        if let known = try folder.result(of: run) {
            guard let sentence = try difference(known.settings, from: settings, in: folder.resultPath(of: run)) else {
                return
            }
            throw SeamError(.invalidArgument, sentence)
        }
        let path = folder.folder(of: run)
        guard let known = try TrainingRun.resumableSettings(path) else { return }
        // A checkpoint knows the training only.
        let own = JSON.object((settings.objectValue ?? []).filter { known[$0.key] != nil })
        if let sentence = try difference(known, from: own, in: FileSystem.join(path, "checkpoint")) {
            throw SeamError(.invalidArgument, sentence)
        }
    }

    /// The run as the task makes it, with errors that name it, and data that are known to fit.
    private func prepared(_ run: SweepRun) throws -> (session: Session, options: RunOptions) {
        do {
            var (session, options) = try task.prepared(run)
            options.output = folder.folder(of: run)
            // What stands there without a result is of this run, stopped before its first checkpoint.
            options.overwrites = true
            options.notes += (options.notes.isEmpty ? "" : "\n") + "- sweep: \(run.title)"
            try options.training.validate()
            for data in [task.training, task.development, task.test] { try data?.check(fits: session) }
            try task.check(session)
            return (session, options)
        } catch let error as SeamError where !error.message.hasPrefix("--") {
            throw SeamError(error.code, "variant \(run.title): \(error.message)", origin: error.origin)
        }
    }

    private func training(_ run: SweepRun, _ session: Session, _ options: RunOptions) throws -> TrainingRun {
        try TrainingRun(session: session, data: task.training, development: task.development, options: options)
    }

    /// Trains and measures what has no result yet.
    ///
    /// A run whose loss does not stay finite is a result, too; every other error ends the sweep.
    /// - Parameters:
    ///   - observe: called on this thread.
    ///   - shouldContinue: asked before every step; false stops with a checkpoint.
    /// - Throws: `.alreadyExists` where another process writes into the folder, and as `SweepFolder.checkOwn`.
    public func run(observe: (SweepEvent) throws -> Void, shouldContinue: () -> Bool) throws -> Ending {
        let lock = try FolderLock(folder.path)
        defer { lock.release() }
        try folder.checkOwn(for: plan)
        try folder.write(description)
        let runs = plan.runs
        let open = try runs.filter { try folder.result(of: $0) == nil }
        try observe(.found(done: runs.count - open.count, of: runs.count))
        var pace = Pace(steps: open.reduce(0) { $0 + (steps[$1] ?? 0) })
        for (index, run) in runs.enumerated() where open.contains(run) {
            guard shouldContinue() else { return .stopped(run) }
            let place = (number: index + 1, of: runs.count)
            guard let outcome = try outcome(of: run, place, &pace, observe, shouldContinue) else {
                return .stopped(run)
            }
            let result = SweepResult(outcome, settings: settings[run] ?? .null)
            try folder.write(result, of: run)
            try observe(.ended(run, result, number: place.number, of: place.of))
        }
        let failed = try runs.count { try folder.result(of: $0)?.failure != nil }
        return .complete(failed: failed)
    }

    /// Nil when it was asked to stop.
    private func outcome(
        of run: SweepRun, _ place: (number: Int, of: Int), _ pace: inout Pace, _ observe: (SweepEvent) throws -> Void,
        _ shouldContinue: () -> Bool
    ) throws -> SweepResult.Outcome? {
        let total = steps[run] ?? 0
        var done = 0
        defer { pace.skip(total - done) }
        do {
            let (session, options) = try prepared(run)
            let training = try training(run, session, options)
            var secondsPerStep = 0.0
            let result = try training.run(
                resumes: RunFolder.isResumable(options.output),
                observe: { event in
                    switch event {
                    case .started(_, let first):
                        done = first
                        pace.skip(first)
                        try observe(.started(run, number: place.number, of: place.of, resumedAt: first))
                    case .step(let report, let total, let seconds):
                        (done, secondsPerStep) = (report.step, seconds)
                        pace.advance()
                        try observe(
                            .step(
                                report, total: total, number: place.number, of: place.of, secondsLeft: pace.secondsLeft)
                        )
                    case .evaluated, .checkpoint: break
                    }
                }, shouldContinue: shouldContinue)
            guard result.isComplete else { return nil }
            return .finished(
                try measured(run, session, result, options, seconds: secondsPerStep * Double(total)))
        } catch let error as SeamError where error.code == .numeric {
            return .failed(error.message)
        }
    }

    /// Measures a finished run. It is not stopped in between: the checkpoint is gone, and the training would be lost.
    private func measured(
        _ run: SweepRun, _ session: Session, _ result: RunResult, _ options: RunOptions, seconds: Double
    ) throws -> SweepResult.Finished {
        func figures(_ summary: ScoreSummary, _ part: SweepTask.Part) throws -> SweepFigures {
            let accuracy = SweepMetric(summary.accuracyName.replacing(" ", with: "_"))
            let values = [(.loss, summary.loss), (accuracy, summary.accuracy)] + (try task.measure(session, part))
            if let wrong = values.first(where: { !$0.1.isFinite }) {
                throw SeamError(.numeric, "the \(wrong.0.name) of the \(part) examples is \(wrong.1)")
            }
            return SweepFigures(values)
        }
        guard let summary = result.development else {
            throw SeamError(.internal, "the run was not scored on the development examples")
        }
        let development = try figures(summary, .development)
        let test = try task.test.map { data in
            try figures(
                score(session, data, batchSize: options.batchSize), .test)
        }
        let losses = try folder.losses(of: run)
        guard let curve = LossCurve(losses) else {
            throw SeamError(.internal, "\(options.output): the log has no steps")
        }
        return SweepResult.Finished(
            development: development, test: test, lastLoss: losses.last ?? 0, meanLoss: curve.last,
            window: curve.window, seconds: seconds,
            trainedParameters: session.adapters.reduce(0) { $0 + $1.parameters.trainableCount })
    }
}

/// Steps done and left over all runs, and what they take.
private struct Pace {
    private let start = monotonicSeconds()
    private var done = 0
    private var left: Int

    init(steps: Int) { left = steps }

    mutating func advance() {
        done += 1
        left -= 1
    }

    /// Steps that need not be done.
    mutating func skip(_ count: Int) { left -= count }

    var secondsLeft: Double { (monotonicSeconds() - start) / Double(max(done, 1)) * Double(left) }
}
