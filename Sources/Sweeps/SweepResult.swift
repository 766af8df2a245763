import Files
import Support

/// A figure that a run is measured by, by the name that results give it.
public struct SweepMetric: Hashable, Sendable {
    public let name: String

    public init(_ name: String) { self.name = name }

    /// The mean loss of an example's labels.
    public static let loss = SweepMetric("loss")

    /// Losses and error rates.
    public var isLowerBetter: Bool { ["loss", "wer", "cer"].contains(name) }
    private var isShare: Bool { name.hasSuffix("accuracy") }

    /// "token accuracy 81.20 %".
    public func sentence(_ value: Double) -> String {
        "\(name.replacing("_", with: " ")) \(text(value))\(isShare ? " %" : "")"
    }

    /// "token accuracy (%)".
    public var title: String { name.replacing("_", with: " ") + (isShare ? " (%)" : "") }

    /// A value as tables and plots show it: shares as percents.
    public func shown(_ value: Double) -> Double { isShare ? 100 * value : value }

    /// The value in words.
    public func text(_ value: Double) -> String {
        fixed(shown(value), ["loss", "nist", "cider"].contains(name) ? 4 : 2)
    }
}

/// Figures of one set of examples by metric, in order.
public struct SweepFigures: Equatable, Sendable {
    public var values: [(metric: SweepMetric, value: Double)]

    public init(_ values: [(metric: SweepMetric, value: Double)]) { self.values = values }

    /// Nil for one that was not measured.
    public subscript(metric: SweepMetric) -> Double? { values.first { $0.metric == metric }?.value }

    public static func == (left: Self, right: Self) -> Bool {
        left.values.map(\.metric) == right.values.map(\.metric) && left.values.map(\.value) == right.values.map(\.value)
    }

    var json: JSON { .object(values.map { (key: $0.metric.name, value: .double($0.value)) }) }

    init(_ json: JSON, key: String, in place: String) throws {
        values = try json.requireObject(key, in: place).map { name, value in
            guard let number = value.doubleValue else {
                throw SeamError(.format, "\(place): \"\(key).\(name)\" must be a number, found \(value.kind)")
            }
            return (SweepMetric(name), number)
        }
    }
}

/// What a run came to: result.json in its folder.
public struct SweepResult: Equatable, Sendable {
    public struct Finished: Equatable, Sendable {
        public var development: SweepFigures
        /// Only reported; nothing is chosen by it.
        public var test: SweepFigures?
        /// Training loss of the last step, and the mean of the last `window` steps.
        public var lastLoss, meanLoss: Double
        public var window: Int
        /// The time that training took; of a resumed run, its last part's pace for all steps.
        public var seconds: Double
        public var trainedParameters: Int

        public init(
            development: SweepFigures, test: SweepFigures?, lastLoss: Double, meanLoss: Double, window: Int,
            seconds: Double, trainedParameters: Int
        ) {
            (self.development, self.test, self.lastLoss, self.meanLoss) = (development, test, lastLoss, meanLoss)
            (self.window, self.seconds, self.trainedParameters) = (window, seconds, trainedParameters)
        }
    }

    public enum Outcome: Equatable, Sendable {
        case finished(Finished)
        /// The run ended early, with one sentence why: its numbers did not stay finite.
        case failed(String)
    }

    public let outcome: Outcome
    /// What the run was made with; a result counts for the same settings only.
    public let settings: JSON

    public init(_ outcome: Outcome, settings: JSON) {
        self.outcome = outcome
        self.settings = settings
    }

    public var finished: Finished? {
        if case .finished(let finished) = outcome { finished } else { nil }
    }

    public var failure: String? {
        if case .failed(let sentence) = outcome { sentence } else { nil }
    }

    /// The revision of result.json; a newer one is refused.
    private static let schema = 1

    /// The result as it is kept in the run's folder.
    package var json: JSON {
        let revision = JSON.int(Int64(Self.schema))
        return switch outcome {
        case .failed(let sentence): ["schema": revision, "failed": .string(sentence), "settings": settings]
        case .finished(let result):
            [
                "schema": revision, "development": result.development.json, "test": result.test?.json ?? .null,
                "last_loss": .double(result.lastLoss), "mean_loss": .double(result.meanLoss),
                "mean_loss_window": .int(Int64(result.window)), "seconds": .double(result.seconds),
                "trained_parameters": .int(Int64(result.trainedParameters)), "settings": settings,
            ]
        }
    }

    /// Reads what `json` gave; errors name `place`.
    package init(_ json: JSON, in place: String) throws {
        try json.requireSchema(Self.schema, in: place)
        settings = .object(try json.requireObject("settings", in: place))
        if let sentence = try json.optionalString("failed", in: place) {
            outcome = .failed(sentence)
            return
        }
        let hasTest = try json.optionalObject("test", in: place) != nil
        outcome = .finished(
            Finished(
                development: try SweepFigures(json, key: "development", in: place),
                test: hasTest ? try SweepFigures(json, key: "test", in: place) : nil,
                lastLoss: try json.requireDouble("last_loss", in: place),
                meanLoss: try json.requireDouble("mean_loss", in: place),
                window: try json.requireInt("mean_loss_window", in: place),
                seconds: try json.requireDouble("seconds", in: place),
                trainedParameters: try json.requireInt("trained_parameters", in: place)))
    }
}
