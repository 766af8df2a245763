import ArgumentParser
import Trainer

extension Schedule: ExpressibleByArgument {}

/// How a run is trained, for every command that trains.
struct TrainingFlags: ParsableArguments {
    @Option(help: "Examples in an update.")
    var batchSize = 32

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

    @Option(help: "Steps between scorings of the development examples; 0: at the end only.")
    var evalEvery = 0

    @Option(help: "Steps between checkpoints; 0: on Ctrl-C only.")
    var checkpointEvery = 0

    func apply(to options: inout RunOptions) {
        options.training.schedule = schedule
        options.training.warmupSteps = warmupSteps
        options.training.optimizer.weightDecay = weightDecay
        options.training.maxGradientNorm = maxGradNorm
        options.training.labelSmoothing = labelSmoothing
        options.batchSize = batchSize
        options.evaluationInterval = evalEvery
        options.checkpointInterval = checkpointEvery
    }
}
