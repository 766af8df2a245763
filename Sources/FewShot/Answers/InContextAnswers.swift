import Datasets
import SeamHost
import Support
import Tokenizers

/// Class scores by demonstrations in the prompt (Brown et al. 2020), for a decoder-only model that runs here.
public final class InContextAnswers {
    /// How many prompts were asked.
    public var queryCount: Int { answers.queryCount }
    /// Seconds spent in asking the model.
    public private(set) var querySeconds = 0.0
    /// How many prompts had no room for all demonstrations.
    public private(set) var crowdedCount = 0

    private let answers: LocalAnswers
    private let task: ClassificationTask

    /// - Throws: `.unsupported` for a model that does not continue a text or a task of several prompts, and as `LocalAnswers`.
    public init(session: Session, tokenizer: Tokenizer, task: ClassificationTask) throws {
        let info = session.backbone.info
        guard info.architecture == .decoderOnly, info.hasHead else {
            throw SeamError(.unsupported, "in-context examples need a model that continues a text (decoder-only)")
        }
        guard task.templates.count == 1 else {
            throw SeamError(
                .unsupported, "in-context examples need one prompt about each text, found \(task.templates.count)")
        }
        answers = try LocalAnswers(session: session, tokenizer: tokenizer, task: task)
        self.task = task
    }

    /// The scores of every class for each text, row-major [texts x classes], with all demonstrations that fit before
    /// it; a text that is too long by itself is shortened.
    /// - Parameters:
    ///   - demonstrations: texts and their classes; each is answered by the first word of its class.
    ///   - progress: called before each part of the work and after the last with the number of texts done and of all;
    ///     false stops with `.cancelled`.
    public func scores(
        _ inputs: [InputText], demonstrations: [(input: InputText, label: Int)], progress: (Int, Int) -> Bool
    ) throws -> [Float] {
        let solved = demonstrations.map { (input: $0.input, word: task.verbalizer.words[$0.label][0]) }
        let start = monotonicSeconds()
        defer { querySeconds += monotonicSeconds() - start }
        let prompts = try inputs.map { input in
            let built = try InContextPrompt(
                demonstrations: solved, query: try answers.fitted(input), template: task.template,
                limit: answers.encoder.limit, countTokens: answers.encoder.tokenCount)
            if built.kept < solved.count { crowdedCount += 1 }
            return built.prompt
        }
        let words = task.verbalizer.allWords.count
        var scores = [Float](repeating: 0, count: inputs.count * words)
        var done = 0
        func isWanted() -> Bool { progress(done, inputs.count) }
        try answers.answer(prompts: prompts, shouldContinue: isWanted) { rows, features in
            for (place, row) in rows.enumerated() {
                scores.replaceSubrange(
                    row * words..<(row + 1) * words, with: features.scores[place * words..<(place + 1) * words])
            }
            done += rows.count
        }
        guard isWanted() else { throw SeamError(.cancelled, "asking the model was cancelled") }
        return try task.classScores(words: scores, count: inputs.count)
    }
}
