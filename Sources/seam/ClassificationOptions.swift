import ArgumentParser
import Datasets
import FewShot
import Files
import Glibc
import SeamHost
import Support
import Tokenizers

extension FewShotMethod: ExpressibleByArgument {}
extension MultiToken: ExpressibleByArgument {}
extension LabelScore: ExpressibleByArgument {}

/// A model behind an OpenAI-compatible server, in place of a folder.
struct RemoteOptions: ParsableArguments {
    @Option(
        help: "URL of a server with the OpenAI-compatible API, up to and with /v1: asks it instead of a local model.")
    var baseUrl: String?

    @Option(help: "Name of the model on the server.")
    var apiModel: String?

    @Option(help: "Key for the server. It is seen by other users of the machine: better set SEAM_API_KEY.")
    var apiKey: String?

    @Option(help: "Stop before the server would be sent more requests than this; 0 for no limit.")
    var maxQueries = 0

    /// Whether any of them is given.
    var isGiven: Bool { baseUrl != nil || apiModel != nil || apiKey != nil || maxQueries != 0 }

    /// The options of the backbone that asks a server, but for the key.
    func settings() throws -> [String] {
        guard maxQueries >= 0 else {
            throw SeamError(.invalidArgument, "--max-queries must be 0 or more, found \(maxQueries)")
        }
        let limit = maxQueries > 0 ? "max_queries=\(maxQueries)" : nil
        return [baseUrl.map { "base_url=\($0)" }, apiModel.map { "model=\($0)" }, limit].compactMap { $0 }
    }

    /// Hands the key to the backbone by the environment: an option would be written into what is saved.
    func exportKey() {
        if let apiKey { setenv("SEAM_API_KEY", apiKey, 1) }
    }
}

/// The question that a classification asks.
struct TaskOptions: ParsableArguments {
    @Option(
        help:
            "Prompt with {text}, perhaps {text_b}, and [MASK] where the answer stands (else at the end). May be repeated for an adapter that reads several prompts about each text."
    )
    var template: [String] = []

    @Option(
        help:
            "JSON file of labels and their words, {\"negative\": [\"bad\"], ...}. Default: each label is its own word.")
    var verbalizer: String?

    @Option(help: "Score of a word of several tokens: that of its first, or their mean.")
    var multiToken = MultiToken.first

    @Option(
        help:
            "Score of a word: the model's logit (default), or its probability among the label words (for sentence encoders)."
    )
    var scores: LabelScore?

    /// - Parameter training: its labels are the words where there is no verbaliser.
    func task(training: LabelledTexts, info: BackboneInfo) throws -> ClassificationTask {
        try ClassificationTask(
            templates: template.isEmpty ? [.default(for: Self.kind(info))] : try template.map { try Template($0) },
            verbalizer: try verbalizer.map { try Verbalizer(path: $0) }
                ?? Verbalizer(labels: training.labelNames, name: training.name),
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

    func read(_ path: String, labels: [String]?, routeColumn: RouteColumn = .none) throws -> LabelledTexts {
        var columns = LabelledTexts.Columns()
        columns.text = textColumn
        columns.textB = textBColumn
        columns.label = labelColumn
        columns.route = routeColumn
        return try LabelledTexts(path, columns: columns, labelNames: labels)
    }
}

/// An open model that answers the prompts of classifications.
struct AnsweringModel {
    let session: Session
    /// What to call it in a report.
    let name: String
    /// Nil for a model that reads text by itself.
    let tokenizer: Tokenizer?

    func sources(for task: ClassificationTask) throws -> [any AnswerSource] {
        try answerSources(session: session, tokenizer: tokenizer, task: task)
    }
}

/// Runs work that asks a model. Ctrl-C, or a signal like it, which the work has to have noticed, ends the program as it
/// ends `seam train`.
/// - Parameter cache: where the answers are kept.
func stoppable<Result>(cache: String?, _ work: (inout ProgressLine) throws -> Result) throws -> Result {
    var progress = ProgressLine()
    Interruption.watch()
    do {
        return try work(&progress)
    } catch {
        progress.interrupt()
        guard let error = error as? SeamError, error.code == .cancelled, Interruption.isRequested else { throw error }
        let kept = cache.map { "; the model's answers so far are in \($0), where the same command goes on from them" }
        printError("stopped\(kept ?? "")")
        throw Interruption.exitCode
    }
}

extension FeatureExtractor {
    /// Says on standard error what was not read as it was given.
    func reportShortened() {
        let count = sources.reduce(0) { $0 + (($1 as? LocalAnswers)?.shortenedCount ?? 0) }
        guard count > 0 else { return }
        let what = count == 1 ? "1 text was" : "\(count) texts were"
        printError("\(what) shortened, as the prompt would be longer than the model reads")
    }
}
