import Datasets
import Support

/// Class scores and hidden states of a number of texts, row by row.
public struct ClassFeatures: Sendable {
    /// [count x prompts x classes], of the task's kind.
    public let scores: [Float]
    /// [count x prompts x classes], whatever the task's kind: what zero-shot answers are calibrated in.
    public let probabilities: [Float]
    /// [count x prompts x width]
    public let hidden: [Float]
    public let classes: Int
    public let width: Int
    /// The prompts about each text.
    public var prompts = 1
    public var count: Int { scores.count / (classes * prompts) }

    /// Of each text the mean over its prompts, as the features of one.
    public var averaged: ClassFeatures {
        guard prompts > 1 else { return self }
        return ClassFeatures(
            scores: mean(scores, classes), probabilities: mean(probabilities, classes), hidden: mean(hidden, width),
            classes: classes, width: width)
    }

    private func mean(_ values: [Float], _ columns: Int) -> [Float] {
        var result = [Float](repeating: 0, count: values.count / prompts)
        for (place, value) in values.enumerated() {
            let text = place / (prompts * columns)
            result[text * columns + place % columns] += value / Float(prompts)
        }
        return result
    }
}

/// Asks a model about texts, each distinct one once with each prompt of a task, and keeps the answers.
///
/// One thread, as its sources.
public final class FeatureExtractor {
    public let task: ClassificationTask
    /// Seconds spent in asking the model.
    public var querySeconds: Double { parts.reduce(0) { $0 + $1.querySeconds } }
    /// How many prompts were asked; requests that a server was sent count, repeated ones too.
    public var queryCount: Int { parts.reduce(0) { $0 + $1.source.queryCount } }
    /// What answers each prompt of the task.
    public var sources: [any AnswerSource] { parts.map(\.source) }

    /// Those of each prompt of the task.
    private let parts: [PromptAnswers]

    /// - Parameters:
    ///   - sources: one for each prompt of the task (`answerSources`), in their order.
    ///   - cacheFolder: where answers outlive the process; nil keeps them in memory.
    /// - Throws: as `FeatureCache`; `.invalidArgument` for another number of sources than prompts.
    public convenience init(task: ClassificationTask, sources: [any AnswerSource], cacheFolder: String? = nil) throws {
        try self.init(task: task, sources: sources, cacheFolder: cacheFolder, flushInterval: 10)
    }

    /// Makes an extractor as above, with another time between writes to the cache.
    package init(task: ClassificationTask, sources: [any AnswerSource], cacheFolder: String?, flushInterval: Double)
        throws
    {
        guard sources.count == task.templates.count else {
            throw SeamError(
                .invalidArgument,
                "a task of \(task.templates.count) prompts needs as many sources of answers, found \(sources.count)")
        }
        self.task = task
        parts = try zip(task.parts, sources).map { task, source in
            try PromptAnswers(task: task, source: source, cacheFolder: cacheFolder, flushInterval: flushInterval)
        }
    }

    /// The features of texts, in their order.
    /// - Parameter progress: called with the number of distinct texts that are answered and of all that the model is
    ///   asked about, each as often as there are prompts, before each part of the work and after the last; false stops
    ///   with `.cancelled`, and what was answered is kept. Not called where nothing is asked.
    public func features(
        of inputs: [InputText], progress: (Int, Int) -> Bool = { _, _ in true }
    ) throws -> ClassFeatures {
        let missing = parts.map { $0.missing(of: inputs) }
        let total = missing.reduce(0) { $0 + $1.count }
        var done = 0
        let answers = try zip(parts, missing).map { part, missing in
            defer { done += missing.count }
            return try part.answers(of: inputs, asking: missing) { own, _ in progress(done + own, total) }
        }
        func scores(_ kind: LabelScore) throws -> [Float] {
            interleaved(
                try answers.map { try task.classScores(words: $0.scores, count: inputs.count, kind: kind) },
                columns: task.classes)
        }
        let probabilities = try scores(.probability)
        let width = parts[0].source.width
        return ClassFeatures(
            scores: task.scoreKind == .probability ? probabilities : try scores(task.scoreKind),
            probabilities: probabilities, hidden: interleaved(answers.map(\.hidden), columns: width),
            classes: task.classes, width: width, prompts: parts.count)
    }

    /// Rows of each prompt to rows of each text, one prompt's behind the other's.
    private func interleaved(_ parts: [[Float]], columns: Int) -> [Float] {
        guard parts.count > 1 else { return parts[0] }
        return stride(from: 0, to: parts[0].count, by: columns).flatMap { start in
            parts.flatMap { $0[start..<start + columns] }
        }
    }

    /// The features of an empty text, whose scores calibration divides by.
    /// - Parameter progress: as that of `features`.
    public func emptyFeatures(progress: (Int, Int) -> Bool = { _, _ in true }) throws -> ClassFeatures {
        try features(of: [InputText("", task.template.needsTextB ? "" : nil)], progress: progress)
    }
}
