import Engine
import Glibc
import Support

/// How the learning rate changes over a run, after a linear warm-up from 0; as in transformers' schedules of the same
/// names.
public enum Schedule: String, Sendable, CaseIterable {
    case constant, linear, cosine

    /// What multiplies the learning rate in a step.
    /// - Parameters:
    ///   - step: counted from 0.
    ///   - total: the step at which `linear` and `cosine` reach 0.
    public func factor(step: Int, warmup: Int, total: Int) -> Double {
        if step < warmup { return Double(step) / Double(max(warmup, 1)) }
        let progress = Double(step - warmup) / Double(max(total - warmup, 1))
        switch self {
        case .constant: return 1
        case .linear: return max(0, 1 - progress)
        case .cosine: return max(0, 0.5 * (1 + cos(Double.pi * min(progress, 1))))
        }
    }
}

/// How a session is trained. Names and defaults are those of `seam_train_options`.
public struct TrainingOptions: Sendable, Equatable {
    public var optimizer = Adam()
    public var schedule = Schedule.constant
    /// Whether the backbone is trained with the adapters.
    public var trainsBackbone = false
    /// The learning rate of the adapters.
    public var learningRate = 1e-3
    /// The learning rate of the backbone, where it is trained.
    public var backboneLearningRate = 1e-4
    /// Largest 2-norm over all gradients together; 0 for no clipping.
    public var maxGradientNorm = 1.0
    public var labelSmoothing = 0.0
    public var warmupSteps = 0
    public var totalSteps = 0
    /// The seed of what a step draws: which elements dropout takes.
    public var seed: UInt64 = 0
    /// The routes whose adapters are trained, each once, nil for the default one. Several are trained side by side, by
    /// batches whose rows take any of them; the backbone is trained with the default one alone.
    public var routes: [String?] = [nil]

    public init() { optimizer.weightDecay = 0.01 }

    /// Throws one sentence that names the first option out of range.
    public func validate() throws {
        func require(_ holds: Bool, _ name: String, _ expected: String, _ found: some Any) throws {
            guard holds else { throw SeamError(.invalidArgument, "\(name) must be \(expected), found \(found)") }
        }
        try require(learningRate >= 0 && learningRate.isFinite, "learning_rate", "0 or more", learningRate)
        try require(
            backboneLearningRate >= 0 && backboneLearningRate.isFinite, "backbone_learning_rate", "0 or more",
            backboneLearningRate)
        try require(optimizer.beta1 >= 0 && optimizer.beta1 < 1, "beta1", "in [0, 1)", optimizer.beta1)
        try require(optimizer.beta2 >= 0 && optimizer.beta2 < 1, "beta2", "in [0, 1)", optimizer.beta2)
        try require(optimizer.epsilon > 0 && optimizer.epsilon.isFinite, "epsilon", "positive", optimizer.epsilon)
        try require(
            optimizer.weightDecay >= 0 && optimizer.weightDecay.isFinite, "weight_decay", "0 or more",
            optimizer.weightDecay)
        try require(maxGradientNorm >= 0 && maxGradientNorm.isFinite, "max_grad_norm", "0 or more", maxGradientNorm)
        try require(labelSmoothing >= 0 && labelSmoothing < 1, "label_smoothing", "in [0, 1)", labelSmoothing)
        try require(warmupSteps >= 0, "warmup_steps", "0 or more", warmupSteps)
        try require(totalSteps >= 0, "total_steps", "0 or more", totalSteps)
        try require(totalSteps <= 1 << 40, "total_steps", "at most \(1 << 40)", totalSteps)
        try require(
            schedule == .constant || totalSteps > warmupSteps, "total_steps",
            "more than warmup_steps for a \(schedule) schedule",
            totalSteps)
        guard !trainsBackbone || routes.allSatisfy({ ($0 ?? "").isEmpty }) else {
            throw SeamError(
                .unsupported, "a backbone is trained with the default route alone: routes with a name share it frozen")
        }
    }
}
