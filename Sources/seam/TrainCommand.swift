import ArgumentParser
import Datasets
import Files
import Glibc
import SeamHost
import Support
import Tokenizers
import Trainer

/// What is trained for.
enum TrainingTask: String, CaseIterable, ExpressibleByArgument {
    /// Texts from texts.
    case pairs
    /// A label for a text, by a head on the text's vector.
    case classification
}

struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Train adapters on pairs of texts or on labelled texts, alone or together with the model.",
        discussion: """
            Writes into the output folder: adapter/ (the trained adapters), backbone/ (the model, if --train-backbone), \
            log.jsonl and loss.svg, and recorded.jsonl with pictures where an adapter has values to follow, such as the \
            weights of a gate. Ctrl-C stops after the current step and leaves checkpoint/; the same command with \
            --resume goes on from there. A folder that holds another run is refused without --overwrite.

            Adapters of several routes are trained side by side: --adapter NAME=ADAPTER for each, and rows of --train whose \
            column route has the NAME. Each is trained as by its own rows alone, and written to routes/NAME.

            Example: seam train --model model --adapter repcali --train train.jsonl --dev dev.jsonl --steps 200 \
            --learning-rate 2e-2 --output run
            A classifier: seam train --model encoder --task classification --adapter residual-prefix+gate --train \
            train.tsv --text-column sentence --steps 500 --learning-rate 1e-2 --output run
            Two routes: seam train --model model --adapter fr=lora --adapter de=lora --option r=8 --train train.jsonl \
            --steps 200 --output run
            """)

    @OptionGroup(title: "Model") var model: ModelOptions

    @Option(
        help: """
            What to learn: pairs, a target text for each source; or classification, a label for each text, with an \
            encoder-only model. The head of a classification is \(DefaultPlugins.classificationHead), unless --adapter names another.
            """)
    var task = TrainingTask.pairs

    @Option(
        help: """
            Adapter to train (see seam plugins); several, attached one after the other, as a+b; none to train the model \
            alone. NAME=ADAPTER trains it on the route NAME. Repeat for more routes.
            """)
    var adapter: [String] = []

    @Option(
        help: """
            Folder of a saved adapter, or of several, to train further, or NAME=FOLDER for those of the route NAME; those of \
            --adapter come behind them. May be repeated.
            """)
    var initAdapter: [String] = []

    @Option(
        name: .customLong("option"),
        help: """
            Option of the adapter as NAME=VALUE (see seam describe ADAPTER), or as ADAPTER.NAME=VALUE where several have \
            it; ROUTE/NAME=VALUE for the adapters of one route only. May be repeated.
            """)
    var settings: [String] = []

    @Flag(help: "Save an adapter as it is trained, not folded into what inference needs: to train it further.")
    var keepReparameterization = false

    @Flag(help: "Train the model together with the adapter.")
    var trainBackbone = false

    @Option(help: "Training pairs, or labelled texts: .jsonl, .csv or .tsv.")
    var train: String

    @Option(help: "Development pairs or texts, scored during training and at its end.")
    var dev: String?

    @OptionGroup(title: "Data") var pairs: PairOptions
    @OptionGroup(title: "Labelled data") var labelled: ClassOptions
    @OptionGroup(title: "Routes") var routes: RouteColumnOption

    @Option(
        help:
            "Labels of a classification in their order, joined by commas. Default: those of the training texts, sorted."
    )
    var labels: String?

    @Option(help: "Folder to write into.")
    var output: String

    @Option(help: "Number of updates.")
    var steps: Int

    @Option(help: "Learning rate of the adapter.")
    var learningRate = 1e-3

    @Option(help: "Learning rate of the model, with --train-backbone.")
    var backboneLearningRate = 1e-4

    @OptionGroup(title: "Training") var training: TrainingFlags

    @Option(help: "Seed of the initial values and of the order of the pairs.")
    var seed: UInt64 = 0

    @Flag(
        inversion: .prefixedNo,
        help: """
            Keep what flows into the lowest layer that is trained, of every example, instead of computing it in every \
            epoch.
            """)
    var seamCache = true

    @Option(
        help: """
            MiB of memory for the seam cache; what is beyond goes into a file on the disk of the output folder. Default: a \
            quarter of the machine's memory.
            """)
    var seamCacheMemory: Int?

    @Flag(help: "Go on from the checkpoint in the output folder.")
    var resume = false

    @OptionGroup var replacing: OverwriteOption

    @OptionGroup var common: CommonOptions

    func run() throws {
        let runtime = try common.makeRuntime()
        try RunFolder.check(
            output, resumes: resume, overwrites: replacing.overwrite,
            inputs: [model.model, train, dev].compactMap { $0 }
                + initAdapter.map { RoutedAdapterOptions.part($0).path })
        try checkTask()
        let (backbone, tokenizer) = try model.open(runtime)
        if task == .pairs { try PairOptions.check(backbone.info) }
        let session = Session(backbone: backbone)
        let trained = try TrainedRoute.read(adapters: adapter, initial: initAdapter, settings: settings)
        for route in trained { try route.attachInitial(to: session) }
        let data = task == .pairs ? nil : try LabelledData(self, session)
        for route in trained {
            try route.attachNew(
                to: session, backboneFrozen: !trainBackbone, classes: data?.labels.count ?? 0, seed: seed)
        }
        if let data { try session.nameClasses(data.labels) }
        func read(_ path: String) throws -> TokenPairs {
            try pairs.read(path, tokenizer, session, routeColumn: routes.column)
        }
        let examples = try data?.training(self, tokenizer, session) ?? read(train)
        let development = try dev.map { try data?.development(self, tokenizer, session) ?? read($0) }

        var options = RunOptions(output: output)
        options.overwrites = replacing.overwrite
        training.apply(to: &options)
        options.training.trainsBackbone = trainBackbone
        options.training.learningRate = learningRate
        options.training.backboneLearningRate = backboneLearningRate
        options.training.totalSteps = steps
        options.training.routes = trained.map(\.route)
        options.seed = seed
        options.usesSeamCache = seamCache
        if let seamCacheMemory { options.seamCacheBytes = seamCacheMemory << 20 }
        options.keepsReparameterization = keepReparameterization
        let what = task == .pairs ? "pairs" : "texts"
        options.notes = "- model: \(model.name)\n- training \(what): \(train) (\(examples.count))"
        let run = try TrainingRun(
            session: session, data: examples, development: development, options: options)
        try report(try execute(run), session)
    }

    private func checkTask() throws {
        let most = Int.max >> 20
        if let seamCacheMemory, !(0...most).contains(seamCacheMemory) {
            throw SeamError(
                .invalidArgument, "--seam-cache-memory must be 0 to \(most) MiB, found \(seamCacheMemory)")
        }
        if !seamCache, seamCacheMemory != nil {
            throw SeamError(
                .invalidArgument, "--no-seam-cache keeps nothing, so --seam-cache-memory has no use: give one of them")
        }
        guard !adapter.isEmpty || !initAdapter.isEmpty else {
            throw ValidationError("Missing expected argument '--adapter <adapter>'")
        }
        if task == .pairs, labels != nil || labelled.truncate {
            throw SeamError(.invalidArgument, "--labels and --truncate are for --task classification")
        }
    }

    private func execute(_ run: TrainingRun) throws -> RunResult {
        var progress = ProgressLine()
        Interruption.watch()
        return try run.run(
            resumes: resume,
            observe: { event in
                switch event {
                case .started(let steps, let first):
                    if first > 0 { printError("resumed at step \(first) of \(steps)") }
                case .step(let step, let total, let seconds):
                    let left = duration(seconds * Double(total - step.step))
                    progress.show(
                        "step \(step.step)/\(total)  loss \(fixed(step.loss, 4))  learning rate \(rate(step.learningRate))  \(fixed(1 / seconds, 2)) steps/s  \(left) left",
                        isLast: step.step == total)
                case .evaluated(let step, let result):
                    progress.interrupt()
                    printError(
                        "step \(step): development loss \(fixed(result.loss, 4)), \(result.accuracyName) \(fixed(100 * result.accuracy, 2)) %"
                    )
                case .checkpoint(let step, let path):
                    progress.interrupt()
                    printError("step \(step): checkpoint written to \(path)")
                }
            }, shouldContinue: { !Interruption.isRequested })
    }

    private func report(_ result: RunResult, _ session: Session) throws {
        guard result.isComplete else {
            printError("stopped after \(result.steps) of \(steps) steps; go on with the same command and --resume")
            throw Interruption.exitCode
        }
        let saved = (result.adapterPath.map { [(route: "", path: $0)] } ?? []) + result.routePaths
        for (route, path) in saved {
            let names = session.adapters(of: route).map(\.factory.id).joined(separator: " + ")
            print("saved \(names) (\(result.savedNumbers[route] ?? 0) parameters) to \(path)")
        }
        if let path = result.backbonePath { print("saved the model to \(path)") }
        print("loss curve: \(FileSystem.join(output, "loss.svg"))")
    }
}

/// The texts of a classification, read before the adapters are made, which are to know the number of labels.
private struct LabelledData {
    let labels: [String]
    private let texts: LabelledTexts
    private let developmentTexts: LabelledTexts?

    /// The labels are those of the adapters that are trained further, those given, or those of the training texts.
    init(_ command: TrainCommand, _ session: Session) throws {
        let columns = command.labelled.columns
        let saved = session.isClassification ? try session.requireClassLabels() : nil
        let given = try ClassOptions.names(command.labels)
        if let saved, let given, saved.map({ TextKey($0) }) != given.map({ TextKey($0) }) {
            throw SeamError(
                .invalidArgument,
                "--labels must be \(saved.joined(separator: ",")), as the adapter has them, found \(command.labels ?? "")"
            )
        }
        let known = saved ?? given
        labels = try known ?? columns.read(command.train, labels: nil).sortedLabelNames
        guard labels.count >= 2 else {
            throw SeamError(
                .invalidArgument, "a classification needs 2 labels or more, found \(labels.joined(separator: ","))")
        }
        let names = labels
        let routes = command.routes.column
        texts = try columns.read(command.train, labels: names, routeColumn: routes)
        developmentTexts = try command.dev.map { try columns.read($0, labels: names, routeColumn: routes) }
    }

    func training(_ command: TrainCommand, _ tokenizer: Tokenizer, _ session: Session) throws -> TokenPairs {
        try command.labelled.tokens(of: texts, tokenizer, session)
    }

    func development(_ command: TrainCommand, _ tokenizer: Tokenizer, _ session: Session) throws -> TokenPairs? {
        try developmentTexts.map { try command.labelled.tokens(of: $0, tokenizer, session) }
    }
}

/// A learning rate as people write it, with three digits at most: 1e-3, 1.25e-5, 0.5.
private func rate(_ value: Double) -> String {
    guard value > 0, value < 0.1 else { return "\(value)" }
    var exponent = Int(log10(value).rounded(.down))
    var digits = (value / pow(10, Double(exponent)) * 100).rounded() / 100
    if digits >= 10 { (digits, exponent) = (digits / 10, exponent + 1) }
    let text = digits == digits.rounded() ? "\(Int(digits))" : "\(digits)"
    return "\(text)e\(exponent)"
}
