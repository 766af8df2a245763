import Kernels
import Support

extension Context {
    /// Contiguous i32 indices, all in 0 ..< limit.
    private func checkedIndices(_ index: Tensor, below limit: Int, _ operation: String, _ what: String)
        throws(SeamError) -> Tensor
    {
        guard index.dtype == .i32 else {
            throw SeamError(.shape, "\(operation): \(what) must be i32, found \(index.dtype.name)")
        }
        let indices = try contiguous(index)
        for position in 0..<indices.elementCount {
            let value = indices.i32[position]
            guard value >= 0 && value < limit else {
                throw SeamError(
                    .invalidArgument,
                    "\(operation): \(what) \(value) at position \(position) is outside 0 ... \(limit - 1)")
            }
        }
        return indices
    }

    /// Rows of weight [n, d] (f32, bf16 or f16) by ids (i32, any shape) -> [ids..., d].
    public func embedding(_ weight: Tensor, ids: Tensor) throws(SeamError) -> Tensor {
        guard weight.rank == 2, weight.dtype != .i32 else {
            throw SeamError(.shape, "embedding: weight must be [n, d], found \(weight.shape) \(weight.dtype.name)")
        }
        let (count, width) = (weight.shape[0], weight.shape[1])
        let indices = try checkedIndices(ids, below: count, "embedding", "token id")
        guard ids.rank < maxRank else { throw SeamError(.shape, "embedding: ids have too many axes: \(ids.shape)") }
        let table = try contiguous(weight.detached)
        var shape = ids.shape
        shape.append(width)
        let result = try makeResult(shape, from: weight)
        sk_gather_rows(
            result.f32, table.baseAddress, table.dtype.storageKind, indices.i32, Int64(indices.elementCount),
            Int64(width))
        let slot = weight.gradient
        record(result) { [unowned self] (gradient) throws(SeamError) in
            let target = try slot!.zeroedAccumulator(in: self)
            let upstream = try self.contiguous(gradient)
            sk_scatter_add_rows(
                target.f32, upstream.f32, indices.i32, Int64(indices.elementCount), Int64(width))
        }
        return result
    }

    /// x with `axis` replaced by x's slices at `index` (i32, rank 1).
    public func indexSelect(_ x: Tensor, axis requested: Int, index: Tensor) throws(SeamError) -> Tensor {
        let axis = try axis(requested, of: x, "index_select")
        guard index.rank == 1 else {
            throw SeamError(.shape, "index_select: index must have 1 axis, found \(index.shape)")
        }
        guard x.dtype.byteCount == 4 else {
            throw SeamError(.unsupported, "index_select: dtype must be f32 or i32, found \(x.dtype.name)")
        }
        let indices = try checkedIndices(index, below: x.shape[axis], "index_select", "index")
        let input = try contiguous(x.detached)
        var shape = x.shape
        shape[axis] = indices.elementCount
        let result = try makeTensor(shape, x.dtype, requiresGradient: wantsGradient([x]))
        let outer = x.shape.prefix(axis).reduce(1, *)
        let inner = x.shape.dropFirst(axis + 1).reduce(1, *)
        for (target, source) in sliceOffsets(indices, outer: outer, size: x.shape[axis], inner: inner) {
            (result.i32 + target).update(from: input.i32 + source, count: inner)
        }
        let slot = x.gradient
        record(result) { [unowned self] (gradient) throws(SeamError) in
            let accumulated = try slot!.zeroedAccumulator(in: self)
            let upstream = try self.contiguous(gradient)
            for (from, to) in self.sliceOffsets(indices, outer: outer, size: slot!.shape[axis], inner: inner) {
                sk_axpy(accumulated.f32 + to, upstream.f32 + from, 1, Int64(inner))
            }
        }
        return result
    }

    /// Pairs of element offsets: of a slice in the selection, and of its origin in the whole.
    private func sliceOffsets(_ indices: Tensor, outer: Int, size: Int, inner: Int) -> [(Int, Int)] {
        let count = indices.elementCount
        return (0..<outer * count).map { position in
            let origin = Int(indices.i32[position % count])
            return (position * inner, (position / count * size + origin) * inner)
        }
    }

    /// result[..., i, ...] = x[..., index[..., i, ...], ...] along an axis; index i32 of x's rank, equal to x in
    /// every other size.
    public func gather(_ x: Tensor, axis requested: Int, index: Tensor) throws(SeamError) -> Tensor {
        try requireF32(x, "gather")
        let axis = try axis(requested, of: x, "gather")
        var expected = x.shape
        if index.rank == x.rank { expected[axis] = index.shape[axis] }
        guard index.shape == expected else {
            throw SeamError(.shape, "gather: index \(index.shape) does not fit \(x.shape) along axis \(axis)")
        }
        let indices = try checkedIndices(index, below: x.shape[axis], "gather", "index")
        let input = try contiguous(x.detached)
        let result = try makeResult(index.shape, from: x)
        let inner = x.shape.dropFirst(axis + 1).reduce(1, *)
        let (size, count) = (x.shape[axis], index.shape[axis])
        for position in 0..<indices.elementCount {
            let outer = position / (count * inner)
            result.f32[position] =
                input.f32[(outer * size + Int(indices.i32[position])) * inner + position % inner]
        }
        let slot = x.gradient
        record(result) { [unowned self] (gradient) throws(SeamError) in
            try self.scatter(gradient, index: indices, axis: axis, into: slot!)
        }
        return result
    }

    /// slot[..., index[..., i, ...], ...] += gradient[..., i, ...] along axis; index contiguous.
    func scatter(_ gradient: Tensor, index: Tensor, axis: Int, into slot: GradientSlot) throws(SeamError) {
        let target = try slot.zeroedAccumulator(in: self)
        let upstream = try contiguous(gradient)
        let inner = slot.shape.dropFirst(axis + 1).reduce(1, *)
        let (size, count) = (slot.shape[axis], index.shape[axis])
        for position in 0..<index.elementCount {
            let outer = position / (count * inner)
            target.f32[(outer * size + Int(index.i32[position])) * inner + position % inner] += upstream.f32[position]
        }
    }
}
