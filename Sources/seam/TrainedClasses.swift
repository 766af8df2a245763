import ArgumentParser
import Datasets
import FewShot
import Files
import SeamHost
import Support
import Tokenizers
import Trainer

/// Labelled texts for an adapter that was trained to classify, not asked by prompts.
struct ClassOptions: ParsableArguments {
    @OptionGroup var columns: LabelledOptions

    @Flag(help: "In a classification, leave out the end of texts that are longer than the model reads.")
    var truncate = false

    /// The first of these options that was given; nil: none. A column that was given its usual name counts as not given.
    var firstGiven: String? {
        let given: [(name: String, isGiven: Bool)] = [
            ("--truncate", truncate), ("--label-column", columns.labelColumn != "label"),
            ("--text-column", columns.textColumn != "text"), ("--text-b-column", columns.textBColumn != nil),
        ]
        return given.first(where: \.isGiven)?.name
    }

    /// The names in a list joined by commas; nil where there is no list.
    /// - Throws: `.invalidArgument` for an empty name, and for one that is there twice.
    static func names(_ list: String?) throws -> [String]? {
        guard let list else { return nil }
        let names = list.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        guard names.allSatisfy({ !$0.isEmpty }), names.areDistinct else {
            throw SeamError(
                .invalidArgument, "--labels must be names, each another, joined by commas, found \"\(list)\"")
        }
        return names
    }

    /// The texts as token ids, none longer than what the session's model reads beside the prefixes of the text's route.
    func tokens(of texts: LabelledTexts, _ tokenizer: Tokenizer, _ session: Session) throws -> TokenPairs {
        let data = try ClassDataset(
            texts, tokenizer: tokenizer,
            maxLength: { session.textLimits(of: texts.routes.isEmpty ? nil : texts.routes[$0]).source },
            truncates: truncate)
        return TokenPairs(
            sources: data.sources, classes: data.labels.map { Int32($0) }, routes: texts.routes,
            origin: TokenPairs.Origin(name: texts.name, lines: texts.lines))
    }
}

/// What a session with a trained classification says of labelled texts.
struct ClassResults {
    let texts: LabelledTexts
    /// Natural logarithms of the probabilities, [texts x classes].
    let scores: [Float]
    let predictions: [Int]
    let metrics: ClassificationMetrics
    /// Mean negative log-probability of a text's class, in nats.
    let loss: Double

    init(
        _ session: Session, _ tokenizer: Tokenizer, _ texts: LabelledTexts, options: ClassOptions, batchSize: Int
    ) throws {
        self.texts = texts
        let data = try options.tokens(of: texts, tokenizer, session)
        var progress = ProgressLine()
        scores = try classLogProbabilities(session, data, batchSize: batchSize) { done in
            progress.show("classified \(done)/\(data.count)", isLast: done == data.count)
            return !Interruption.isRequested
        }
        let (classes, scores) = (texts.labelNames.count, self.scores)
        predictions = try predictedClasses(scores, classes: classes)
        metrics = try ClassificationMetrics(predictions: predictions, labels: texts.labels, classes: classes)
        let sum = texts.labels.enumerated().reduce(0.0) { $0 - Double(scores[$1.offset * classes + $1.element]) }
        loss = sum / Double(texts.count)
    }

    /// Writes every text with its label, the predicted one and all probabilities, one JSON object a line.
    func write(to path: String) throws {
        let labels = texts.labelNames
        let lines = try texts.inputs.indices.map { row in
            let own = scores[row * labels.count..<(row + 1) * labels.count]
            let record: JSON = [
                "text": .string(texts.inputs[row].text), "label": .string(labels[texts.labels[row]]),
                "prediction": .string(labels[predictions[row]]),
                "log_probabilities": .object(zip(labels, own).map { (key: $0, value: .double(Double($1))) }),
            ]
            return try JSON.object(routeMember(texts.routes, row) + record.objectValue!).serialized() + "\n"
        }
        try FileSystem.atomicWriteFile(
            path, text: lines.joined(), shouldContinue: { !Interruption.isRequested })
    }
}

/// What a line of predictions says of the route of a row; nothing where no row names one.
func routeMember(_ routes: [String?], _ row: Int) -> [(key: String, value: JSON)] {
    routes.isEmpty ? [] : [(key: "route", value: routes[row].map { .string($0) } ?? .null)]
}

extension Session {
    /// The names of the classes of a trained classification.
    func requireClassLabels() throws -> [String] {
        guard let labels = try classLabels else {
            throw SeamError(
                .notFound,
                "the adapters on decoder.output name no classes: they were trained by prompts (see seam classify)")
        }
        return labels
    }
}
