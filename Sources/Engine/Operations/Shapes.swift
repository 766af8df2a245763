import Kernels
import Support

extension Context {
    /// An axis counted from the front, or an error naming the operation.
    func axis(_ axis: Int, of x: Tensor, _ operation: String) throws(SeamError) -> Int {
        let resolved = axis < 0 ? axis + x.rank : axis
        guard resolved >= 0 && resolved < x.rank else {
            throw SeamError(.shape, "\(operation): axis \(axis) is out of range for shape \(x.shape)")
        }
        return resolved
    }

    /// A tensor of the same elements in row-major order under another shape; one size may be -1. A view where x's layout
    /// allows it, else a copy.
    public func reshape(_ x: Tensor, _ requested: Shape) throws(SeamError) -> Tensor {
        var shape = requested
        let open = shape.firstIndex(of: -1)
        if let open { shape[open] = 1 }
        guard shape.isAddressable else {
            throw SeamError(
                .shape, "reshape: shape \(requested) has more than one unknown, a negative size or too many elements")
        }
        if let open { shape[open] = shape.elementCount == 0 ? 0 : x.elementCount / shape.elementCount }
        guard shape.elementCount == x.elementCount else {
            throw SeamError(.shape, "reshape: \(x.shape) has \(x.elementCount) elements, \(requested) does not")
        }
        let result: Tensor
        if let strides = viewStrides(of: x, as: shape) {
            result = makeView(of: x, shape: shape, strides: strides, offset: x.offset)
        } else {
            result = try copied(x).view(
                shape: shape, strides: shape.contiguousStrides, offset: 0,
                gradient: wantsGradient([x]) ? GradientSlot(shape: shape) : nil)
        }
        let slot = x.gradient
        record(result) { [unowned self] (gradient) throws(SeamError) in
            try slot!.add(shared: try self.reshape(gradient, slot!.shape), in: self)
        }
        return result
    }

    /// Strides that show x's memory in row-major order under `shape`, or nil if that needs a copy: runs of axes
    /// that are contiguous among themselves can be regrouped freely.
    private func viewStrides(of x: Tensor, as shape: Shape) -> Shape? {
        if x.isContiguous || x.elementCount == 0 { return shape.contiguousStrides }
        var strides = Shape(repeating: 0, count: shape.count)
        var target = shape.count - 1
        var source = x.rank - 1
        while source >= 0 {
            if x.shape[source] == 1 {
                source -= 1
                continue
            }
            // A maximal run of source axes that lie one inside the other.
            let innermost = x.strides[source]
            var run = x.shape[source]
            while source > 0 && (x.shape[source - 1] == 1 || x.strides[source - 1] == innermost * run) {
                run *= x.shape[source - 1]
                source -= 1
            }
            var step = innermost
            while target >= 0 && run > 1 && run % shape[target] == 0 {
                strides[target] = step
                step *= shape[target]
                run /= shape[target]
                target -= 1
            }
            guard run == 1 else { return nil }
            source -= 1
        }
        return strides
    }

    /// Result axis i is x's axis `axes[i]`. A view.
    public func permute(_ x: Tensor, _ axes: Shape) throws(SeamError) -> Tensor {
        var inverse = Shape(repeating: -1, count: x.rank)
        guard axes.count == x.rank, axes.allSatisfy({ $0 >= 0 && $0 < x.rank }) else {
            throw SeamError(.shape, "permute: axes \(axes) are no permutation for shape \(x.shape)")
        }
        for (position, axis) in axes.enumerated() { inverse[axis] = position }
        guard !inverse.contains(-1) else {
            throw SeamError(.shape, "permute: axes \(axes) name an axis twice")
        }
        let result = makeView(
            of: x, shape: Shape(axes.map { x.shape[$0] }), strides: Shape(axes.map { x.strides[$0] }),
            offset: x.offset)
        let slot = x.gradient
        record(result) { [unowned self] (gradient) throws(SeamError) in
            try slot!.add(shared: try self.permute(gradient, inverse), in: self)
        }
        return result
    }

    /// Broadcasts x to `shape`. A view.
    public func expand(_ x: Tensor, to shape: Shape) throws(SeamError) -> Tensor {
        guard shape.isAddressable, Shape.broadcast(x.shape, shape) == shape else {
            throw SeamError(.shape, "expand: \(x.shape) does not broadcast to \(shape)")
        }
        let result = makeView(of: x, shape: shape, strides: broadcastStrides(x, to: shape), offset: x.offset)
        let slot = x.gradient
        record(result) { [unowned self] (gradient) throws(SeamError) in
            try slot!.add(shared: try self.unbroadcast(gradient, to: slot!.shape), in: self)
        }
        return result
    }

    /// `length` elements from `start` along `axis`. A view.
    public func slice(_ x: Tensor, axis requested: Int, start: Int, length: Int) throws(SeamError) -> Tensor {
        let axis = try axis(requested, of: x, "slice")
        guard start >= 0, length >= 0, start <= x.shape[axis] - length else {
            throw SeamError(
                .shape, "slice: \(length) elements from \(start) do not fit axis \(axis) of shape \(x.shape)")
        }
        var shape = x.shape
        shape[axis] = length
        let result = makeView(of: x, shape: shape, strides: x.strides, offset: x.offset + start * x.strides[axis])
        let slot = x.gradient
        record(result) { [unowned self] (gradient) throws(SeamError) in
            let accumulated = try slot!.zeroedAccumulator(in: self)
            try self.accumulate(
                gradient,
                into: accumulated.view(
                    shape: shape, strides: accumulated.strides,
                    offset: accumulated.offset + start * accumulated.strides[axis]))
        }
        return result
    }

    /// target (a view without aliases) += source, of the same shape.
    func accumulate(_ source: Tensor, into target: Tensor) throws(SeamError) {
        let contiguousSource = try contiguous(source)
        target.strides.withInt64 { strides in
            target.shape.withInt64 { shape in
                sk_accumulate_strided(target.f32, strides, contiguousSource.f32, shape, Int32(target.rank))
            }
        }
    }

    /// Joins parts along an axis; other sizes and dtypes must be equal.
    public func concat(_ parts: [Tensor], axis requested: Int) throws(SeamError) -> Tensor {
        guard let first = parts.first else { throw SeamError(.invalidArgument, "concat: no parts") }
        let axis = try axis(requested, of: first, "concat")
        var shape = first.shape
        shape[axis] = 0
        for part in parts {
            var other = part.shape
            guard part.rank == first.rank, part.dtype == first.dtype else {
                throw SeamError(
                    .shape, "concat: \(part.shape) \(part.dtype.name) and \(first.shape) \(first.dtype.name) differ")
            }
            other[axis] = first.shape[axis]
            guard other == first.shape else {
                throw SeamError(.shape, "concat: \(part.shape) and \(first.shape) differ beside axis \(axis)")
            }
            shape[axis] += part.shape[axis]
        }
        let result = try makeTensor(shape, first.dtype, requiresGradient: wantsGradient(parts))
        let outer = shape.prefix(axis).reduce(1, *)
        let inner = shape.dropFirst(axis + 1).reduce(first.dtype.byteCount, *)
        var position = 0
        for part in parts {
            let source = try contiguous(part)
            let run = part.shape[axis] * inner
            for index in 0..<outer {
                (result.baseAddress + (index * shape[axis] + position) * inner)
                    .copyMemory(from: source.baseAddress + index * run, byteCount: run)
            }
            position += part.shape[axis]
        }
        let pieces = parts.map { ($0.gradient, $0.shape[axis]) }
        record(result) { [unowned self] (gradient) throws(SeamError) in
            var start = 0
            for (slot, length) in pieces {
                try slot?.add(
                    shared: try self.slice(gradient.detached, axis: axis, start: start, length: length), in: self)
                start += length
            }
        }
        return result
    }
}
