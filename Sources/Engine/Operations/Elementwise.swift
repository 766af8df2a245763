import Kernels
import Support

public enum UnaryOperation: Sendable {
    case neg, exp, log, sqrt, rsqrt, square, abs, reciprocal, tanh, sigmoid, relu, gelu, geluTanh, silu

    var kernel: sk_unary_op {
        switch self {
        case .neg: SK_NEG
        case .exp: SK_EXP
        case .log: SK_LOG
        case .sqrt: SK_SQRT
        case .rsqrt: SK_RSQRT
        case .square: SK_SQUARE
        case .abs: SK_ABS
        case .reciprocal: SK_RECIPROCAL
        case .tanh: SK_TANH
        case .sigmoid: SK_SIGMOID
        case .relu: SK_RELU
        case .gelu: SK_GELU
        case .geluTanh: SK_GELU_TANH
        case .silu: SK_SILU
        }
    }
}

/// out (contiguous) = a op b, both broadcast to out's shape.
func binary(_ op: sk_binary_op, into out: Tensor, _ a: Tensor, _ b: Tensor) {
    let stridesA = broadcastStrides(a, to: out.shape)
    let stridesB = broadcastStrides(b, to: out.shape)
    stridesA.withInt64 { stridesA in
        stridesB.withInt64 { stridesB in
            out.shape.withInt64 { shape in
                sk_binary(op, out.f32, a.f32, stridesA, b.f32, stridesB, shape, Int32(out.rank))
            }
        }
    }
}

/// Strides that read `x` as if it had `shape`: 0 along broadcast axes.
func broadcastStrides(_ x: Tensor, to shape: Shape) -> Shape {
    var strides = Shape(repeating: 0, count: shape.count)
    let lead = shape.count - x.rank
    for axis in 0..<x.rank where x.shape[axis] != 1 { strides[lead + axis] = x.strides[axis] }
    return strides
}

extension Context {
    func requireF32(_ x: Tensor, _ operation: String) throws(SeamError) {
        guard x.dtype == .f32 else {
            throw SeamError(.shape, "\(operation): dtype must be f32, found \(x.dtype.name)")
        }
    }

    private func broadcastShape(_ a: Tensor, _ b: Tensor, _ name: String) throws(SeamError) -> Shape {
        try requireF32(a, name)
        try requireF32(b, name)
        guard let shape = Shape.broadcast(a.shape, b.shape) else {
            throw SeamError(.shape, "\(name): shapes \(a.shape) and \(b.shape) do not broadcast")
        }
        return shape
    }

    /// Sums `gradient` over the axes that were broadcast, back to `shape`.
    func unbroadcast(_ gradient: Tensor, to shape: Shape) throws(SeamError) -> Tensor {
        if gradient.shape == shape { return gradient }
        var current = try contiguous(gradient)
        let lead = current.rank - shape.count
        if lead > 0 {
            let kept = Shape(current.shape.dropFirst(lead))
            let summed = try makeTensor(kept)
            let outer = current.shape.prefix(lead).reduce(1, *)
            sk_reduce(SK_SUM, summed.f32, nil, current.f32, 1, Int64(outer), Int64(kept.elementCount))
            current = summed
        }
        for axis in 0..<shape.count where shape[axis] == 1 && current.shape[axis] != 1 {
            current = try reduceRaw(SK_SUM, current, axis: axis)
        }
        return current
    }

    /// a + b, NumPy broadcast.
    public func add(_ a: Tensor, _ b: Tensor) throws(SeamError) -> Tensor {
        let result = try makeResult(try broadcastShape(a, b, "add"), from: a, b)
        binary(SK_ADD, into: result, a, b)
        let slots = (a.gradient, b.gradient)
        record(result) { [unowned self] (gradient) throws(SeamError) in
            for case let slot? in [slots.0, slots.1] {
                try slot.add(shared: try self.unbroadcast(gradient, to: slot.shape), in: self)
            }
        }
        return result
    }

    /// a - b, NumPy broadcast.
    public func sub(_ a: Tensor, _ b: Tensor) throws(SeamError) -> Tensor {
        let result = try makeResult(try broadcastShape(a, b, "sub"), from: a, b)
        binary(SK_SUB, into: result, a, b)
        let slots = (a.gradient, b.gradient)
        record(result) { [unowned self] (gradient) throws(SeamError) in
            try slots.0?.add(shared: try self.unbroadcast(gradient, to: slots.0!.shape), in: self)
            if let slot = slots.1 {
                let negated = try self.affine(try self.unbroadcast(gradient, to: slot.shape), scale: -1, shift: 0)
                try slot.add(shared: negated, in: self)
            }
        }
        return result
    }

    /// a * b, NumPy broadcast.
    public func mul(_ a: Tensor, _ b: Tensor) throws(SeamError) -> Tensor {
        let result = try makeResult(try broadcastShape(a, b, "mul"), from: a, b)
        binary(SK_MUL, into: result, a, b)
        // Each operand's values matter only to the other's gradient.
        let valueA = b.gradient == nil ? nil : a.detached
        let valueB = a.gradient == nil ? nil : b.detached
        let slots = (a.gradient, b.gradient)
        record(result) { [unowned self] (gradient) throws(SeamError) in
            if let slot = slots.0 { try self.addProduct(gradient, valueB!, to: slot) }
            if let slot = slots.1 { try self.addProduct(gradient, valueA!, to: slot) }
        }
        return result
    }

    private func addProduct(_ gradient: Tensor, _ factor: Tensor, to slot: GradientSlot) throws(SeamError) {
        let product = try makeTensor(gradient.shape)
        binary(SK_MUL, into: product, gradient, factor)
        try slot.add(shared: try unbroadcast(product, to: slot.shape), in: self)
    }

    /// a / b, NumPy broadcast.
    public func div(_ a: Tensor, _ b: Tensor) throws(SeamError) -> Tensor {
        let result = try makeResult(try broadcastShape(a, b, "div"), from: a, b)
        binary(SK_DIV, into: result, a, b)
        let slots = (a.gradient, b.gradient)
        let divisor = b.detached
        let quotient = result.detached
        record(result) { [unowned self] (gradient) throws(SeamError) in
            let overB = try self.makeTensor(gradient.shape)
            binary(SK_DIV, into: overB, gradient, divisor)
            try slots.0?.add(shared: try self.unbroadcast(overB, to: slots.0!.shape), in: self)
            if let slot = slots.1 {
                // d(a/b)/db = -(a/b)/b
                let product = try self.makeTensor(gradient.shape)
                binary(SK_MUL, into: product, overB, quotient)
                let negated = try self.affine(try self.unbroadcast(product, to: slot.shape), scale: -1, shift: 0)
                try slot.add(shared: negated, in: self)
            }
        }
        return result
    }

    /// The larger of a and b; where they are equal each receives half the gradient, as in PyTorch.
    public func maximum(_ a: Tensor, _ b: Tensor) throws(SeamError) -> Tensor {
        try extremum(a, b, SK_MAXIMUM, "maximum")
    }

    /// The smaller of a and b; where they are equal each receives half the gradient, as in PyTorch.
    public func minimum(_ a: Tensor, _ b: Tensor) throws(SeamError) -> Tensor {
        try extremum(a, b, SK_MINIMUM, "minimum")
    }

    private func extremum(_ a: Tensor, _ b: Tensor, _ op: sk_binary_op, _ name: String) throws(SeamError) -> Tensor {
        let result = try makeResult(try broadcastShape(a, b, name), from: a, b)
        binary(op, into: result, a, b)
        guard result.requiresGradient else { return result }
        let fullA = try contiguous(try expand(a.detached, to: result.shape))
        let fullB = try contiguous(try expand(b.detached, to: result.shape))
        let slots = (a.gradient, b.gradient)
        record(result) { [unowned self] (gradient) throws(SeamError) in
            let upstream = try self.contiguous(gradient)
            for (slot, sign) in [(slots.0, Float(1)), (slots.1, Float(-1))] {
                guard let slot else { continue }
                let share = try self.makeTensor(upstream.shape)
                let towards = op == SK_MAXIMUM ? sign : -sign
                for index in 0..<upstream.elementCount {
                    let lead = (fullA.f32[index] - fullB.f32[index]) * towards
                    share.f32[index] = upstream.f32[index] * (lead > 0 ? 1 : lead == 0 ? 0.5 : 0)
                }
                try slot.add(shared: try self.unbroadcast(share, to: slot.shape), in: self)
            }
        }
        return result
    }

    /// x * scale + shift.
    public func affine(_ x: Tensor, scale: Double, shift: Double) throws(SeamError) -> Tensor {
        try requireF32(x, "affine")
        let input = try contiguous(x)
        let result = try makeResult(x.shape, from: x)
        sk_affine(result.f32, input.f32, Float(scale), Float(shift), Int64(x.elementCount))
        let slot = x.gradient
        record(result) { [unowned self] (gradient) throws(SeamError) in
            let accumulated = try slot!.zeroedAccumulator(in: self)
            let upstream = try self.contiguous(gradient)
            sk_axpy(accumulated.f32, upstream.f32, Float(scale), Int64(upstream.elementCount))
        }
        return result
    }

    /// condition != 0 ? a : b, all broadcast together; condition i32.
    public func select(_ condition: Tensor, _ a: Tensor, _ b: Tensor) throws(SeamError) -> Tensor {
        guard condition.dtype == .i32 else {
            throw SeamError(.shape, "where: condition must be i32, found \(condition.dtype.name)")
        }
        let pair = try broadcastShape(a, b, "where")
        guard let shape = Shape.broadcast(pair, condition.shape) else {
            throw SeamError(.shape, "where: shapes \(condition.shape), \(a.shape) and \(b.shape) do not broadcast")
        }
        let mask = try contiguous(try expand(condition, to: shape))
        let first = try contiguous(try expand(a.detached, to: shape))
        let second = try contiguous(try expand(b.detached, to: shape))
        let result = try makeResult(shape, from: a, b)
        let count = Int64(shape.elementCount)
        sk_select(result.f32, mask.i32, first.f32, second.f32, count)
        let slots = (a.gradient, b.gradient)
        record(result) { [unowned self] (gradient) throws(SeamError) in
            let upstream = try self.contiguous(gradient)
            let zeros = try self.full(0, .f32, shape)
            if let slot = slots.0 {
                let part = try self.makeTensor(shape)
                sk_select(part.f32, mask.i32, upstream.f32, zeros.f32, count)
                try slot.add(shared: try self.unbroadcast(part, to: slot.shape), in: self)
            }
            if let slot = slots.1 {
                let part = try self.makeTensor(shape)
                sk_select(part.f32, mask.i32, zeros.f32, upstream.f32, count)
                try slot.add(shared: try self.unbroadcast(part, to: slot.shape), in: self)
            }
        }
        return result
    }

    /// An element-wise function.
    public func unary(_ operation: UnaryOperation, _ x: Tensor) throws(SeamError) -> Tensor {
        try requireF32(x, "\(operation)")
        let input = try contiguous(x)
        let result = try makeResult(x.shape, from: x)
        sk_unary(operation.kernel, result.f32, input.f32, Int64(x.elementCount))
        let slot = x.gradient
        let (inputValues, outputValues) = (input.detached, result.detached)
        record(result) { [unowned self] (gradient) throws(SeamError) in
            let accumulated = try slot!.zeroedAccumulator(in: self)
            let upstream = try self.contiguous(gradient)
            sk_unary_gradient(
                operation.kernel, accumulated.f32, upstream.f32, inputValues.f32, outputValues.f32,
                Int64(upstream.elementCount))
        }
        return result
    }

    /// x as a constant. Without history it is x itself, which two handles then stand for.
    public func stopGradient(_ x: Tensor) -> Tensor {
        x.keepValues()
        return x.detached
    }

    /// f32 from bf16, f16 or i32; i32 from f32 by truncation. The same dtype gives x itself. No gradient through a
    /// change of dtype.
    public func cast(_ x: Tensor, to dtype: DType) throws(SeamError) -> Tensor {
        if x.dtype == dtype {
            x.keepValues()
            return x
        }
        let result = try makeTensor(x.shape, dtype)
        let count = x.elementCount
        switch (x.dtype, dtype) {
        case (.bf16, .f32), (.f16, .f32):
            let input = try contiguous(x)
            sk_widen(result.f32, input.u16, x.dtype.storageKind, Int64(count))
        case (.i32, .f32):
            let input = try contiguous(x)
            for index in 0..<count { result.f32[index] = Float(input.i32[index]) }
        case (.f32, .i32):
            let input = try contiguous(x)
            for index in 0..<count {
                guard let integer = Int32(exactly: input.f32[index].rounded(.towardZero)) else {
                    throw SeamError(.numeric, "cast: \(input.f32[index]) does not fit i32")
                }
                result.i32[index] = integer
            }
        default:
            throw SeamError(.unsupported, "cast: \(x.dtype.name) to \(dtype.name) is not offered")
        }
        return result
    }
}
