import Kernels
import Support

/// How the losses of positions become one result; numbered as in the C ABI.
public enum Reduction: Int32, Sendable {
    case none = 0
    case sum = 1
    case mean = 2
}

extension Context {
    /// Cross-entropy with label smoothing e: (1-e) * -log softmax(logits)[target] + e * mean over classes of
    /// -log softmax(logits) (Szegedy et al. 2016, section 7).
    ///
    /// - Parameters:
    ///   - logits: [..., classes].
    ///   - targets: i32 [...]; positions equal to `ignoreIndex` count nothing.
    /// - Returns: the shape of targets for `.none`, else a scalar; `.mean` divides by the counted positions and
    ///   throws when there is none.
    public func crossEntropy(
        _ logits: Tensor, targets: Tensor, ignoreIndex: Int32, labelSmoothing: Double, reduction: Reduction
    ) throws(SeamError) -> Tensor {
        try requireF32(logits, "cross_entropy")
        guard logits.rank >= 1, targets.dtype == .i32, targets.shape == Shape(logits.shape.dropLast()) else {
            throw SeamError(
                .shape,
                "cross_entropy: targets must be i32 of shape \(Shape(logits.shape.dropLast())), found \(targets.dtype.name) \(targets.shape)"
            )
        }
        guard labelSmoothing >= 0 && labelSmoothing < 1 else {
            throw SeamError(
                .invalidArgument, "cross_entropy: label_smoothing must be in [0, 1), found \(labelSmoothing)")
        }
        let classes = logits.shape[logits.rank - 1]
        guard classes > 0 else {
            throw SeamError(.shape, "cross_entropy: logits \(logits.shape) have no classes")
        }
        let rows = targets.elementCount
        let labels = try contiguous(targets)
        var counted = 0
        for row in 0..<rows where labels.i32[row] != ignoreIndex {
            guard labels.i32[row] >= 0 && labels.i32[row] < classes else {
                throw SeamError(
                    .invalidArgument,
                    "cross_entropy: target \(labels.i32[row]) at position \(row) is outside 0 ... \(classes - 1)")
            }
            counted += 1
        }
        if reduction == .mean && counted == 0 {
            throw SeamError(.invalidArgument, "cross_entropy: every target is ignored, so there is no mean")
        }
        let input = try contiguous(logits.detached)
        let losses = try makeTensor(targets.shape)
        let logSums = try makeTensor(targets.shape)
        sk_cross_entropy(
            losses.f32, logSums.f32, input.f32, labels.i32, ignoreIndex, Float(labelSmoothing), Int64(rows),
            Int64(classes))

        let divisor = reduction == .mean ? Double(counted) : 1
        let shape = reduction == .none ? targets.shape : Shape()
        let result = try makeResult(shape, from: logits)
        if reduction == .none {
            result.f32.update(from: losses.f32, count: rows)
        } else {
            result.f32[0] = Float(sk_sum_f64(losses.f32, Int64(rows)) / divisor)
        }
        let slot = logits.gradient
        record(result) { [unowned self] (gradient) throws(SeamError) in
            let weights: Tensor
            if reduction == .none {
                weights = try self.contiguous(gradient)
            } else {
                weights = try self.full(Double(gradient.f32[0]) / divisor, .f32, targets.shape)
            }
            let target = try slot!.zeroedAccumulator(in: self)
            sk_cross_entropy_gradient(
                target.f32, weights.f32, input.f32, logSums.f32, labels.i32, ignoreIndex,
                Float(labelSmoothing), Int64(rows), Int64(classes))
        }
        return result
    }
}
