import SeamHost
import Support

/// What a run does besides single steps.
public struct RunOptions: Sendable {
    public var training = TrainingOptions()
    public var batchSize = 32
    /// The seed of the order of examples, of the adapters' initial values, and of what the training's steps draw.
    public var seed: UInt64 {
        get { training.seed }
        set { training.seed = newValue }
    }
    /// Keep what flows into the lowest layer that is trained; off, the layers before it run for every batch.
    public var usesSeamCache = true
    /// Bytes of memory for that; what is beyond goes into a file in `output`, which has no name there.
    public var seamCacheBytes = StateStore.usualMemoryLimit
    /// Steps between scorings of the development set; 0: only at the end.
    public var evaluationInterval = 0
    /// Steps between checkpoints; 0: only when stopped.
    public var checkpointInterval = 0
    /// Saves adapters as they are trained, to be trained further, instead of what inference needs of them
    /// (`Adapter.folded`).
    public var keepsReparameterization = false
    /// Folder for everything the run writes.
    public var output: String
    /// Whether what another run wrote into that folder is removed first; else such a folder is refused.
    public var overwrites = false
    /// Lines of the adapters' model cards: data, command.
    public var notes = ""

    public init(output: String) { self.output = output }
}

/// What a run tells while it goes on.
public enum RunEvent: Sendable {
    case started(steps: Int, resumedAt: Int)
    case step(StepReport, total: Int, secondsPerStep: Double)
    case evaluated(step: Int, ScoreSummary)
    case checkpoint(step: Int, path: String)
}

public struct RunResult: Sendable {
    /// False when it was asked to stop; a checkpoint was written then.
    public let isComplete: Bool
    public let steps: Int
    public let development: ScoreSummary?
    /// Folder of the saved adapter of the default route, or of all of them (`AdapterFolder.saveAll`); nil when stopped, or
    /// where it has none or is not trained.
    public let adapterPath: String?
    /// The same for each route with a name that was trained.
    public let routePaths: [(route: String, path: String)]
    /// By route, "" for the default one: the numbers of its saved adapters, those that were trained or, where folding has
    /// left others in their place, these.
    public let savedNumbers: [String: Int]
    /// Folder of the saved backbone, where it was trained.
    public let backbonePath: String?
    /// Training examples of which a constant part was computed; nil where no seam cache kept any.
    public let encodedExamples: Int?

    /// Of a run that was asked to stop.
    static func stopped(after steps: Int, encoded: Int? = nil) -> RunResult {
        RunResult(
            isComplete: false, steps: steps, development: nil, adapterPath: nil, routePaths: [],
            savedNumbers: [:], backbonePath: nil, encodedExamples: encoded)
    }
}
