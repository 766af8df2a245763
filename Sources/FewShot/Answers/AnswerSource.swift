import Datasets
import SeamHost
import Support
import Tokenizers

/// What a model says of a number of texts at the place of the answer.
public struct AnswerFeatures: Sendable, Equatable {
    /// Row-major [count x words]: the scores of the label words, as logits: logarithms of their probabilities up to a
    /// constant of the row. Empty for a model without a head.
    public var scores: [Float]
    /// Row-major [count x width]: the hidden states.
    public var hidden: [Float]

    public init(scores: [Float], hidden: [Float]) { (self.scores, self.hidden) = (scores, hidden) }
}

/// A model that answers one prompt of a task: run here, or behind a server.
///
/// One thread, as the session or backbone that it holds.
public protocol AnswerSource: AnyObject {
    /// Tells apart models whose answers may differ, in a cache of answers; nil where nothing does: then none is used.
    var identity: String? { get }
    /// The width of the hidden states.
    var width: Int { get }
    /// Whether it scores words; otherwise it has hidden states only.
    var hasScores: Bool { get }
    /// How many prompts were asked; requests that a server was sent count, repeated ones too.
    var queryCount: Int { get }

    /// Asks about every text once, in an order of its own.
    /// - Parameters:
    ///   - shouldContinue: asked before each part of the work, and while a server is waited for; false stops with
    ///     `.cancelled`.
    ///   - deliver: takes answers as they come, with the indices of their texts. What was delivered before a failure is
    ///     good.
    func answer(
        _ inputs: [InputText], shouldContinue: () -> Bool, deliver: ([Int], AnswerFeatures) throws -> Void) throws

    /// Throws what is wrong with a text that the model cannot be asked about, without asking it.
    func check(_ input: InputText) throws
}

extension AnswerSource {
    public func check(_ input: InputText) throws {}
}

extension FeatureExtractor {
    /// Does what asks about texts of files; an error that one of them causes names its file and line.
    public func locating<Result>(_ data: [LabelledTexts], _ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let error as SeamError where error.code != .cancelled {
            for texts in data {
                for (input, line) in zip(texts.inputs, texts.lines) {
                    do {
                        for source in sources { try source.check(input) }
                    } catch let cause as SeamError {
                        throw SeamError(
                            cause.code, "\(texts.name), line \(line): \(cause.message)", origin: cause.origin)
                    }
                }
            }
            throw error
        }
    }
}

/// The answers of a session's model to each prompt of a task: of a model that reads text without a tokenizer, of others with
/// theirs.
/// - Throws: `.invalidArgument` for a model that reads tokens and no tokenizer, and as `LocalAnswers` and `RemoteAnswers`.
public func answerSources(
    session: Session, tokenizer: Tokenizer?, task: ClassificationTask
) throws -> [any AnswerSource] {
    if session.backbone.info.architecture == .text {
        return try task.parts.map { try RemoteAnswers(backbone: session.backbone, task: $0) }
    }
    guard let tokenizer else {
        throw SeamError(
            .invalidArgument,
            "\(session.backbone.name) reads tokens: a classification needs its tokenizer")
    }
    return try task.parts.map { try LocalAnswers(session: session, tokenizer: tokenizer, task: $0) }
}
