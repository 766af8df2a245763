import Datasets
import SeamHost
import Support

/// Answers of a backbone that reads text by itself, such as a model behind a server.
public final class RemoteAnswers: AnswerSource {
    public var identity: String? { backbone.info.identity }
    public var width: Int { backbone.info.dModel }
    public var hasScores: Bool { true }
    public private(set) var queryCount = 0

    private let backbone: Backbone
    private let task: ClassificationTask
    private let template: Template
    /// Prompts of a query: what is lost when the process is killed in it.
    private static let chunk = 64

    /// - Parameter task: of one prompt.
    /// - Throws: a sentence for a template whose answer does not stand at its end.
    public init(backbone: Backbone, task: ClassificationTask) throws {
        (self.backbone, self.task) = (backbone, task)
        template = try task.template.answeringAtEnd()
    }

    public func answer(
        _ inputs: [InputText], shouldContinue: () -> Bool, deliver: ([Int], AnswerFeatures) throws -> Void
    ) throws {
        let words = task.verbalizer.allWords.map { template.wordPrefix + $0 }
        for start in stride(from: 0, to: inputs.count, by: Self.chunk) {
            let rows = start..<min(start + Self.chunk, inputs.count)
            let prompts = try rows.map { try template.render(inputs[$0]).before }
            let result = try backbone.query(prompts: prompts, answers: words) { _, _ in shouldContinue() }
            queryCount += result.requests
            let answered = Array(rows.prefix(result.answered))
            try deliver(answered, AnswerFeatures(scores: result.scores, hidden: result.hidden))
            if let failure = result.failure { throw failure }
        }
    }
}
