import ArgumentParser
import Datasets
import FewShot
import Files
import SeamHost
import Support
import Trainer

struct ClassifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "classify",
        abstract: "Classify texts with a trained adapter, or measure it on labelled ones.",
        discussion: """
            The prompt and the label words are those that the adapter was trained with. An adapter of seam train --task \
            classification needs neither: its scores are logarithms of probabilities.

            Example: seam classify --model model --adapter run/adapters/shots-16/seed-0 "A film to remember."
            """)

    @OptionGroup(title: "Model") var model: ModelOptions
    @OptionGroup(title: "Server") var remote: RemoteOptions
    @OptionGroup(title: "Adapters") var adapters: SavedAdapterOptions

    @Argument(help: "Texts. None, and no --data: one a line from standard input.")
    var texts: [String] = []

    @Option(help: "Labelled texts to measure accuracy and macro-F1 on: .jsonl, .csv or .tsv.")
    var data: String?

    @OptionGroup(title: "Data") var labelled: LabelledOptions

    @Option(help: "Folder that keeps the model's answers.")
    var cache: String?

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var common: CommonOptions

    func run() throws {
        guard !adapters.paths.isEmpty else { throw SeamError(.invalidArgument, "--adapter is needed, found none") }
        if try hasTrainedClasses() { return try classifyByHead() }
        let task = try Classifier.task(ofAdaptersAt: adapters.paths)
        let labels = task.verbalizer.labels
        let measured = try data.map { try labelled.read($0, labels: labels) }
        try measured?.check(fits: task.template)
        let given = try givenTexts()
        let model = try model.openAnswering(try common.makeRuntime(), remote)
        let loaded = try adapters.paths.map { try AdapterFolder.load($0, backbone: model.session.backbone) }
        let extractor = try FeatureExtractor(task: task, sources: try model.sources(for: task), cacheFolder: cache)
        let classifier = Classifier(extractor: extractor)
        for adapter in loaded { try classifier.attach(adapter) }
        let scores = try stoppable(cache: cache) { progress in
            try extractor.locating(measured.map { [$0] } ?? []) {
                try classifier.scores(measured?.inputs ?? given.map { InputText($0) }) { done, total in
                    if measured != nil, done > 0 {
                        progress.show("asking the model: \(done)/\(total)", isLast: done == total)
                    }
                    return !Interruption.isRequested
                }
            }
        }
        extractor.reportShortened()
        if let measured {
            try show(measured, scores, classes: task.classes)
        } else {
            try show(given, scores, labels)
        }
    }

    /// Whether an adapter was trained to classify by a head, not by prompts.
    private func hasTrainedClasses() throws -> Bool {
        try adapters.paths.flatMap { try AdapterFolder.folders(in: $0) }.contains {
            try Session.classLabels(in: try AdapterFolder.readConfig($0).task) != nil
        }
    }

    private func classifyByHead() throws {
        guard !remote.isGiven, cache == nil else {
            throw SeamError(.invalidArgument, "--cache and a server are for an adapter that is asked by prompts")
        }
        let (session, tokenizer) = try model.openSession(try common.makeRuntime(), adapters)
        let labels = try session.requireClassLabels()
        var options = ClassOptions()
        (options.columns, options.truncate) = (labelled, false)
        let given = try givenTexts()
        Interruption.watch()
        if let data {
            let texts = try labelled.read(data, labels: labels)
            let results = try ClassResults(session, tokenizer, texts, options: options, batchSize: 32)
            return try show(texts, results.scores, classes: labels.count)
        }
        let sources = try GivenTexts(texts: given, isStandardInput: texts.isEmpty).tokens(tokenizer, session)
        let data = TokenPairs(sources: sources, classes: sources.map { _ in 0 })
        try show(
            given, try classLogProbabilities(session, data, batchSize: 32) { _ in !Interruption.isRequested }, labels)
    }

    /// The texts to classify; none with --data.
    private func givenTexts() throws -> [String] {
        guard data != nil else { return try readTexts() }
        if let stray = texts.first {
            throw SeamError(
                .invalidArgument, "with --data there is no text to classify, found \(stray.debugDescription)")
        }
        return []
    }

    private func readTexts() throws -> [String] {
        var inputs = texts
        if inputs.isEmpty { inputs = try StandardInput.lines() }
        guard !inputs.isEmpty else { throw SeamError(.invalidArgument, "there is no text to classify") }
        if let empty = inputs.firstIndex(where: { $0.unicodeScalars.allSatisfy(\.properties.isWhitespace) }) {
            let place = GivenTexts(texts: inputs, isStandardInput: texts.isEmpty).place(empty)
            throw SeamError(.invalidArgument, "\(place) must be a text to classify, found an empty one")
        }
        return inputs
    }

    /// The label of each text, or with --json all scores.
    private func show(_ inputs: [String], _ scores: [Float], _ labels: [String]) throws {
        for (row, best) in try predictedClasses(scores, classes: labels.count).enumerated() {
            guard json else {
                print(labels[best])
                continue
            }
            let values = zip(labels, scores[row * labels.count..<(row + 1) * labels.count])
            let line: JSON = [
                "text": .string(inputs[row]), "label": .string(labels[best]),
                "scores": .object(values.map { (key: $0, value: .double(Double($1))) }),
            ]
            print(try line.serialized())
        }
    }

    private func show(_ data: LabelledTexts, _ scores: [Float], classes: Int) throws {
        let metrics = try ClassificationMetrics(
            predictions: try predictedClasses(scores, classes: classes), labels: data.labels, classes: classes)
        let results: JSON = [
            "texts": .int(Int64(data.count)), "accuracy": .double(100 * metrics.accuracy),
            "macro_f1": .double(100 * metrics.macroF1),
        ]
        if json {
            print(try results.serialized(indent: 2))
        } else {
            print(
                formatTable([
                    ["texts", "\(data.count)"], ["accuracy", fixed(100 * metrics.accuracy, 2)],
                    ["macro_f1", fixed(100 * metrics.macroF1, 2)],
                ]))
        }
    }
}
