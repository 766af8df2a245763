import Files
import SeamHost
import Support
import Trainer

/// What the runs of a sweep have in common: data, training, and how a model with adapters is made and measured.
public struct SweepTask {
    public enum Part: Sendable { case development, test }

    public let training: TokenPairs
    public let development: TokenPairs
    /// Only measured; nothing is chosen by it.
    public let test: TokenPairs?
    /// The options of every run, but its seed and folder and what is varied.
    public var options = RunOptions(output: "")
    /// Options of adapters in all variants that have them; one that a variant sets itself is that variant's.
    public var adapterSettings: [SweepSetting] = []
    /// Learning rates by the name of the variant, instead of the one in `options`.
    public var learningRates: [String: Double] = [:]
    /// What else must be equal for results to stand side by side, such as how texts are generated.
    public var settings: [(key: String, value: JSON)] = []
    /// A session with new adapters.
    /// - Parameters: ids of adapters joined by "+", settings as NAME=VALUE or ADAPTER.NAME=VALUE, and the seed of their
    ///   initial values.
    public let makeSession: (_ adapters: String, _ settings: [String], _ seed: UInt64) throws -> Session
    /// Names of the options that an adapter declares.
    public let optionNames: (_ adapter: String) throws -> [String]
    /// Throws where `measure` could not be asked about a session.
    public var check: (Session) throws -> Void = { _ in }
    /// Figures beside loss and accuracy, such as those of generated texts.
    public var measure: (Session, Part) throws -> [(metric: SweepMetric, value: Double)] = { _, _ in [] }

    public init(
        training: TokenPairs, development: TokenPairs, test: TokenPairs?,
        makeSession: @escaping (_ adapters: String, _ settings: [String], _ seed: UInt64) throws -> Session,
        optionNames: @escaping (_ adapter: String) throws -> [String]
    ) {
        (self.training, self.development, self.test) = (training, development, test)
        (self.makeSession, self.optionNames) = (makeSession, optionNames)
    }

    /// The session and the options of a run.
    /// - Throws: `.invalidArgument` for a varied setting that neither the training nor an adapter of the variant has,
    ///   and as `makeSession`.
    func prepared(_ run: SweepRun) throws -> (session: Session, options: RunOptions) {
        var options = self.options
        if let rate = learningRates[run.variant.name] { options.training.learningRate = rate }
        options.seed = run.seed
        var settings = run.variant.settings
        for setting in try adapterSettings.filter({ try has(run.variant, $0) }) {
            if !settings.contains(where: { $0.sets(sameAs: setting) }) { settings.append(setting) }
        }
        for setting in run.point.settings {
            if let known = RunSetting(rawValue: setting.name) {
                try known.apply(setting.value, to: &options)
            } else {
                guard try has(run.variant, setting) else {
                    throw SeamError(
                        .invalidArgument,
                        "--vary \(setting.name): variant \"\(run.variant.name)\" has no adapter with this option, and the training has \(RunSetting.allCases.map(\.rawValue).joined(separator: ", "))"
                    )
                }
                settings.removeAll { $0.sets(sameAs: setting) }
                settings.append(setting)
            }
        }
        let session = try makeSession(
            run.variant.adapters.joined(separator: "+"), settings.map(\.text), run.seed)
        return (session, options)
    }

    /// Whether an adapter of a variant declares the option, or is given a learning rate by it.
    private func has(_ variant: SweepVariant, _ setting: SweepSetting) throws -> Bool {
        try variant.adapters.contains { id in
            try setting.name == "\(id).\(AdapterComposition.learningRateName)"
                || optionNames(id).contains { $0 == setting.name || "\(id).\($0)" == setting.name }
        }
    }

    /// Throws one sentence for a common option that no variant takes, or a learning rate of no variant.
    func check(_ plan: SweepPlan) throws {
        for setting in adapterSettings where try !plan.variants.contains(where: { try has($0, setting) }) {
            throw SeamError(
                .invalidArgument,
                "--option \(setting.text): no variant has an adapter with the option \"\(setting.name)\"")
        }
        for name in learningRates.keys.sorted() where !plan.variants.contains(where: { $0.name == name }) {
            throw SeamError(.invalidArgument, "--learning-rate \(name)=...: there is no variant \"\(name)\"")
        }
        guard learningRates.isEmpty || !plan.axes.contains(where: { $0.name == RunSetting.learningRate.rawValue })
        else {
            throw SeamError(.invalidArgument, "--learning-rate of a variant is given, and --vary varies it")
        }
    }

    /// What a run is made with, as its result keeps it.
    func settings(of training: TrainingRun) throws -> JSON {
        var members = try training.settings().objectValue ?? []
        members.append((key: "development_data", value: .string(development.contentHash)))
        members.append((key: "test_data", value: test.map { .string($0.contentHash) } ?? .null))
        return .object(members + settings)
    }
}

/// What a sweep can vary of the training, by the names that checkpoints have for it.
enum RunSetting: String, CaseIterable {
    case learningRate = "learning_rate"
    case batchSize = "batch_size"
    case steps
    case warmupSteps = "warmup_steps"
    case weightDecay = "weight_decay"
    case maxGradientNorm = "max_grad_norm"
    case labelSmoothing = "label_smoothing"

    /// Throws `SeamError(.invalidArgument)` for a text that is no number.
    func apply(_ text: String, to options: inout RunOptions) throws {
        func number<Number: LosslessStringConvertible>(_ kind: String) throws -> Number {
            guard let value = Number(text) else {
                throw SeamError(.invalidArgument, "--vary \(rawValue): expected \(kind), found \"\(text)\"")
            }
            return value
        }
        switch self {
        case .learningRate: options.training.learningRate = try number("a number")
        case .batchSize: options.batchSize = try number("a whole number")
        case .steps: options.training.totalSteps = try number("a whole number")
        case .warmupSteps: options.training.warmupSteps = try number("a whole number")
        case .weightDecay: options.training.optimizer.weightDecay = try number("a number")
        case .maxGradientNorm: options.training.maxGradientNorm = try number("a number")
        case .labelSmoothing: options.training.labelSmoothing = try number("a number")
        }
    }
}
