import Kernels
import Support

extension Context {
    /// Reduces one axis to size 1, without history.
    func reduceRaw(_ op: sk_reduce_op, _ x: Tensor, axis: Int, index: Tensor? = nil) throws(SeamError) -> Tensor {
        let input = try contiguous(x)
        var shape = x.shape
        shape[axis] = 1
        let result = try makeTensor(shape)
        let outer = x.shape.prefix(axis).reduce(1, *)
        let inner = x.shape.dropFirst(axis + 1).reduce(1, *)
        sk_reduce(op, result.f32, index?.i32, input.f32, Int64(outer), Int64(x.shape[axis]), Int64(inner))
        return result
    }

    /// Validates, reduces and records; `backward` turns the gradient, with the axis kept, into x's.
    private func reduction(
        _ op: sk_reduce_op, _ x: Tensor, _ requested: Int, _ keep: Bool, _ operation: String,
        index: Tensor? = nil, backward: @escaping (Tensor, Int, GradientSlot) throws(SeamError) -> Void
    ) throws(SeamError) -> Tensor {
        try requireF32(x, operation)
        let axis = try axis(requested, of: x, operation)
        guard x.shape[axis] > 0 else {
            throw SeamError(.shape, "\(operation): axis \(requested) of shape \(x.shape) is empty")
        }
        let reduced = try reduceRaw(op, x.detached, axis: axis, index: index)
        let kept = reduced.shape
        var shape = kept
        if !keep { shape.remove(at: axis) }
        let result = reduced.view(
            shape: shape, strides: shape.contiguousStrides, offset: 0,
            gradient: wantsGradient([x]) ? GradientSlot(shape: shape) : nil)
        let slot = x.gradient
        record(result) { [unowned self] (gradient) throws(SeamError) in
            try backward(try self.reshape(gradient, kept), axis, slot!)
        }
        return result
    }

    /// Sum along an axis.
    public func sum(_ x: Tensor, axis: Int, keep: Bool) throws(SeamError) -> Tensor {
        try reduction(SK_SUM, x, axis, keep, "sum") { (gradient, _, slot) throws(SeamError) in
            try slot.add(shared: try self.contiguous(try self.expand(gradient, to: slot.shape)), in: self)
        }
    }

    /// Mean along an axis.
    public func mean(_ x: Tensor, axis: Int, keep: Bool) throws(SeamError) -> Tensor {
        try reduction(SK_MEAN, x, axis, keep, "mean") { (gradient, axis, slot) throws(SeamError) in
            let share = try self.affine(gradient, scale: 1 / Double(slot.shape[axis]), shift: 0)
            try slot.add(shared: try self.contiguous(try self.expand(share, to: slot.shape)), in: self)
        }
    }

    /// Maximum along an axis; the gradient goes to the first maximum.
    public func max(_ x: Tensor, axis requested: Int, keep: Bool) throws(SeamError) -> Tensor {
        let position = try axis(requested, of: x, "max")
        var shape = x.shape
        shape[position] = 1
        let index = try makeTensor(shape, .i32)
        return try reduction(SK_MAX, x, requested, keep, "max", index: index) {
            (gradient, axis, slot) throws(SeamError) in
            try self.scatter(gradient, index: index, axis: axis, into: slot)
        }
    }

    /// Position of the first maximum along an axis, i32.
    public func argmax(_ x: Tensor, axis requested: Int, keep: Bool) throws(SeamError) -> Tensor {
        try requireF32(x, "argmax")
        let axis = try axis(requested, of: x, "argmax")
        guard x.shape[axis] > 0 else {
            throw SeamError(.shape, "argmax: axis \(requested) of shape \(x.shape) is empty")
        }
        var shape = x.shape
        shape[axis] = 1
        let index = try makeTensor(shape, .i32)
        _ = try reduceRaw(SK_MAX, x.detached, axis: axis, index: index)
        if !keep { shape.remove(at: axis) }
        return index.view(shape: shape, strides: shape.contiguousStrides, offset: 0)
    }
}
