import Glibc
import Kernels
import Support

func naturalLogarithm(_ x: Double) -> Double { log(x) }

/// A trainable leaf: its values, and the slot where its gradient gathers.
public final class Variable {
    public let name: String
    public let tensor: Tensor
    /// First and second moments of Adam; nil before the first step.
    public internal(set) var moments: (first: Tensor, second: Tensor)?

    /// - Parameter values: contiguous f32; the variable owns and updates them in place.
    public init(name: String, values: Tensor) {
        precondition(values.dtype == .f32 && values.isContiguous)
        self.name = name
        tensor = values.requiresGradient ? values : values.asLeaf
    }

    /// Restores the moments of a checkpoint.
    public func restore(first: Tensor, second: Tensor) {
        precondition(first.shape == tensor.shape && second.shape == tensor.shape)
        moments = (first, second)
    }
}

/// Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019) as PyTorch computes them.
public struct Adam: Sendable, Equatable {
    public var beta1 = 0.9
    public var beta2 = 0.999
    public var epsilon = 1e-8
    public var weightDecay = 0.0
    /// True: AdamW, the decay multiplies the weights; false: Adam, it is added to the gradient.
    public var isDecoupled = true

    public init() {}

    /// One update from the gradients gathered in the variables' slots; a variable without a gradient is left alone,
    /// as in PyTorch. Gradients stay; call `clearGradients`.
    /// - Parameters:
    ///   - gradientScale: multiplies every gradient (clipping).
    ///   - number: the step, counted from 1.
    public func step(
        _ variables: [Variable], learningRate: Double, gradientScale: Double, number: Int, pool: MemoryPool
    ) throws(SeamError) {
        for variable in variables {
            guard let gradient = variable.tensor.gradient?.value else { continue }
            let count = Int64(variable.tensor.elementCount)
            if variable.moments == nil {
                let context = Context(pool: pool, recordsGradients: false)
                variable.moments = (
                    try context.full(0, .f32, variable.tensor.shape), try context.full(0, .f32, variable.tensor.shape)
                )
            }
            let contiguous = try Context(pool: pool, recordsGradients: false).contiguous(gradient)
            sk_adam(
                variable.tensor.f32, variable.moments!.first.f32, variable.moments!.second.f32, contiguous.f32,
                Float(gradientScale), Float(learningRate), Float(beta1), Float(beta2), Float(epsilon),
                Float(weightDecay), isDecoupled ? 1 : 0, Int64(number), count)
        }
    }
}

/// The 2-norm of all gradients together; NaN or infinity if any is.
public func gradientNorm(_ variables: [Variable], pool: MemoryPool) throws(SeamError) -> Double {
    var total = 0.0
    for variable in variables {
        guard let gradient = variable.tensor.gradient?.value else { continue }
        let contiguous = try Context(pool: pool, recordsGradients: false).contiguous(gradient)
        total += sk_sum_squares(contiguous.f32, Int64(contiguous.elementCount))
    }
    return total.squareRoot()
}

/// What multiplies every gradient so that their norm is at most `limit`, as torch.nn.utils.clip_grad_norm_ computes it;
/// 1 for a limit of 0, no clipping.
public func clippingScale(norm: Double, limit: Double) -> Double { limit > 0 ? min(1, limit / (norm + 1e-6)) : 1 }

public func clearGradients(_ variables: [Variable]) {
    for variable in variables { variable.tensor.gradient?.clear() }
}
