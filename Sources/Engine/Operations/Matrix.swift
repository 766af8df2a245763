import Kernels
import Support

/// How BLAS reads the last two axes of a tensor.
private struct MatrixLayout {
    let isTransposed: Bool
    let leadingDimension: Int

    /// Nil when neither axis has stride 1.
    init?(_ x: Tensor) {
        let (rows, columns) = (x.shape[x.rank - 2], x.shape[x.rank - 1])
        let (rowStride, columnStride) = (x.strides[x.rank - 2], x.strides[x.rank - 1])
        if (columnStride == 1 || columns == 1) && (rowStride >= columns || rows == 1) {
            isTransposed = false
            leadingDimension = Swift.max(rows == 1 ? columns : rowStride, 1)
        } else if (rowStride == 1 || rows == 1) && (columnStride >= rows || columns == 1) {
            isTransposed = true
            leadingDimension = Swift.max(columns == 1 ? rows : columnStride, 1)
        } else {
            return nil
        }
    }
}

extension Context {
    /// x as f32 of the same shape; itself if it is, widened if it is a half-precision weight.
    func widened(_ x: Tensor) throws(SeamError) -> Tensor {
        x.dtype == .f32 ? x : try cast(x, to: .f32)
    }

    /// [..., m, k] x [..., k, n] -> [..., m, n]; leading axes broadcast; a flag reads the operand's last two axes
    /// exchanged.
    public func matmul(_ a: Tensor, _ b: Tensor, transposeA: Bool = false, transposeB: Bool = false)
        throws(SeamError) -> Tensor
    {
        try requireF32(a, "matmul")
        try requireF32(b, "matmul")
        guard a.rank >= 2, b.rank >= 2 else {
            throw SeamError(.shape, "matmul: operands need at least 2 axes, found \(a.shape) and \(b.shape)")
        }
        if b.rank == 2 && a.rank > 2 && !transposeA {
            // One product over all rows instead of one a batch entry.
            let flat = try reshape(a, [a.shape.dropLast().reduce(1, *), a.shape[a.rank - 1]])
            let product = try matmul(flat, b, transposeB: transposeB)
            var shape = a.shape
            shape[a.rank - 1] = product.shape[1]
            return try reshape(product, shape)
        }
        let shape = try productShape(a, b, transposeA, transposeB)
        let result = try makeResult(shape, from: a, b)
        try multiply(a, b, transposeA, transposeB, into: result)
        let slots = (a.gradient, b.gradient)
        let valueA = b.gradient == nil ? nil : a.detached
        let valueB = a.gradient == nil ? nil : b.detached
        record(result) { [unowned self] (gradient) throws(SeamError) in
            if let slot = slots.0 {
                let product =
                    transposeA
                    ? try self.matmul(valueB!, gradient, transposeA: transposeB, transposeB: true)
                    : try self.matmul(gradient, valueB!, transposeB: !transposeB)
                try slot.add(shared: try self.unbroadcast(product, to: slot.shape), in: self)
            }
            if let slot = slots.1 {
                let product =
                    transposeB
                    ? try self.matmul(gradient, valueA!, transposeA: true, transposeB: transposeA)
                    : try self.matmul(valueA!, gradient, transposeA: !transposeA)
                try slot.add(shared: try self.unbroadcast(product, to: slot.shape), in: self)
            }
        }
        return result
    }

    private func productShape(_ a: Tensor, _ b: Tensor, _ transposeA: Bool, _ transposeB: Bool)
        throws(SeamError) -> Shape
    {
        let (m, k) =
            transposeA
            ? (a.shape[a.rank - 1], a.shape[a.rank - 2]) : (a.shape[a.rank - 2], a.shape[a.rank - 1])
        let (inner, n) =
            transposeB
            ? (b.shape[b.rank - 1], b.shape[b.rank - 2]) : (b.shape[b.rank - 2], b.shape[b.rank - 1])
        guard k == inner, var shape = Shape.broadcast(Shape(a.shape.dropLast(2)), Shape(b.shape.dropLast(2))),
            shape.count + 2 <= maxRank
        else {
            throw SeamError(
                .shape,
                "matmul: \(a.shape)\(transposeA ? " transposed" : "") and \(b.shape)\(transposeB ? " transposed" : "") do not fit"
            )
        }
        shape.append(m)
        shape.append(n)
        return shape
    }

    /// result (any layout whose last axis has stride 1) = scale * op(a) op(b), `adding` to what it holds, no history.
    func multiply(
        _ a: Tensor, _ b: Tensor, _ transposeA: Bool, _ transposeB: Bool, scale: Float = 1, adding: Bool = false,
        into result: Tensor
    ) throws(SeamError) {
        try NativeEngine.start()
        let left = MatrixLayout(a) == nil ? try contiguous(a) : a
        let right = MatrixLayout(b) == nil ? try contiguous(b) : b
        let layoutA = MatrixLayout(left)!
        let layoutB = MatrixLayout(right)!
        let rank = result.rank
        let (m, n) = (Int64(result.shape[rank - 2]), Int64(result.shape[rank - 1]))
        let k = Int64(left.shape[left.rank - (transposeA ? 2 : 1)])
        let flagA: Int32 = transposeA != layoutA.isTransposed ? 1 : 0
        let flagB: Int32 = transposeB != layoutB.isTransposed ? 1 : 0
        let ldc = Int64(result.shape[rank - 2] == 1 ? result.shape[rank - 1] : result.strides[rank - 2])
        let batch = Shape(result.shape.dropLast(2))
        if batch.elementCount == 1 {
            sk_gemm(
                flagA, flagB, m, n, k, scale, left.f32, Int64(layoutA.leadingDimension), right.f32,
                Int64(layoutB.leadingDimension), adding ? 1 : 0, result.f32, ldc)
            return
        }
        sk_gemm_batch(
            flagA, flagB, m, n, k, scale, left.f32, batchOffsets(left, batch), Int64(layoutA.leadingDimension),
            right.f32, batchOffsets(right, batch), Int64(layoutB.leadingDimension), adding ? 1 : 0, result.f32,
            batchOffsets(result, batch), ldc, Int64(batch.elementCount))
    }

    /// The start of each matrix of a batch, counted from the tensor's first element. An axis shorter than the batch's repeats
    /// each entry in turn: all of it for a broadcast axis, h / g times for the groups of grouped attention heads.
    private func batchOffsets(_ x: Tensor, _ batch: Shape) -> [Int64] {
        let lead = batch.count - (x.rank - 2)
        var offsets = [Int64](repeating: 0, count: batch.elementCount)
        var repeats = 1
        for axis in stride(from: batch.count - 1, through: 0, by: -1) {
            let source = axis - lead
            if source >= 0 && x.shape[source] != 1 {
                let step = Int64(x.strides[source])
                let shared = batch[axis] / x.shape[source]
                for index in 0..<offsets.count {
                    offsets[index] += Int64(index / repeats % batch[axis] / shared) * step
                }
            }
            repeats *= batch[axis]
        }
        return offsets
    }

    /// x [..., in] times weight [out, in] transposed, plus bias [out] -> [..., out]. The weight may be stored in
    /// half precision; it is widened panel by panel. One that lies in memory as [in, out] (a permuted view) is read so.
    public func linear(_ x: Tensor, weight: Tensor, bias: Tensor?) throws(SeamError) -> Tensor {
        try requireF32(x, "linear")
        guard weight.rank == 2, x.rank >= 1, x.shape[x.rank - 1] == weight.shape[1], weight.dtype != .i32 else {
            throw SeamError(
                .shape, "linear: input \(x.shape) does not fit weight \(weight.shape) \(weight.dtype.name) [out, in]")
        }
        let (outputs, inputs) = (weight.shape[0], weight.shape[1])
        if let bias {
            guard bias.shape == [outputs] else {
                throw SeamError(.shape, "linear: bias must be [\(outputs)], found \(bias.shape)")
            }
        }
        let rows = x.shape.dropLast().reduce(1, *)
        let input = try contiguous(x.detached)
        var shape = x.shape
        shape[x.rank - 1] = outputs
        let result = try makeResult(shape, from: x, weight, bias)
        let isTransposed = !weight.isContiguous && weight.strides == [1, outputs]
        let matrix = isTransposed ? weight.detached : try contiguous(weight.detached)
        try multiply(input, by: matrix, forward: true, rows: rows, into: result)
        if let bias {
            let values = try contiguous(widened(bias))
            sk_add_bias(result.f32, values.f32, Int64(rows), Int64(outputs))
        }

        let slots = (x: x.gradient, weight: weight.gradient, bias: bias?.gradient)
        let keptInput = weight.gradient == nil ? nil : input
        record(result) { [unowned self] (gradient) throws(SeamError) in
            let upstream = try self.contiguous(gradient)
            let (m, n, k) = (Int64(rows), Int64(outputs), Int64(inputs))
            if let slot = slots.x {
                if matrix.dtype == .f32 {
                    let (target, isFresh) = try slot.accumulator(in: self)
                    try self.multiply(upstream, by: matrix, forward: false, rows: rows, into: target, adding: !isFresh)
                } else {
                    let product = try self.makeTensor(slot.shape)
                    try self.multiply(upstream, by: matrix, forward: false, rows: rows, into: product)
                    try slot.add(shared: product, in: self)
                }
            }
            if let slot = slots.weight {
                let (target, isFresh) = try slot.accumulator(in: self)
                sk_gemm(1, 0, n, k, m, 1, upstream.f32, n, keptInput!.f32, k, isFresh ? 0 : 1, target.f32, k)
            }
            if let slot = slots.bias {
                let target = try slot.zeroedAccumulator(in: self)
                sk_sum_rows(target.f32, upstream.f32, m, n)
            }
        }
        return result
    }

    /// result = input W^T (`forward`) or input W for a weight [out, in] that lies in memory as that or as [in, out];
    /// added to what the result holds for an f32 weight, if so asked.
    private func multiply(
        _ input: Tensor, by weight: Tensor, forward: Bool, rows: Int, into result: Tensor, adding: Bool = false
    ) throws(SeamError) {
        try NativeEngine.start()
        let isTransposed = !weight.isContiguous
        let (outputs, inputs) = (Int64(weight.shape[0]), Int64(weight.shape[1]))
        let (m, n, k) = (Int64(rows), forward ? outputs : inputs, forward ? inputs : outputs)
        let step = isTransposed ? outputs : inputs
        if weight.dtype == .f32 {
            sk_gemm(
                0, forward == isTransposed ? 0 : 1, m, n, k, 1, input.f32, k, weight.f32, step, adding ? 1 : 0,
                result.f32, n)
            return
        }
        let product = forward == isTransposed ? sk_gemm_half_nn : sk_gemm_half
        guard product(m, n, k, input.f32, k, weight.dtype.storageKind, weight.u16, step, result.f32, n) else {
            throw SeamError(.outOfMemory, "out of memory for the product with a weight in half precision")
        }
    }
}
