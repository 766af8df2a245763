import Kernels
import Support

extension Context {
    /// Rotary position embedding (Su et al. 2021, eq. 34) in the layout of halves: of every vector (x1, x2),
    /// x1 cos - x2 sin and x2 cos + x1 sin.
    ///
    /// - Parameters:
    ///   - x: [batch, heads, n, d], d even.
    ///   - cosine, sine: [batch or 1, n, d / 2], constants.
    /// - Returns: [batch, heads, n, d], with heads and n in memory in the order that x has them.
    public func rotary(_ x: Tensor, cosine: Tensor, sine: Tensor) throws(SeamError) -> Tensor {
        for operand in [x, cosine, sine] { try requireF32(operand, "rotary") }
        guard x.rank == 4, x.shape[3] % 2 == 0 else {
            throw SeamError(.shape, "rotary: x must be [batch, heads, n, d] with an even d, found \(x.shape)")
        }
        let (batch, count, half) = (x.shape[0], x.shape[2], x.shape[3] / 2)
        let shapes: [Shape] = [[batch, count, half], [1, count, half]]
        guard cosine.shape == sine.shape, shapes.contains(cosine.shape) else {
            throw SeamError(
                .shape,
                "rotary: cosine and sine must be [\(batch) or 1, \(count), \(half)] for x \(x.shape), "
                    + "found \(cosine.shape) and \(sine.shape)")
        }
        let tables = (cosine: try contiguous(cosine.detached), sine: try contiguous(sine.detached))
        let values = try rotated(x, tables, direction: 1)
        guard wantsGradient([x]) else { return values }
        let result = values.asLeaf
        let slot = x.gradient
        record(result) { [unowned self] (gradient) throws(SeamError) in
            try slot!.add(shared: try self.rotated(gradient, tables, direction: -1), in: self)
        }
        return result
    }

    /// The rotation, or for direction -1 its inverse, which is its transpose; no history.
    private func rotated(_ x: Tensor, _ tables: (cosine: Tensor, sine: Tensor), direction: Float) throws(SeamError)
        -> Tensor
    {
        let half = x.shape[3] / 2
        let tableStrides: Shape = [tables.cosine.shape[0] == 1 ? 0 : x.shape[2] * half, 0, half]
        // Projections split into heads lie as [batch, n, heads, d]: in that order every access is sequential.
        let axes: Shape = x.strides[1] < x.strides[2] ? [0, 2, 1, 3] : [0, 1, 2, 3]
        let packed = try makeTensor(Shape(axes.map { x.shape[$0] }))
        Shape(axes.map { x.strides[$0] }).withInt64 { strides in
            Shape(axes.dropLast().map { tableStrides[$0] }).withInt64 { tableStrides in
                packed.shape.withInt64 { shape in
                    sk_rotary(
                        packed.f32, x.f32, strides, tables.cosine.f32, tables.sine.f32, tableStrides, direction, shape)
                }
            }
        }
        // The order is its own inverse.
        return packed.view(shape: x.shape, strides: Shape(axes.map { packed.strides[$0] }), offset: 0)
    }
}
