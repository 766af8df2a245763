import ArgumentParser
import Files
import FewShot
import Glibc
import Session
import Support
import Text

extension FewShotMethod: ExpressibleByArgument {}
extension MultiToken: ExpressibleByArgument {}
extension ScoreKind: ExpressibleByArgument {}

/// A model behind an OpenAI-compatible server, in place of a folder.
struct RemoteOptions: ParsableArguments {
    @Option(help: "URL of a server with the OpenAI-compatible API, up to and with /v1: asks it instead of a local model.")
    var baseUrl: String?

    @Option(help: "Name of the model on the server.")
    var apiModel: String?

    @Option(help: "Key for the server. It is seen by other users of the machine: better set SEAM_API_KEY.")
    var apiKey: String?

    @Option(help: "Stop before the server would be sent more requests than this; 0 for no limit.")
    var maxQueries = 0

    /// The options of the backbone "remote"; the key goes to its environment variable, so that it is never an option.
    var settings: [String] {
        if let apiKey { setenv("SEAM_API_KEY", apiKey, 1) }
        return [baseUrl.map { "base_url=\($0)" }, apiModel.map { "model=\($0)" }, maxQueries > 0 ? "max_queries=\(maxQueries)" : nil]
            .compactMap { $0 }
    }
}

/// The question that a classification asks.
struct TaskOptions: ParsableArguments {
    @Option(help: "Prompt with {text}, perhaps {text_b}, and [MASK] where the answer stands (else at the end).")
    var template: String?

    @Option(help: "JSON file of labels and their words, {\"negative\": [\"bad\"], ...}. Default: each label is its own word.")
    var verbalizer: String?

    @Option(help: "Score of a word of several tokens: that of its first, or their mean.")
    var multiToken = MultiToken.first

    @Option(help: "Score of a word: the model's logit (default), or its probability among the label words (for sentence encoders).")
    var scores: ScoreKind?

    /// - Parameter labels: those of the data, where there is no verbaliser.
    func task(labels: [String], info: BackboneInfo) throws -> ClassificationTask {
        ClassificationTask(
            template: try template.map { try Template($0) } ?? .default(for: Self.kind(info)),
            verbalizer: try verbalizer.map { try Verbalizer(path: $0) } ?? Verbalizer(labels: labels),
            multiToken: multiToken,
            scoreKind: scores ?? (Self.kind(info) == .sentenceEncoder ? .probability : .logit))
    }

    private static func kind(_ info: BackboneInfo) -> PromptedModel {
        switch info.architecture {
        case .encoderOnly: info.hasHead ? .masked : .sentenceEncoder
        case .encoderDecoder, .decoderOnly, .text: .causal
        }
    }
}

/// Texts with labels and how their columns are named.
struct LabelledOptions: ParsableArguments {
    @Option(help: "Column of the text.")
    var textColumn = "text"

    @Option(help: "Column of a second text, for templates with {text_b}.")
    var textBColumn: String?

    @Option(help: "Column of the label.")
    var labelColumn = "label"

    func read(_ path: String, labels: [String]?) throws -> LabelledTexts {
        var columns = LabelledTexts.Columns()
        columns.text = textColumn
        columns.textB = textBColumn
        columns.label = labelColumn
        return try LabelledTexts(path, columns: columns, labelNames: labels)
    }
}

/// An open model that answers the prompts of classifications.
struct AnsweringModel {
    let session: Session
    /// Nil for a model that reads text by itself.
    let tokenizer: Tokenizer?

    func source(for task: ClassificationTask) throws -> any AnswerSource {
        try answerSource(session: session, tokenizer: tokenizer, task: task) { !Interruption.isRequested }
    }
}
