import ArgumentParser
import FewShot
import Files
import Session
import Support

struct ClassifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "classify",
        abstract: "Classify texts with a trained adapter, or measure it on labelled ones.",
        discussion: """
            The prompt and the label words are those that the adapter was trained with.

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
        guard let first = adapters.paths.first else { throw SeamError(.invalidArgument, "--adapter is needed, found none") }
        let task = try Classifier.task(ofAdapterAt: first)
        let model = try model.openAnswering(try common.makeRuntime(), remote)
        let classifier = Classifier(
            extractor: try FeatureExtractor(task: task, source: try model.source(for: task), cacheFolder: cache))
        for path in adapters.paths {
            try classifier.attach(try AdapterFolder.load(path, backbone: model.session.backbone))
        }
        Interruption.watch()
        if let data {
            try measure(classifier, try labelled.read(data, labels: task.verbalizer.labels))
        } else {
            try classify(classifier)
        }
    }

    private func classify(_ classifier: Classifier) throws {
        var inputs = texts
        if inputs.isEmpty { while let line = readLine() { inputs.append(line) } }
        guard !inputs.isEmpty else { throw SeamError(.invalidArgument, "there is no text to classify") }
        let labels = classifier.task.verbalizer.labels
        let scores = try classifier.scores(inputs.map { InputText($0) }) { _, _ in !Interruption.isRequested }
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

    private func measure(_ classifier: Classifier, _ data: LabelledTexts) throws {
        var progress = ProgressLine()
        let scores = try classifier.scores(data.inputs) { done, total in
            progress.show("asking the model: \(done)/\(total)", isLast: done == total)
            return !Interruption.isRequested
        }
        let classes = classifier.task.classes
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
