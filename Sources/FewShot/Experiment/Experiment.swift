import Datasets
import SeamHost
import Support

/// A way to classify that an experiment compares.
public enum FewShotMethod: String, Sendable, CaseIterable {
    /// The class of the greatest score, without training.
    case zeroShot = "zero-shot"
    /// Zero-shot answers with calibrated scores.
    case calibratedZeroShot = "calibrated-zero-shot"
    /// Training examples in front of the text, in one prompt.
    case inContext = "in-context"
    /// The nearest mean of a class's hidden states.
    case classMean = "class-mean"
    /// Logistic regression on the hidden states.
    case logisticRegression = "logistic-regression"
    /// The adapters on decoder.output.
    case adapters = "adapters"

    /// Whether it is the same for every draw.
    var isWithoutTraining: Bool { self == .zeroShot || self == .calibratedZeroShot }
}

/// Compares methods of few-shot classification on one data set: for every number of shots and every seed a fresh draw
/// of training examples, all methods on the same draw, all measured on the same test texts.
///
/// Shots and settings are the caller's: nothing is chosen by the test texts.
public struct FewShotExperiment {
    public struct Options {
        /// The methods in the order of the report, none of them twice.
        public var methods: [FewShotMethod] = [
            .zeroShot, .calibratedZeroShot, .classMean, .logisticRegression, .adapters,
        ]
        public var training = HeadTrainingOptions()

        public init() {}
    }

    /// Adapters on decoder.output that run one after another.
    public struct Candidate {
        /// What it is called where one of several was chosen.
        public let name: String
        /// Of several, whether it is taken only where it is better beyond doubt (`LeaveOneOut.best`).
        public let isDoubted: Bool
        /// New ones for a seed, in the order in which they run.
        public let make: (UInt64) throws -> [Adapter]

        /// A candidate of these parts.
        public init(name: String, isDoubted: Bool = false, make: @escaping (UInt64) throws -> [Adapter]) {
            (self.name, self.isDoubted, self.make) = (name, isDoubted, make)
        }
    }

    /// What happens in `run`, in order.
    public enum Event {
        /// Distinct texts answered, of so many that the model had to be asked for.
        case asked(part: String, done: Int, of: Int)
        /// A candidate is about to be fitted without some of a draw.
        case choosing(shots: Int, seed: UInt64)
        /// A draw was trained on: accuracy of the adapters, if they are compared, and which of several candidates was
        /// chosen.
        case trained(shots: Int, seed: UInt64, accuracy: Double?, chosen: String?)
    }

    private let extractor: FeatureExtractor
    private let draws: FewShotDraws
    private let test: LabelledTexts
    private let options: Options
    /// What the method `adapters` is called in the report.
    private let adapterName: String
    private let candidates: [Candidate]
    /// A model that answers prompts with demonstrations.
    private let demonstrations: InContextAnswers?

    /// - Parameters:
    ///   - demonstrations: needed for `.inContext`.
    ///   - adapterName: what the adapters are called in the report.
    ///   - candidates: what may be trained; of several, one for each draw, by `LeaveOneOut`.
    /// - Throws: `.invalidArgument` for no candidate, for no method or one that is given twice and for data sets whose labels are not the
    ///   task's, `.unsupported` for a method that the model cannot be asked for.
    public init(
        extractor: FeatureExtractor, draws: FewShotDraws, test: LabelledTexts, options: Options,
        demonstrations: InContextAnswers? = nil, adapterName: String, candidates: [Candidate]
    ) throws {
        guard !candidates.isEmpty else {
            throw SeamError(.invalidArgument, "an experiment needs adapters to train, found none")
        }
        func list(_ names: [String]) -> String { names.joined(separator: ", ") }
        let labels = extractor.task.verbalizer.labels
        for data in [draws.training, test]
        where !data.labelNames.elementsEqual(labels, by: { TextKey($0) == TextKey($1) }) {
            throw SeamError(
                .invalidArgument,
                "\(data.name) has the labels \(list(data.labelNames)), the task has \(list(labels))")
        }
        guard !options.methods.isEmpty, Set(options.methods).count == options.methods.count else {
            throw SeamError(
                .invalidArgument,
                "an experiment needs methods, each once, found \(list(options.methods.map(\.rawValue)))")
        }
        guard demonstrations != nil || !options.methods.contains(.inContext) else {
            throw SeamError(
                .unsupported, "in-context examples need a model that continues a text (decoder-only) and runs here")
        }
        (self.extractor, self.draws, self.test, self.options) = (extractor, draws, test, options)
        (self.demonstrations, self.adapterName, self.candidates) = (demonstrations, adapterName, candidates)
    }

    /// Runs the comparison.
    /// - Parameters:
    ///   - observe: called as it goes; false stops with `.cancelled`.
    ///   - keep: given the trained adapters of each draw, to save them.
    /// - Returns: a table; shots 0 are the methods without training.
    public func run(
        title: String, observe: (Event) -> Bool = { _ in true },
        keep: (FewShotDraws.Draw, [Adapter]) throws -> Void = { _, _ in }
    ) throws -> Report {
        var results = ExperimentResults()
        let asked = Asked(
            test: try ask(test.inputs, "test", observe),
            empty: try extractor.emptyFeatures { observe(.asked(part: "an empty text", done: $0, of: $1)) })
        for method in options.methods where method.isWithoutTraining {
            results.add(try outcome(of: method, asked), method, shots: 0)
        }
        for draw in draws.all {
            let examples = Examples(
                draw: draw, features: try ask(draws.inputs(draw), Self.name(draw), observe), labels: draws.labels(draw))
            var (accuracy, chosen): (Double?, String?) = (nil, nil)
            for method in options.methods where !method.isWithoutTraining {
                let outcome: Outcome
                switch method {
                case .inContext: outcome = try inContext(draw, observe)
                case .adapters:
                    let candidate: Candidate
                    (outcome, candidate) = try trainAdapters(examples, asked, observe, keep)
                    accuracy = outcome.metrics.accuracy
                    chosen = candidates.count > 1 ? candidate.name : nil
                default: outcome = try baseline(method, examples, asked)
                }
                results.add(outcome, method, shots: draw.shots)
            }
            guard observe(.trained(shots: draw.shots, seed: draw.seed, accuracy: accuracy, chosen: chosen))
            else {
                throw SeamError(.cancelled, "the experiment was cancelled")
            }
        }
        let queries = extractor.queryCount
        return try results.report(
            title: title, methods: options.methods, shots: draws.shots,
            secondsPerQuery: queries > 0 ? extractor.querySeconds / Double(queries) : 0, adapterName: adapterName)
    }

    // MARK: One step

    private typealias Outcome = ExperimentResults.Outcome

    /// What all draws share.
    private struct Asked {
        let test: ClassFeatures
        let empty: ClassFeatures
    }

    /// A draw with what the model says of it.
    private struct Examples {
        let draw: FewShotDraws.Draw
        let features: ClassFeatures
        let labels: [Int]
    }

    private static func name(_ draw: FewShotDraws.Draw) -> String { "\(draw.shots) shots, seed \(draw.seed)" }

    private func ask(_ inputs: [InputText], _ part: String, _ observe: (Event) -> Bool) throws -> ClassFeatures {
        try extractor.features(of: inputs) { observe(.asked(part: part, done: $0, of: $1)) }
    }

    private func measure(_ scores: [Float]) throws -> ClassificationMetrics {
        let classes = extractor.task.classes
        return try ClassificationMetrics(
            predictions: try predictedClasses(scores, classes: classes), labels: test.labels, classes: classes)
    }

    private func outcome(of method: FewShotMethod, _ asked: Asked) throws -> Outcome {
        let (test, empty) = (asked.test.averaged.probabilities, asked.empty.averaged.probabilities)
        guard method == .calibratedZeroShot else { return Outcome(metrics: try measure(test)) }
        let calibrated = try ZeroShot.calibrated(test, empty: empty)
        return Outcome(metrics: try measure(calibrated), queries: asked.test.prompts)
    }

    private func baseline(_ method: FewShotMethod, _ examples: Examples, _ asked: Asked) throws -> Outcome {
        // Of several prompts the mean, since a baseline reads one.
        let known = examples.features.averaged
        let start = monotonicSeconds()
        let classify: ([Float]) throws -> [Float]
        if method == .classMean {
            classify = try NearestClassMean(
                features: known.hidden, labels: examples.labels, classes: known.classes, width: known.width
            ).scores
        } else {
            classify = try LogisticRegression(
                features: known.hidden, labels: examples.labels, classes: known.classes, width: known.width
            ).scores
        }
        let seconds = monotonicSeconds() - start
        return Outcome(
            metrics: try measure(classify(asked.test.averaged.hidden)), queries: known.count * asked.test.prompts,
            secondsTraining: seconds)
    }

    private func trainAdapters(
        _ examples: Examples, _ asked: Asked, _ observe: (Event) -> Bool,
        _ keep: (FewShotDraws.Draw, [Adapter]) throws -> Void
    ) throws -> (Outcome, Candidate) {
        let known = examples.features
        let labels = examples.labels.map { Int32($0) }
        let made = try candidates.map { try $0.make(examples.draw.seed) }
        let start = monotonicSeconds()
        let best =
            made.count == 1
            ? 0
            : try LeaveOneOut(
                candidates: made, scores: known.scores, hidden: known.hidden, labels: labels,
                emptyScores: asked.empty.scores, options: options.training,
                progress: { observe(.choosing(shots: examples.draw.shots, seed: examples.draw.seed)) }
            ).best(doubting: candidates.firstIndex(where: \.isDoubted))
        let adapters = made[best]
        _ = try fit(
            adapters: adapters, scores: known.scores, hidden: known.hidden, labels: labels,
            emptyScores: asked.empty.scores, options: options.training)
        let seconds = monotonicSeconds() - start
        for adapter in adapters { adapter.task = extractor.task.json }
        let scores = try classScores(adapters: adapters, scores: asked.test.scores, hidden: asked.test.hidden)
        let outcome = Outcome(
            metrics: try measure(scores), queries: (known.count + 1) * known.prompts, secondsTraining: seconds)
        try keep(examples.draw, adapters)
        return (outcome, candidates[best])
    }

    private func inContext(_ draw: FewShotDraws.Draw, _ observe: (Event) -> Bool) throws -> Outcome {
        guard let demonstrations else { throw SeamError(.internal, "there is no model for in-context examples") }
        let before = demonstrations.querySeconds
        let solved = zip(draws.inputs(draw), draws.labels(draw)).map { (input: $0, label: $1) }
        let scores = try demonstrations.scores(test.inputs, demonstrations: solved) {
            observe(.asked(part: "in context, \(Self.name(draw))", done: $0, of: $1))
        }
        return Outcome(
            metrics: try measure(scores), queries: test.count,
            secondsQuerying: demonstrations.querySeconds - before)
    }
}
