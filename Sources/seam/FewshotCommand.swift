import ArgumentParser
import Datasets
import FewShot
import Files
import SeamHost
import Support
import Trainer

struct FewshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fewshot",
        abstract: "Train a classifier from a handful of labelled texts, and compare it with baselines.",
        discussion: """
            Asks a frozen model once about every text, trains an adapter on its answers, and compares it on the \
            test texts with zero-shot answers, calibrated ones, the nearest class mean and logistic regression on the \
            same hidden states, for every number of shots and every seed. Writes into the output folder: results.json, \
            results.md, accuracy.svg, adapters/ (one for each draw, to be used with seam classify) and cache/ (the \
            model's answers, so that a second run asks it nothing). Ctrl-C stops with the answers so far in the cache; \
            the same command goes on from them. A folder with a finished run is refused without --overwrite.

            Example: seam fewshot --model model --train train.jsonl --test test.jsonl --verbalizer words.json \
            --shots 16 --output run
            """)

    @OptionGroup(title: "Model") var model: ModelOptions
    @OptionGroup(title: "Server") var remote: RemoteOptions

    @Option(
        help:
            "Adapter to train on decoder.output; several as a+b. \(DefaultPlugins.chosenHead): for each draw one of \(DefaultPlugins.fewshotCandidates.map(\.name).joined(separator: ", ")), chosen by leaving out each example in turn."
    )
    var adapter = DefaultPlugins.fewshotHead

    @Option(
        name: .customLong("option"),
        help: "Option of the adapter as NAME=VALUE (see seam describe \(DefaultPlugins.fewshotHead)). May be repeated.")
    var settings: [String] = []

    @Option(help: "Labelled texts to draw the shots from: .jsonl, .csv or .tsv.")
    var train: String

    @Option(help: "Labelled texts to measure on.")
    var test: String

    @Option(help: "Measure on the first so many test texts only; 0 for all.")
    var testLimit = 0

    @OptionGroup(title: "Data") var labelled: LabelledOptions
    @OptionGroup(title: "Task") var task: TaskOptions

    @Option(parsing: .upToNextOption, help: "Examples of each class: one number or several.")
    var shots: [Int] = [16]

    @Option(help: "Number of seeds: draws of the examples and initial values.")
    var seeds = 5

    @Option(
        name: .customLong("method"),
        help: "Method to compare; may be repeated. in-context asks the model again for every draw.")
    var methods: [FewShotMethod] = []

    @Option(help: "Passes over the examples.")
    var epochs = 30

    @Option(help: "Learning rate of Adam.")
    var learningRate = 0.01

    @Flag(help: "Accept a text that stands twice in a draw.")
    var allowDuplicates = false

    @Option(help: "Folder to write into.")
    var output: String

    @OptionGroup var replacing: OverwriteOption

    @Option(help: "Folder that keeps the model's answers. Default: cache/ in the output folder.")
    var cache: String?

    @OptionGroup var common: CommonOptions

    func run() throws {
        let options = try options()
        let folder = FewshotFolder(path: output)
        try folder.check(
            overwrites: replacing.overwrite,
            inputs: [self.model.model, train, self.test, self.task.verbalizer].compactMap { $0 })
        let runtime = try common.makeRuntime()
        let model = try model.openAnswering(runtime, remote)
        let words = try task.verbalizer.map { try Verbalizer(path: $0).labels }
        let training = try labelled.read(train, labels: words)
        let test = try limited(labelled.read(test, labels: words ?? training.labelNames))
        let draws = try FewShotDraws(
            from: training, shots: Array(Set(shots)).sorted(), seeds: (0..<UInt64(seeds)).map { $0 },
            allowingDuplicates: allowDuplicates)
        let task = try task.task(training: training, info: model.session.backbone.info)
        for data in [training, test] { try data.check(fits: task.template) }
        let candidates = try wantedHeads(runtime).map { name, isDoubted, heads in
            FewShotExperiment.Candidate(name: name, isDoubted: isDoubted) { seed in
                // The first one reads all prompts, and what leaves it is as the answer to one.
                try heads.enumerated().map { index, head in
                    try Adapter(
                        backbone: model.session.backbone, id: head.id, seam: "decoder.output", options: head.options,
                        classes: task.classes, prompts: index == 0 ? task.templates.count : 1,
                        scoreKind: task.seamScores(of: model.session.backbone.info), seed: seed)
                }
            }
        }
        // What can be refused is refused before the model is asked, and before anything is written.
        for candidate in candidates { _ = try candidate.make(0) }
        let demonstrations = try demonstrations(model, task)
        let sources = try model.sources(for: task)
        let cache = cache ?? folder.cachePath
        let extractor = try FeatureExtractor(task: task, sources: sources, cacheFolder: cache)
        let experiment = try FewShotExperiment(
            extractor: extractor, draws: draws, test: test, options: options, demonstrations: demonstrations,
            adapterName: adapter, candidates: candidates)
        let lock = try folder.claim(overwrites: replacing.overwrite)
        defer { lock.release() }
        var isReported = false
        defer { if !isReported { try? folder.discardHeads() } }
        let report = try stoppable(cache: cache) { progress in
            try extractor.locating([training, test]) {
                try experiment.run(
                    title: "\(FileSystem.baseName(test.name)), \(test.count) texts, \(model.name)",
                    observe: { event in
                        show(event, &progress)
                        return !Interruption.isRequested
                    }, keep: { draw, adapters in try save(adapters, draw, training, task, model, in: folder) })
            }
        }
        try write(report, extractor, demonstrations, to: folder)
        isReported = true
    }

    private func limited(_ data: LabelledTexts) throws -> LabelledTexts {
        guard testLimit >= 0 else {
            throw SeamError(.invalidArgument, "--test-limit must be 0 or more, found \(testLimit)")
        }
        return testLimit > 0 ? data.prefix(testLimit) : data
    }

    private func options() throws -> FewShotExperiment.Options {
        guard seeds > 0 else { throw SeamError(.invalidArgument, "--seeds must be positive, found \(seeds)") }
        guard seeds <= 1 << 20 else {
            throw SeamError(.invalidArgument, "--seeds must be at most \(1 << 20), found \(seeds)")
        }
        if let wrong = shots.first(where: { $0 <= 0 }) {
            throw SeamError(.invalidArgument, "--shots must be positive, found \(wrong)")
        }
        if let twice = methods.indices.first(where: { methods[..<$0].contains(methods[$0]) }) {
            throw SeamError(.invalidArgument, "--method \(methods[twice].rawValue) is given twice")
        }
        var options = FewShotExperiment.Options()
        if !methods.isEmpty { options.methods = methods }
        options.training.epochs = epochs
        options.training.learningRate = learningRate
        try options.training.validate()
        return options
    }

    /// What may be trained: one or several adapters behind each other, or candidates of which one is chosen.
    private func wantedHeads(_ runtime: Runtime) throws -> [(
        name: String, isDoubted: Bool, heads: [(id: String, options: JSON)]
    )] {
        guard adapter == DefaultPlugins.chosenHead else {
            let factories = try adapterFactories(runtime)
            let given = try adapterOptions(settings, for: factories)
            return [(adapter, false, zip(factories, given).map { ($0.id, $1) })]
        }
        guard settings.isEmpty else {
            throw SeamError(
                .invalidArgument,
                "--option is for one adapter, and --adapter \(adapter) chooses among several, found \(settings[0].debugDescription)"
            )
        }
        return DefaultPlugins.fewshotCandidates.map { ($0.name, $0.isDoubted, [($0.id, $0.options)]) }
    }

    private func adapterFactories(_ runtime: Runtime) throws -> [AdapterFactory] {
        let names = adapter.split(separator: "+").map(String.init)
        guard !names.isEmpty else {
            throw SeamError(.invalidArgument, "--adapter must name one, found \(adapter.debugDescription)")
        }
        return try names.map { try runtime.adapterFactory($0) }
    }

    private func demonstrations(_ model: AnsweringModel, _ task: ClassificationTask) throws -> InContextAnswers? {
        guard methods.contains(.inContext) else { return nil }
        guard let tokenizer = model.tokenizer else {
            throw SeamError(
                .unsupported, "--method in-context needs a model that runs here, and \(model.name) is behind a server")
        }
        return try InContextAnswers(session: model.session, tokenizer: tokenizer, task: task)
    }

    private func show(_ event: FewShotExperiment.Event, _ progress: inout ProgressLine) {
        switch event {
        case .asked(let part, let done, let total):
            if done > 0 { progress.show("asking the model, \(part): \(done)/\(total)", isLast: done == total) }
        case .choosing(let shots, let seed):
            progress.show("choosing a head, \(shots) shots, seed \(seed)", isLast: false)
        case .trained(let shots, let seed, let accuracy, let chosen):
            progress.interrupt()
            if let accuracy {
                let choice = chosen.map { " (\($0))" } ?? ""
                printError("\(shots) shots, seed \(seed): \(adapter)\(choice) accuracy \(fixed(100 * accuracy, 1)) %")
            }
        }
    }

    private func save(
        _ adapters: [Adapter], _ draw: FewShotDraws.Draw, _ training: LabelledTexts, _ task: ClassificationTask,
        _ model: AnsweringModel, in folder: FewshotFolder
    ) throws {
        for (index, adapter) in adapters.enumerated() {
            try AdapterFolder.save(
                adapter, backbone: model.session.backbone, isBackboneTrained: false,
                notes: """
                    - examples: \(draw.shots) of each class of \(training.name), seed \(draw.seed)
                    \(task.templates.map { "- template: `\($0.source)`" }.joined(separator: "\n"))
                    """,
                to: folder.adapterPath(shots: draw.shots, seed: draw.seed, index: adapters.count > 1 ? index : nil))
        }
    }

    private func write(
        _ report: Report, _ extractor: FeatureExtractor, _ demonstrations: InContextAnswers?, to folder: FewshotFolder
    ) throws {
        let asked = extractor.queryCount + (demonstrations?.queryCount ?? 0)
        let seconds = extractor.querySeconds + (demonstrations?.querySeconds ?? 0)
        let queries = "The model was asked \(asked) times in \(fixed(seconds, 1)) s."
        try folder.write(report, note: queries)
        print(report.text)
        print(queries)
        extractor.reportShortened()
        if let crowded = demonstrations?.crowdedCount, crowded > 0 {
            printError("\(crowded) prompts in context had no room for all examples: the first ones were left out")
        }
        let trained = methods.isEmpty || methods.contains(.adapters) ? ", adapters" : ""
        print("written to \(output): results.md, results.json, accuracy.svg\(trained)")
    }
}
