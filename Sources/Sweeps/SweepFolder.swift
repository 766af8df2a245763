import Files
import Support
import Trainer

/// A sweep's folder: sweep.json (what is trained), runs/ with a folder for each run, and the report.
public struct SweepFolder: Sendable {
    public let path: String
    private static let schema = 1

    public init(_ path: String) { self.path = path }

    /// The path of a name within.
    public subscript(name: String) -> String { FileSystem.join(path, name) }

    // MARK: What is trained

    private var planPath: String { self["sweep.json"] }

    /// What sweep.json holds.
    package struct Description {
        let plan: SweepPlan
        /// The figure that the tables begin with, and the heading above them.
        let metric: SweepMetric
        let title: String

        /// - Parameter metric: the figure that the tables begin with.
        package init(plan: SweepPlan, metric: SweepMetric, title: String) {
            (self.plan, self.metric, self.title) = (plan, metric, title)
        }
    }

    /// Nil where there is none yet. Throws `.format` and `.incompatible` for a file that is not as expected.
    func readDescription() throws -> Description? {
        guard FileSystem.exists(planPath) else { return nil }
        let json = try JSON.read(planPath)
        let revision = try json.requireInt("schema", in: planPath)
        guard revision == Self.schema else {
            throw SeamError(
                .incompatible, "\(planPath): schema \(revision) is not \(Self.schema), which this version reads")
        }
        return Description(
            plan: try SweepPlan(json, in: planPath),
            metric: SweepMetric(try json.requireString("metric", in: planPath)),
            title: try json.requireString("title", in: planPath))
    }

    /// Throws `.alreadyExists` for a folder that is no sweep's and holds what a sweep would replace, and for one with
    /// results of runs that `plan` has not, which the report would lose.
    public func checkOwn(for plan: SweepPlan) throws {
        if FileSystem.exists(planPath) {
            let known: Description?
            do {
                known = try readDescription()
            } catch let error as SeamError {
                throw SeamError(
                    .alreadyExists, "\(planPath) is not as a sweep writes it (\(error.message)): give another --output")
            }
            let runs = Set(plan.runs)
            for run in known?.plan.runs ?? [] where !runs.contains(run) && FileSystem.exists(resultPath(of: run)) {
                throw SeamError(
                    .alreadyExists,
                    "\"\(path)\" holds a result of \(run.title), which is no run of this sweep, and its report would be"
                        + " lost: add variants, values and seeds to those that are there, or give another --output")
            }
            return
        }
        let names = ["runs"] + SweepReport.fileNames
        guard let name = names.first(where: { FileSystem.exists(self[$0]) }) else { return }
        throw SeamError(
            .alreadyExists, "\"\(path)\" holds \(name) and no sweep.json, so that is no sweep's: give another --output")
    }

    func write(_ description: Description) throws {
        guard case .object(let plan) = description.plan.json else { return }
        let json = JSON.object(
            [
                (key: "schema", value: .int(Int64(Self.schema))), (key: "title", value: .string(description.title)),
                (key: "metric", value: .string(description.metric.name)),
            ] + plan)
        try FileSystem.createDirectories(path)
        try FileSystem.atomicWriteFile(planPath, text: try json.serialized(indent: 2) + "\n")
    }

    // MARK: Runs

    /// The path of a run's folder.
    package func folder(of run: SweepRun) -> String { self[run.folder] }
    func resultPath(of run: SweepRun) -> String { FileSystem.join(folder(of: run), "result.json") }

    /// Nil for a run that has not ended.
    package func result(of run: SweepRun) throws -> SweepResult? {
        let path = resultPath(of: run)
        return FileSystem.exists(path) ? try SweepResult(JSON.read(path), in: path) : nil
    }

    func write(_ result: SweepResult, of run: SweepRun) throws {
        try FileSystem.createDirectories(folder(of: run))
        try FileSystem.atomicWriteFile(resultPath(of: run), text: try result.json.serialized(indent: 2) + "\n")
    }

    /// The training loss of every step, from the run's log.
    package func losses(of run: SweepRun) throws -> [Double] {
        guard RunFolder.hasLog(folder(of: run)) else { return [] }
        return try RunFolder.logEntries(in: folder(of: run)).compactMap(\.trainingLoss)
    }
}

/// A sentence on the first member of `old` that `new` has not the same, or nil.
/// - Parameter place: what holds `old`.
func difference(_ old: JSON, from new: JSON, in place: String) throws -> String? {
    for (key, value) in old.objectValue ?? [] where new[key] != value {
        let found = try new[key]?.serialized() ?? "none"
        return "\(place) was made with \(key) \(try value.serialized()), this sweep has \(found): give another --output"
    }
    for (key, value) in new.objectValue ?? [] where old[key] == nil {
        return "\(place) was made without \(key), this sweep has \(try value.serialized()): give another --output"
    }
    return nil
}
