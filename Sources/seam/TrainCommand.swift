import ArgumentParser
import Files
import Session
import Support
import Trainer

extension Schedule: ExpressibleByArgument {}

struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Train an adapter on pairs of texts, alone or together with the model.",
        discussion: """
            Writes into the output folder: adapter/ (the trained adapter), backbone/ (the model, if --train-backbone), \
            log.jsonl and loss.svg. Ctrl-C stops after the current step and leaves checkpoint/; the same command with \
            --resume goes on from there.

            Example: seam train --model model --adapter repcali --train train.jsonl --dev dev.jsonl --steps 200 \
            --learning-rate 2e-2 --output run
            """)

    @OptionGroup(title: "Model") var model: ModelOptions

    @Option(help: "Adapter to train (see seam plugins); several as a+b; none to train the model alone.")
    var adapter: String

    @Option(name: .customLong("option"), help: "Option of the adapter as NAME=VALUE (see seam describe ADAPTER). May be repeated.")
    var settings: [String] = []

    @Flag(help: "Train the model together with the adapter.")
    var trainBackbone = false

    @Option(help: "Training pairs: .jsonl, .csv or .tsv.")
    var train: String

    @Option(help: "Development pairs, scored during training and at its end.")
    var dev: String?

    @OptionGroup(title: "Data") var pairs: PairOptions

    @Option(help: "Folder to write into.")
    var output: String

    @Option(help: "Number of updates.")
    var steps: Int

    @Option(help: "Pairs in an update.")
    var batchSize = 32

    @Option(help: "Learning rate of the adapter.")
    var learningRate = 1e-3

    @Option(help: "Learning rate of the model, with --train-backbone.")
    var backboneLearningRate = 1e-4

    @Option(help: "How the learning rate falls: constant, linear or cosine.")
    var schedule = Schedule.linear

    @Option(help: "Steps over which the learning rate first rises from 0.")
    var warmupSteps = 0

    @Option(help: "AdamW's weight decay.")
    var weightDecay = 0.01

    @Option(help: "Largest norm of the gradient; 0 for no limit.")
    var maxGradNorm = 1.0

    @Option(help: "Label smoothing.")
    var labelSmoothing = 0.0

    @Option(help: "Seed of the initial values and of the order of the pairs.")
    var seed: UInt64 = 0

    @Option(help: "Steps between scorings of the development pairs; 0: at the end only.")
    var evalEvery = 0

    @Option(help: "Steps between checkpoints; 0: on Ctrl-C only.")
    var checkpointEvery = 0

    @Flag(inversion: .prefixedNo, help: "Keep what the frozen encoder computes for every pair, instead of computing it in every epoch.")
    var seamCache = true

    @Flag(help: "Go on from the checkpoint in the output folder.")
    var resume = false

    @OptionGroup var common: CommonOptions

    func run() throws {
        let runtime = try common.makeRuntime()
        try checkOutput()
        let (backbone, tokenizer) = try model.open(runtime)
        let session = Session(backbone: backbone)
        try AdapterComposition(parsing: adapter, options: settings, in: runtime)
            .attach(to: session, backboneFrozen: !trainBackbone, seed: seed)
        let training = try pairs.read(train, tokenizer, session)
        let development = try dev.map { try pairs.read($0, tokenizer, session) }

        var options = RunOptions(output: output)
        options.training.trainsBackbone = trainBackbone
        options.training.learningRate = learningRate
        options.training.backboneLearningRate = backboneLearningRate
        options.training.schedule = schedule
        options.training.warmupSteps = warmupSteps
        options.training.totalSteps = steps
        options.training.optimizer.weightDecay = weightDecay
        options.training.maxGradientNorm = maxGradNorm
        options.training.labelSmoothing = labelSmoothing
        options.batchSize = batchSize
        options.seed = seed
        options.usesSeamCache = seamCache
        options.evaluationInterval = evalEvery
        options.checkpointInterval = checkpointEvery
        options.notes = "- model: \(model.name)\n- training pairs: \(train) (\(training.count))"
        let run = try TrainingRun(
            session: session, data: training, development: development, options: options)
        try report(try execute(run), session)
    }

    private func checkOutput() throws {
        let isResumable = TrainingRun.isResumable(output)
        if resume && !isResumable {
            throw SeamError(.notFound, "--resume: \"\(output)\" holds no checkpoint")
        }
        if !resume && isResumable {
            throw SeamError(
                .alreadyExists,
                "\"\(output)\" holds the checkpoint of an unfinished run: add --resume to go on, or give another --output")
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
                        "step \(step.step)/\(total)  loss \(fixed(step.loss, 4))  learning rate \(shortNumber(step.learningRate))  \(fixed(1 / seconds, 2)) steps/s  \(left) left",
                        isLast: step.step == total)
                case .evaluated(let step, let result):
                    progress.interrupt()
                    printError(
                        "step \(step): development loss \(fixed(result.loss, 4)), \(result.accuracyName) \(fixed(100 * result.accuracy, 2)) %")
                case .checkpoint(let step, let path):
                    progress.interrupt()
                    printError("step \(step): checkpoint written to \(path)")
                }
            }, shouldContinue: { !Interruption.isRequested })
    }

    private func report(_ result: RunResult, _ session: Session) throws {
        guard result.isComplete else {
            printError("stopped after \(result.steps) of \(steps) steps; go on with the same command and --resume")
            throw ExitCode(130)
        }
        if let path = result.adapterPath {
            let names = session.adapters.map(\.factory.id).joined(separator: " + ")
            let count = session.adapters.reduce(0) { $0 + $1.parameters.trainableCount }
            print("saved \(names) (\(count) parameters) to \(path)")
        }
        if let path = result.backbonePath { print("saved the model to \(path)") }
        print("loss curve: \(FileSystem.join(output, "loss.svg"))")
    }
}

/// A learning rate without a tail of digits: 0.002, 1.5e-05.
private func shortNumber(_ value: Double) -> String {
    value == 0 || value >= 1e-3 ? fixed(value, 5) : "\(Float(value))"
}
