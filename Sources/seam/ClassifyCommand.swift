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
            classification needs neither: its scores are logarithms of probabilities. Texts may take different adapters: \
            one that is given as NAME=FOLDER is for those whose route is NAME.

            Example: seam classify --model model --adapter run/adapters/shots-16/seed-0 "A film to remember."
            """)

    @OptionGroup(title: "Model") var model: ModelOptions
    @OptionGroup(title: "Server") var remote: RemoteOptions
    @OptionGroup(title: "Adapters") var adapters: RoutedAdapterOptions

    @Argument(help: "Texts. None, and no --data: one a line from standard input.")
    var texts: [String] = []

    @Option(help: "Labelled texts to measure accuracy and macro-F1 on: .jsonl, .csv or .tsv.")
    var data: String?

    @OptionGroup(title: "Data") var labelled: LabelledOptions
    @OptionGroup(title: "Routes") var routes: RouteColumnOption

    @Option(help: "The NAME of the adapters that all texts take which are no --data.")
    var route: String?

    @Option(help: "Folder that keeps the model's answers.")
    var cache: String?

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var common: CommonOptions

    func run() throws {
        guard !adapters.parts.isEmpty else { throw SeamError(.invalidArgument, "--adapter is needed, found none") }
        guard data == nil || route == nil else {
            throw SeamError(.invalidArgument, "--route is for texts that are no --data, which names routes itself")
        }
        if try hasTrainedClasses() { return try classifyByHead() }
        try classifyByPrompts()
    }

    // MARK: By prompts

    /// Adapters on what the model answers run outside of it: those of each route on the answers to their own prompt.
    private func classifyByPrompts() throws {
        let chains = try adapters.folders.map { route, paths in
            PromptedChain(route: route, paths: paths, task: try Classifier.task(ofAdaptersAt: paths))
        }
        let given = try givenTexts()
        var measured: LabelledTexts?
        if let data {
            // Rows of one file are labelled in one way.
            let labels = chains[0].labels
            if let other = chains.first(where: { $0.labels.map { TextKey($0) } != labels.map { TextKey($0) } }) {
                throw SeamError(
                    .incompatible,
                    "the adapters of \(chains[0].title) and of \(other.title) name their classes differently: \(labels.joined(separator: ", ")) and \(other.labels.joined(separator: ", "))"
                )
            }
            measured = try labelled.read(data, labels: labels, routeColumn: routes.column)
        }
        let inputs = measured?.inputs ?? given.map { InputText($0) }
        let routes = measured?.routes ?? [String?](repeating: route, count: given.count)
        let rows = try self.rows(of: chains, count: inputs.count, routes: routes, in: measured)
        adapters.warnOfUntaken(by: routes)
        for (chain, own) in zip(chains, rows) where !own.isEmpty { try measured?.check(fits: chain.task.template) }
        let model = try model.openAnswering(try common.makeRuntime(), remote)
        let taken = zip(chains, rows).filter { !$0.1.isEmpty }
        let classes = taken.first?.0.task.classes ?? 0
        var scores = [Float](repeating: 0, count: inputs.count * classes)
        let extractors = try stoppable(cache: cache) { progress in
            try taken.map { chain, rows in
                let loaded = try chain.paths.map { try AdapterFolder.load($0, backbone: model.session.backbone) }
                let extractor = try FeatureExtractor(
                    task: chain.task, sources: try model.sources(for: chain.task), cacheFolder: cache)
                let classifier = Classifier(extractor: extractor)
                for adapter in loaded { try classifier.attach(adapter) }
                let found = try extractor.locating(measured.map { [$0] } ?? []) {
                    try classifier.scores(rows.map { inputs[$0] }) { done, total in
                        if measured != nil, done > 0 {
                            progress.show("asking the model: \(done)/\(total)", isLast: done == total)
                        }
                        return !Interruption.isRequested
                    }
                }
                for (place, row) in rows.enumerated() {
                    scores.replaceSubrange(
                        row * classes..<(row + 1) * classes, with: found[place * classes..<(place + 1) * classes])
                }
                return extractor
            }
        }
        for extractor in extractors { extractor.reportShortened() }
        if let measured {
            try show(measured, scores, classes: classes)
        } else {
            try show(given, scores, taken[0].0.labels)
        }
    }

    /// The rows that each chain classifies.
    /// - Throws: `.notFound` for a row whose route has no adapter.
    private func rows(
        of chains: [PromptedChain], count: Int, routes: [String?], in data: LabelledTexts?
    ) throws -> [[Int]] {
        var rows = chains.map { _ in [Int]() }
        for row in 0..<count {
            let route = routes.isEmpty ? nil : routes[row]
            guard let place = chains.firstIndex(where: { $0.route == route }) else {
                let line = data.map { "\($0.name), line \($0.lines[row]): " } ?? ""
                throw SeamError(
                    .notFound,
                    "\(line)there is no adapter for \(PromptedChain.title(route)): --adapter gives those of \(chains.map(\.title).joined(separator: ", "))"
                )
            }
            rows[place].append(row)
        }
        return rows
    }

    // MARK: By a head

    /// Whether an adapter was trained to classify by a head, not by prompts.
    private func hasTrainedClasses() throws -> Bool {
        try adapters.parts.flatMap { try AdapterFolder.folders(in: $0.path) }.contains {
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
            let texts = try labelled.read(data, labels: labels, routeColumn: routes.column)
            adapters.warnOfUntaken(by: texts.routes)
            let results = try ClassResults(session, tokenizer, texts, options: options, batchSize: 32)
            return try show(texts, results.scores, classes: labels.count)
        }
        let sources = try RoutedTexts(
            GivenTexts(texts: given, isStandardInput: texts.isEmpty), route: route, in: session)
        let data = TokenPairs(
            sources: try sources.tokens(tokenizer, session), classes: given.map { _ in 0 }, routes: sources.routes)
        let found = try classLogProbabilities(session, data, batchSize: 32) { _ in !Interruption.isRequested }
        adapters.warnOfUntaken(by: sources.routes)
        try show(given, found, labels)
    }

    // MARK: Texts

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

    // MARK: Output

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

/// Adapters that read the model's answers to one prompt, or several, about each text.
private struct PromptedChain {
    /// Nil: the default one.
    let route: String?
    let paths: [String]
    let task: ClassificationTask

    var labels: [String] { task.verbalizer.labels }
    var title: String { Self.title(route) }

    static func title(_ route: String?) -> String { route.map { "route \"\($0)\"" } ?? "the default route" }
}
