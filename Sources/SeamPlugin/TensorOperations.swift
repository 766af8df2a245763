import CSeam

// MARK: - Products

extension Tensor {
    /// [..., m, k] times [..., k, n]; leading axes broadcast. A flag reads that operand's last two axes
    /// exchanged.
    public func matmul(_ other: Tensor, transposed: Bool = false, transposeOther: Bool = false) -> Tensor {
        pass.tensor(
            pass.ops.pointee.matmul(
                pass.raw, handle, other.handle, transposed ? 1 : 0, transposeOther ? 1 : 0))
    }

    /// x [..., in] times weight [out, in] transposed, plus bias [out].
    public func linear(_ weight: Tensor, _ bias: Tensor? = nil) -> Tensor {
        pass.tensor(pass.ops.pointee.linear(pass.raw, handle, weight.handle, bias?.handle))
    }

    /// A low-rank update (LoRA, Hu et al. 2021, equation 3): this tensor [..., out] plus `scale` times x [..., in] a^T
    /// b^T, for a [rank, in] and b [out, rank]. The result may take this tensor's memory: do not use this tensor
    /// afterwards.
    public func linearLowRank(_ x: Tensor, _ a: Tensor, _ b: Tensor, scale: Double) -> Tensor {
        pass.tensor(pass.ops.pointee.linear_low_rank(pass.raw, handle, x.handle, a.handle, b.handle, scale))
    }

    /// Scaled dot-product attention of a query [b, h, q, dk] over key [b, g, k, dk] and value
    /// [b, g, k, dv], h a multiple of g. `bias` broadcasts to [b, h, q, k] and is added to the scaled
    /// scores; `mask` is i32 [b, k], 0 hides a key; causal: query i sees keys 0 ... i + (k - q).
    /// A query that sees no key gives zeros. Result [b, h, q, dv].
    public func attention(
        key: Tensor, value: Tensor, bias: Tensor? = nil, mask: Tensor? = nil, scale: Double, causal: Bool = false
    ) -> Tensor {
        pass.tensor(
            pass.ops.pointee.attention(
                pass.raw, handle, key.handle, value.handle, bias?.handle, mask?.handle, scale, causal ? 1 : 0))
    }

    /// Rotary position embedding (Su et al. 2021) of x [batch, heads, n, d], halves layout; cosine and sine
    /// [batch or 1, n, d/2], constants.
    public func rotary(cosine: Tensor, sine: Tensor) -> Tensor {
        pass.tensor(pass.ops.pointee.rotary(pass.raw, handle, cosine.handle, sine.handle))
    }
}

// MARK: - Normalisation

extension Tensor {
    public func softmax(_ axis: Int = -1) -> Tensor {
        pass.tensor(pass.ops.pointee.softmax(pass.raw, handle, Int32(axis)))
    }
    public func logSoftmax(_ axis: Int = -1) -> Tensor {
        pass.tensor(pass.ops.pointee.log_softmax(pass.raw, handle, Int32(axis)))
    }
    /// Over the last axis; weight and bias [d].
    public func layerNorm(_ weight: Tensor? = nil, _ bias: Tensor? = nil, epsilon: Double) -> Tensor {
        pass.tensor(pass.ops.pointee.layer_norm(pass.raw, handle, weight?.handle, bias?.handle, epsilon))
    }
    /// Over the last axis, without centring; weight [d].
    public func rmsNorm(_ weight: Tensor? = nil, epsilon: Double) -> Tensor {
        pass.tensor(pass.ops.pointee.rms_norm(pass.raw, handle, weight?.handle, epsilon))
    }
    /// x / max(||x||, epsilon) over the last axis.
    public func l2Normalized(epsilon: Double = 1e-12) -> Tensor {
        pass.tensor(pass.ops.pointee.l2_normalize(pass.raw, handle, epsilon))
    }
}

// MARK: - Reductions over one axis; `keep` leaves it with size 1

extension Tensor {
    public func sum(_ axis: Int, keep: Bool = false) -> Tensor {
        pass.tensor(pass.ops.pointee.sum(pass.raw, handle, Int32(axis), keep ? 1 : 0))
    }
    public func mean(_ axis: Int, keep: Bool = false) -> Tensor {
        pass.tensor(pass.ops.pointee.mean(pass.raw, handle, Int32(axis), keep ? 1 : 0))
    }
    /// The gradient goes to the first maximum.
    public func max(_ axis: Int, keep: Bool = false) -> Tensor {
        pass.tensor(pass.ops.pointee.max(pass.raw, handle, Int32(axis), keep ? 1 : 0))
    }
    /// i32, no gradient.
    public func argmax(_ axis: Int, keep: Bool = false) -> Tensor {
        pass.tensor(pass.ops.pointee.argmax(pass.raw, handle, Int32(axis), keep ? 1 : 0))
    }
}

// MARK: - Shape, for any element type

extension Tensor {
    /// One size may be -1: what is left over.
    public func reshape(_ shape: [Int]) -> Tensor {
        pass.tensor(withSizes(shape) { pass.ops.pointee.reshape(pass.raw, handle, $0, $1) })
    }
    /// A permutation of all axes: axis i of the result is axis `axes[i]` of this tensor.
    public func permute(_ axes: [Int32]) -> Tensor {
        pass.tensor(pass.ops.pointee.permute(pass.raw, handle, axes, Int32(axes.count)))
    }
    /// Broadcast to `shape`.
    public func expand(_ shape: [Int]) -> Tensor {
        pass.tensor(withSizes(shape) { pass.ops.pointee.expand(pass.raw, handle, $0, $1) })
    }
    /// `length` elements from `start` along an axis.
    public func slice(_ axis: Int, from start: Int, length: Int) -> Tensor {
        pass.tensor(pass.ops.pointee.slice(pass.raw, handle, Int32(axis), Int64(start), Int64(length)))
    }
    /// This tensor followed by others along an axis; other sizes are equal.
    public func concat(_ others: [Tensor], axis: Int) -> Tensor {
        let parts = [handle] + others.map { $0.handle }
        return pass.tensor(
            parts.withUnsafeBufferPointer {
                pass.ops.pointee.concat(pass.raw, $0.baseAddress, $0.count, Int32(axis))
            })
    }
}

// MARK: - By index, and the loss

extension Tensor {
    /// Rows of this table [n, d] by ids (i32, any shape) -> [ids..., d]. An id outside 0 ... n-1 fails.
    public func embedding(_ ids: Tensor) -> Tensor { apply(pass.ops.pointee.embedding, ids) }

    /// This tensor with `axis` replaced by its slices at `index` (i32, rank 1).
    public func indexSelect(_ axis: Int, _ index: Tensor) -> Tensor {
        pass.tensor(pass.ops.pointee.index_select(pass.raw, handle, Int32(axis), index.handle))
    }
    /// Element-wise choice along an axis: `index` (i32) has this tensor's other sizes.
    public func gather(_ axis: Int, _ index: Tensor) -> Tensor {
        pass.tensor(pass.ops.pointee.gather(pass.raw, handle, Int32(axis), index.handle))
    }

    /// How a loss over many positions becomes a number.
    public enum Reduction: Int32 {
        case none = 0
        case sum = 1
        case mean = 2
    }

    /// Cross-entropy of these logits [..., classes] with targets i32 [...]; positions whose target is
    /// `ignoring` count nothing. `mean` divides by the counted positions and fails when there is none.
    public func crossEntropy(
        _ targets: Tensor, ignoring: Int = -100, labelSmoothing: Double = 0, reduction: Reduction = .mean
    ) -> Tensor {
        pass.tensor(
            pass.ops.pointee.cross_entropy(
                pass.raw, handle, targets.handle, Int32(ignoring), labelSmoothing, reduction.rawValue))
    }
}

/// Sizes as C reads them. On the platforms of version 1.0 (64 bits) Int and int64_t share their layout,
/// so a decoding step copies nothing.
func withSizes<Result>(_ sizes: [Int], _ body: (UnsafePointer<Int64>?, Int32) -> Result) -> Result {
    sizes.withUnsafeBufferPointer { sizes in
        sizes.withMemoryRebound(to: Int64.self) { body($0.baseAddress, Int32($0.count)) }
    }
}
