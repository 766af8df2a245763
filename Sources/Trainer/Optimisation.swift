import Engine
import SeamHost
import Support

/// What one training step reports.
public struct StepReport: Sendable, Equatable {
    /// Counted from 1.
    public let step: Int
    /// Mean over the labels that count, before the update.
    public let loss: Double
    /// Before clipping.
    public let gradientNorm: Double
    /// The learning rate of the adapters in this step.
    public let learningRate: Double
    /// Labels that counted.
    public let tokenCount: Int
}

/// Training of a session, step by step: forward, backward, clip, update. One thread per session.
///
/// While it lives, the session's adapters (and its backbone, if the options say so) are leaves of the gradient; `end`
/// freezes them again with their trained values.
public final class Optimisation {
    public let session: Session
    public let options: TrainingOptions
    /// Steps done so far.
    public private(set) var step = 0
    /// All trained leaves, the adapters' first.
    public let variables: [Variable]
    private let adapterVariables: [(adapter: Adapter, variables: [Variable])]
    private let backboneVariables: [Variable]
    /// Until a step has told which parameters the loss does not reach.
    private var isFirstUpdate = true

    /// - Throws: for options out of range, nothing to train, or a backbone that passes no gradient to a trained seam.
    public init(session: Session, options: TrainingOptions) throws {
        try options.validate()
        try session.requireUnmerged(toBe: "trained")
        guard !session.adapters.isEmpty || options.trainsBackbone else {
            throw SeamError(
                .invalidArgument, "there is nothing to train: no adapter is attached and the backbone is frozen")
        }
        guard session.adapters.isEmpty || session.backbone.backpropagates else {
            throw SeamError(
                .unsupported,
                "adapter \"\(session.adapters[0].factory.id)\" needs gradients through \(session.backbone.name), which offers none"
            )
        }
        self.session = session
        self.options = options
        // The backbone first: an opaque one refuses, and then nothing has changed.
        if options.trainsBackbone { try session.backbone.unfreeze() }
        for adapter in session.adapters { try adapter.unfreeze() }
        adapterVariables = session.adapters.map { ($0, $0.parameters.variables) }
        variables = session.variables
        backboneVariables = session.backbone.parameters.variables
        guard !variables.isEmpty else {
            let prepared = session.adapters.first(where: \.startsFromExamples).map {
                ": adapter \"\($0.factory.id)\" is set from all examples at once, by a fit on features"
            }
            throw SeamError(
                .invalidArgument,
                "there is nothing to train: no attached adapter has a parameter that is not frozen\(prepared ?? "")")
        }
    }

    /// Continues from a checkpoint's step count.
    public func resume(at step: Int) { self.step = step }

    /// One update from a batch with labels.
    /// - Parameter encoded: the encoder's output from a seam cache; nil runs the encoder.
    /// - Throws: `.numeric`, with everything unchanged, when the loss or a gradient is not finite.
    public func update(_ batch: Batch, encoded: Tensor? = nil) throws -> StepReport {
        let pool = session.runtime.pool
        let context = session.makeContext(recordsGradients: true)
        let variables = self.variables
        defer { clearGradients(variables) }
        let loss = try session.loss(
            context, batch, encoded: encoded, labelSmoothing: options.labelSmoothing, training: true)
        let value = Double(loss.value.floats[0])
        guard value.isFinite else {
            throw SeamError(.numeric, "the loss of step \(step + 1) is \(value); the learning rate may be too high")
        }
        try Session.requireReached(session.adapters, by: loss.value, "the loss of step \(step + 1)")
        try context.backward(loss.value)
        if isFirstUpdate {
            isFirstUpdate = false
            Session.warnOfUnreached(session.adapters, backbone: session.backbone, in: "step \(step + 1)")
        }
        let norm = try gradientNorm(variables, pool: pool)
        guard norm.isFinite else {
            throw SeamError(
                .numeric, "the gradient of step \(step + 1) is not finite; the learning rate may be too high")
        }
        let scale = clippingScale(norm: norm, limit: options.maxGradientNorm)
        let factor = options.schedule.factor(step: step, warmup: options.warmupSteps, total: options.totalSteps)
        step += 1
        for (adapter, variables) in adapterVariables {
            try options.optimizer.step(
                variables, learningRate: (adapter.learningRate ?? options.learningRate) * factor,
                gradientScale: scale, number: step, pool: pool)
        }
        try options.optimizer.step(
            backboneVariables, learningRate: options.backboneLearningRate * factor, gradientScale: scale, number: step,
            pool: pool)
        return StepReport(
            step: step, loss: value, gradientNorm: norm, learningRate: options.learningRate * factor,
            tokenCount: loss.tokenCount)
    }

    /// Freezes what was trained, keeping its values.
    public func end() {
        for adapter in session.adapters { adapter.freeze() }
        session.backbone.freeze()
    }
}
