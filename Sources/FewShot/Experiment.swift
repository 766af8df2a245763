import Session
import Support

/// A way to classify that an experiment compares.
public enum FewShotMethod: String, Sendable, CaseIterable {
    /// The class of the greatest score, without training.
    case zeroShot = "zero-shot"
    /// The same with calibrated scores.
    case calibratedZeroShot = "calibrated-zero-shot"
    /// Training examples in front of the text, in one prompt.
    case inContext = "in-context"
    /// The nearest mean of a class's hidden states.
    case classMean = "class-mean"
    /// Logistic regression on the hidden states.
    case logisticRegression = "logistic-regression"
    /// The adapters on decoder.output.
    case adapters = "adapters"
}

/// Compares methods of few-shot classification on one data set: for every number of shots and every seed a fresh draw of
/// training examples, all methods on the same draw, all measured on the same test texts.
///
/// Shots and settings are the caller's: nothing is chosen by the test texts.
public struct FewShotExperiment {
    public struct Options {
        /// Examples of each class.
        public var shots = [1, 4, 16]
        /// Of the draws, and of the adapters' initial values.
        public var seeds: [UInt64] = [0, 1, 2, 3, 4]
        public var methods: [FewShotMethod] = [.zeroShot, .calibratedZeroShot, .classMean, .logisticRegression, .adapters]
        public var training = HeadTrainingOptions()
        /// Whether a draw may hold a text twice.
        public var allowsDuplicates = false

        public init() {}
    }

    /// What happens in `run`, in order.
    public enum Event {
        /// Distinct texts answered, of so many that the model had to be asked for.
        case asked(part: String, done: Int, of: Int)
        /// A draw was trained on: accuracy of the adapters, if they are compared.
        case trained(shots: Int, seed: UInt64, accuracy: Double?)
    }

    private let extractor: FeatureExtractor
    private let training: LabelledTexts
    private let test: LabelledTexts
    private let options: Options
    /// New adapters for a draw.
    private let makeAdapters: (UInt64) throws -> [Adapter]
    /// A model that answers prompts with demonstrations.
    private let demonstrations: InContextAnswers?

    /// - Parameters:
    ///   - adapters: makes the adapters for a seed, in the order in which they run.
    ///   - demonstrations: needed for `.inContext`.
    /// - Throws: `.invalidArgument` for no shots or seeds, data sets whose labels are not the task's, and a method that the
    ///   model cannot be asked for.
    public init(
        extractor: FeatureExtractor, training: LabelledTexts, test: LabelledTexts, options: Options,
        demonstrations: InContextAnswers? = nil, adapters: @escaping (UInt64) throws -> [Adapter]
    ) throws {
        guard !options.shots.isEmpty, !options.seeds.isEmpty else {
            throw SeamError(.invalidArgument, "an experiment needs a number of shots and a seed")
        }
        for data in [training, test] where data.labelNames != extractor.task.verbalizer.labels {
            throw SeamError(
                .invalidArgument,
                "\(data.name) has the labels \(data.labelNames.joined(separator: ", ")), the task has \(extractor.task.verbalizer.labels.joined(separator: ", "))"
            )
        }
        guard demonstrations != nil || !options.methods.contains(.inContext) else {
            throw SeamError(
                .unsupported, "in-context examples need a model that continues a text (decoder-only) and runs here")
        }
        (self.extractor, self.training, self.test, self.options) = (extractor, training, test, options)
        (self.demonstrations, makeAdapters) = (demonstrations, adapters)
    }

    /// Runs the comparison.
    /// - Parameters:
    ///   - observe: called as it goes; false stops with `.cancelled`.
    ///   - keep: given the trained adapters of each draw, to save them.
    /// - Returns: a table; shots 0 are the methods without training.
    public func run(
        title: String, observe: (Event) -> Bool = { _ in true },
        keep: (_ shots: Int, _ seed: UInt64, [Adapter]) throws -> Void = { _, _, _ in }
    ) throws -> Report {
        func ask(_ inputs: [InputText], _ part: String) throws -> ClassFeatures {
            try extractor.features(of: inputs) { observe(.asked(part: part, done: $0, of: $1)) }
        }
        var cells = Cells()
        let features = try ask(test.inputs, "test")
        let empty = try extractor.emptyFeatures()
        if options.methods.contains(.zeroShot) {
            cells.add(.zeroShot, 0, try measure(features.probabilities))
        }
        if options.methods.contains(.calibratedZeroShot) {
            let calibrated = try ZeroShot.calibrated(features.probabilities, empty: empty.probabilities)
            cells.add(.calibratedZeroShot, 0, try measure(calibrated), queries: 1)
        }
        for shots in options.shots {
            for seed in options.seeds {
                let draw = try Shots(from: training, perClass: shots, seed: seed).training
                try training.checkTraining(rows: draw, allowingDuplicates: options.allowsDuplicates)
                let known = try ask(draw.map { training.inputs[$0] }, "\(shots) shots, seed \(seed)")
                let labels = draw.map { training.labels[$0] }
                var accuracy: Double?
                for method in options.methods {
                    let start = monotonicSeconds()
                    switch method {
                    case .zeroShot, .calibratedZeroShot: continue
                    case .classMean:
                        let means = try NearestClassMean(
                            features: known.hidden, labels: labels, classes: known.classes, width: known.width)
                        let seconds = monotonicSeconds() - start
                        let scores = try means.scores(features.hidden)
                        cells.add(method, shots, try measure(scores), queries: draw.count, seconds: seconds)
                    case .logisticRegression:
                        let regression = try LogisticRegression(
                            features: known.hidden, labels: labels, classes: known.classes, width: known.width)
                        let seconds = monotonicSeconds() - start
                        let scores = try regression.scores(features.hidden)
                        cells.add(method, shots, try measure(scores), queries: draw.count, seconds: seconds)
                    case .inContext:
                        let scores = try demonstrations!.scores(
                            test.inputs, demonstrations: draw.map { (training.inputs[$0], training.labels[$0]) }
                        ) { observe(.asked(part: "in context, \(shots) shots, seed \(seed)", done: $0, of: $1)) }
                        cells.add(method, shots, try measure(scores), queries: test.count)
                    case .adapters:
                        let adapters = try makeAdapters(seed)
                        let begin = monotonicSeconds()
                        _ = try fit(
                            adapters: adapters, scores: known.scores, hidden: known.hidden,
                            labels: labels.map { Int32($0) }, emptyScores: empty.scores, options: options.training)
                        let seconds = monotonicSeconds() - begin
                        for adapter in adapters { adapter.task = extractor.task.json }
                        let result = try measure(
                            try classScores(adapters: adapters, scores: features.scores, hidden: features.hidden))
                        cells.add(method, shots, result, queries: draw.count + 1, seconds: seconds)
                        accuracy = result.accuracy
                        try keep(shots, seed, adapters)
                    }
                }
                guard observe(.trained(shots: shots, seed: seed, accuracy: accuracy)) else {
                    throw SeamError(.cancelled, "the experiment was cancelled")
                }
            }
        }
        let asked = extractor.source.queryCount
        return try cells.report(
            title: title, methods: options.methods, shots: [0] + options.shots,
            secondsPerQuery: asked > 0 ? extractor.querySeconds / Double(asked) : 0,
            adapterNames: try makeAdapters(options.seeds[0]).map(\.factory.id))
    }

    private func measure(_ scores: [Float]) throws -> ClassificationMetrics {
        let classes = extractor.task.classes
        return try ClassificationMetrics(
            predictions: try predictedClasses(scores, classes: classes), labels: test.labels, classes: classes)
    }

    /// Results by method and shots, one a seed.
    private struct Cells {
        struct Results {
            var metrics: [ClassificationMetrics] = []
            var queries = 0
            var seconds = 0.0
        }
        var results: [FewShotMethod: [Int: Results]] = [:]

        mutating func add(
            _ method: FewShotMethod, _ shots: Int, _ metrics: ClassificationMetrics, queries: Int = 0, seconds: Double = 0
        ) {
            var entry = results[method]?[shots] ?? Results()
            entry.metrics.append(metrics)
            entry.queries = queries
            entry.seconds += seconds
            results[method, default: [:]][shots] = entry
        }

        func report(
            title: String, methods: [FewShotMethod], shots: [Int], secondsPerQuery: Double, adapterNames: [String]
        ) throws -> Report {
            var report = Report(title: title)
            for method in methods {
                let name = method == .adapters ? adapterNames.joined(separator: "+") : method.rawValue
                for shots in shots {
                    guard let entry = results[method]?[shots] else { continue }
                    try report.add(
                        Report.Cell(
                            accuracy: try Spread(entry.metrics.map(\.accuracy)),
                            macroF1: try Spread(entry.metrics.map(\.macroF1)), queries: entry.queries,
                            secondsQuerying: Double(entry.queries) * secondsPerQuery,
                            secondsTraining: entry.seconds / Double(entry.metrics.count)),
                        method: name, shots: shots)
                }
            }
            return report
        }
    }
}
