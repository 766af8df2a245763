import ArgumentParser
import Files
import Metrics
import SeamHost
import Support
import Sweeps
import Trainer

struct SweepCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sweep",
        abstract: "Train a grid of adapters and compare them: tables and plots over an option, with several seeds.",
        discussion: """
            A variant is NAME=ADAPTER[:OPTION=VALUE...][+ADAPTER...], for example \
            hidden=residual-prefix:residual=hidden+gate. --vary takes an option of the adapters or learning_rate, \
            batch_size, steps, warmup_steps, weight_decay, max_grad_norm, label_smoothing; several give the full grid, \
            plots have the first as their axis. Nothing is chosen by the test data.

            Ctrl-C stops after the current step; the same command goes on, and skips what is done: \
            no result is ever overwritten. See docs/sweep.md.

            Example: seam sweep --model model --train train.jsonl --dev dev.jsonl --variant plain=prefix-tuning \
            --variant gate=prefix-tuning+gate --vary prefix_length=5,20 --seeds 0,1,2 --steps 300 --output sweep
            """)

    @OptionGroup(title: "Model") var model: ModelOptions

    @Option(help: "What to learn: pairs, or classification (see seam train).")
    var task = TrainingTask.pairs

    @Option(
        name: .customLong("variant"),
        help: "What to compare, as NAME=ADAPTER[:OPTION=VALUE...][+ADAPTER...]. Repeat; the first is the reference.")
    var variants: [String] = []

    @Option(name: .customLong("vary"), help: "What to vary, as NAME=VALUE,VALUE... May be repeated.")
    var axes: [String] = []

    @Option(help: "Seeds of the initial values and of the order of the examples, as 0,1,2.")
    var seeds = "0"

    @Option(
        name: .customLong("option"),
        help: "Option of the adapters of all variants that have it, as NAME=VALUE. May be repeated.")
    var settings: [String] = []

    @Option(help: "Training examples: .jsonl, .csv or .tsv.")
    var train: String?

    @Option(help: "Development examples, which variants are compared on.")
    var dev: String?

    @Option(help: "Test examples, which are only reported on.")
    var test: String?

    @OptionGroup(title: "Data") var pairs: PairOptions
    @OptionGroup(title: "Labelled data") var labelled: ClassOptions

    @Option(
        name: .customLong("metric"),
        help: "Metric of generated texts; may be repeated. The report begins with the first. Default: none, the loss.")
    var metrics: [TextMetric] = []

    @Option(help: "Generate for at most so many of the first examples; 0: all.")
    var evalLimit = 0

    @OptionGroup(title: "Generation") var generation: GenerationFlags

    @Option(help: "Folder to write into.")
    var output: String?

    @Option(help: "Make the report of this folder again, from what its runs came to; train nothing.")
    var reportOnly: String?

    @Option(help: "Number of updates of a run.")
    var steps: Int?

    @Option(
        name: .customLong("learning-rate"),
        help: "Learning rate of all variants, or NAME=NUMBER for one of them. May be repeated. Default: 0.001.")
    var learningRates: [String] = []

    @OptionGroup(title: "Training") var training: TrainingFlags

    @OptionGroup var common: CommonOptions

    func run() throws {
        if let reportOnly {
            let folder = SweepFolder(reportOnly)
            return try show(SweepReport(folder), folder)
        }
        guard let train, let dev, let output, steps != nil else {
            throw ValidationError("--train, --dev, --steps and --output are needed, or --report-only")
        }
        guard evalLimit >= 0 else {
            throw SeamError(.invalidArgument, "--eval-limit must be 0 or more, found \(evalLimit)")
        }
        if task == .classification, let metric = metrics.first {
            throw SeamError(
                .invalidArgument, "--metric \(metric.rawValue) is of generated texts, and --task is classification")
        }
        if metrics.isEmpty, let flag = generation.firstGiven {
            throw SeamError(.invalidArgument, "\(flag) is of generated texts, and without --metric none are generated")
        }
        if task == .pairs, labelled.truncate {
            throw SeamError(.invalidArgument, "--truncate is for --task classification")
        }
        let plan = try SweepPlan(
            variants: variants.map { try SweepVariant($0) }, axes: axes.map { try SweepAxis($0) },
            seeds: try readSeeds())
        let folder = SweepFolder(output)
        try FolderLock.check(output)
        try folder.checkOwn(for: plan)
        let runtime = try common.makeRuntime()
        let (backbone, tokenizer) = try model.open(runtime)
        let data = try SweepData(self, train: train, dev: dev, test: test, backbone, tokenizer)
        let sweep = try Sweep(
            plan: plan, task: try makeTask(data, runtime, backbone), folder: folder,
            metric: data.metric,
            title:
                "Sweep of \(plan.axes.map(\.name).joined(separator: ", ")): \(FileSystem.baseName(model.name)), \(FileSystem.baseName(train))"
        )
        let ending = try execute(sweep)
        try show(SweepReport(folder), folder)
        switch ending {
        case .stopped(let run):
            printError("stopped within \(run.title); the same command goes on from there")
            throw Interruption.exitCode
        case .complete(let failed) where failed > 0:
            throw SeamError(
                .numeric,
                "\(failed) of \(plan.runs.count) runs failed, as \(folder["results.md"]) tells: what is said there of the others holds"
            )
        case .complete: break
        }
    }

    private func readSeeds() throws -> [UInt64] {
        try seeds.split(separator: ",", omittingEmptySubsequences: false).map { text in
            guard let seed = UInt64(text) else {
                throw SeamError(
                    .invalidArgument, "--seeds must be whole numbers as 0,1,2, found \(seeds.debugDescription)")
            }
            return seed
        }
    }

    private func makeTask(_ data: SweepData, _ runtime: Runtime, _ backbone: Backbone) throws -> SweepTask {
        let labels = data.labels
        var task = SweepTask(
            training: data.training, development: data.development, test: data.test,
            makeSession: { spec, settings, seed in
                let session = Session(backbone: backbone)
                try AdapterComposition(
                    parsing: spec, options: settings,
                    defaultHead: labels.isEmpty ? nil : DefaultPlugins.classificationHead,
                    in: runtime
                ).attach(to: session, classes: labels.count, seed: seed)
                if !labels.isEmpty { try session.nameClasses(labels) }
                return session
            }, optionNames: { try runtime.adapterFactory($0).options.map(\.name) })
        task.adapterSettings = try settings.map { text in
            guard let setting = SweepSetting(text) else {
                throw SeamError(.invalidArgument, "--option must be NAME=VALUE, found \(text.debugDescription)")
            }
            return setting
        }
        try readLearningRates(into: &task)
        training.apply(to: &task.options)
        task.options.training.totalSteps = steps ?? 0
        task.options.notes = "- model: \(model.name)\n- training examples: \(train ?? "") (\(data.training.count))"
        task.settings = data.settings
        task.check = data.check
        task.measure = data.measure
        return task
    }

    private func readLearningRates(into task: inout SweepTask) throws {
        for text in learningRates {
            let setting = SweepSetting(text)
            guard let rate = Double(setting?.value ?? text) else {
                throw SeamError(
                    .invalidArgument, "--learning-rate must be a number or NAME=NUMBER, found \(text.debugDescription)")
            }
            if let setting {
                task.learningRates[setting.name] = rate
            } else {
                task.options.training.learningRate = rate
            }
        }
    }

    private func execute(_ sweep: Sweep) throws -> Sweep.Ending {
        var progress = ProgressLine()
        Interruption.watch()
        return try sweep.run(
            observe: { event in
                switch event {
                case .found(let done, let count):
                    if done > 0 { printError("\(done) of \(count) runs have results already") }
                case .started(let run, let number, let count, let first):
                    progress.interrupt()
                    printError("run \(number)/\(count): \(run.title)\(first > 0 ? ", resumed at step \(first)" : "")")
                case .step(let step, let total, let number, let count, let seconds):
                    progress.show(
                        "run \(number)/\(count)  step \(step.step)/\(total)  loss \(fixed(step.loss, 4))  \(duration(seconds)) left for all"
                    )
                case .ended(_, let result, let number, let count):
                    progress.interrupt()
                    printError("run \(number)/\(count): \(Self.words(result))")
                }
            }, shouldContinue: { !Interruption.isRequested })
    }

    private static func words(_ result: SweepResult) -> String {
        if let failure = result.failure { return "failed: \(failure)" }
        let figures = result.finished?.development.values ?? []
        return "development " + figures.map { $0.metric.sentence($0.value) }.joined(separator: ", ")
    }

    private func show(_ report: SweepReport, _ folder: SweepFolder) throws {
        let names = try report.write(to: folder)
        print(report.text)
        print("written to \(folder.path): \(names.joined(separator: ", "))")
    }
}
