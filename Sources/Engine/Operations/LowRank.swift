import Kernels
import Support

extension Context {
    /// A low-rank update (LoRA, Hu et al. 2021, equation 3): y [..., out] plus `scale` times x [..., in] times a [rank,
    /// in] transposed, times b [out, rank] transposed. The matrices may be stored in half precision.
    ///
    /// In a pass without gradients, where nothing else can see y's memory, the sum is made there and y must not be used
    /// afterwards; else the result is a new tensor.
    public func linearLowRank(_ y: Tensor, _ x: Tensor, a: Tensor, b: Tensor, scale: Double) throws(SeamError) -> Tensor
    {
        try requireF32(y, "linear_low_rank")
        try requireF32(x, "linear_low_rank")
        guard a.rank == 2, b.rank == 2, a.dtype != .i32, b.dtype != .i32, a.shape[0] == b.shape[1] else {
            throw SeamError(
                .shape,
                "linear_low_rank: a [rank, in] and b [out, rank] do not fit each other: found \(a.shape) \(a.dtype.name) and \(b.shape) \(b.dtype.name)"
            )
        }
        let (outputs, inputs, rank) = (b.shape[0], a.shape[1], a.shape[0])
        guard x.rank >= 1, x.shape[x.rank - 1] == inputs, y.rank == x.rank, y.shape[y.rank - 1] == outputs,
            x.shape.dropLast().elementsEqual(y.shape.dropLast())
        else {
            throw SeamError(
                .shape, "linear_low_rank: y \(y.shape) and x \(x.shape) do not fit a \(a.shape) and b \(b.shape)")
        }
        try NativeEngine.start()
        let rows = x.shape.dropLast().reduce(1, *)
        let (m, n, k, r) = (Int64(rows), Int64(outputs), Int64(inputs), Int64(rank))
        let input = try contiguous(x.detached)
        let (down, up) = (try contiguous(widened(a.detached)), try contiguous(widened(b.detached)))
        let low = try makeTensor([rows, rank])
        sk_gemm(0, 1, m, r, k, 1, input.f32, k, down.f32, k, 0, low.f32, r)

        let result: Tensor
        if y.isContiguous, isScratch(y) {
            result = y
        } else {
            result = try makeResult(y.shape, from: y, x, a, b)
            copy(y, into: result)
        }
        sk_gemm(0, 1, m, n, r, Float(scale), low.f32, r, up.f32, r, 1, result.f32, n)

        let slots = (y: y.gradient, x: x.gradient, a: a.gradient, b: b.gradient)
        let keptInput = a.gradient == nil ? nil : input
        let keptLow = b.gradient == nil ? nil : low
        record(result) { [unowned self] (gradient) throws(SeamError) in
            if let slot = slots.y { try slot.add(shared: gradient, in: self) }
            let upstream = try self.contiguous(gradient)
            if let slot = slots.b {
                let (target, isFresh) = try slot.accumulator(in: self)
                sk_gemm(
                    1, 0, n, r, m, Float(scale), upstream.f32, n, keptLow!.f32, r, isFresh ? 0 : 1, target.f32, r)
            }
            guard slots.x != nil || slots.a != nil else { return }
            let lowGradient = try self.makeTensor([rows, rank])
            sk_gemm(0, 0, m, r, n, Float(scale), upstream.f32, n, up.f32, r, 0, lowGradient.f32, r)
            if let slot = slots.a {
                let (target, isFresh) = try slot.accumulator(in: self)
                sk_gemm(1, 0, r, k, m, 1, lowGradient.f32, r, keptInput!.f32, k, isFresh ? 0 : 1, target.f32, k)
            }
            if let slot = slots.x {
                let (target, isFresh) = try slot.accumulator(in: self)
                sk_gemm(0, 0, m, k, r, 1, lowGradient.f32, r, down.f32, k, isFresh ? 0 : 1, target.f32, k)
            }
        }
        return result
    }
}
