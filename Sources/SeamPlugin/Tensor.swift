import CSeam

/// A tensor of one forward pass: a handle of the host's, and the pass it belongs to.
///
/// The host owns the memory, the device and the gradient, and releases every tensor when the pass
/// ends: nothing is freed here, and a tensor must not be kept in a property. Operations never throw
/// and never trap. The first failure is remembered by the pass, its tensor is null, and operations on
/// a null tensor do nothing, so a forward is written as if nothing could fail and the host reports
/// what did.
///
/// Axes may be negative, counted from the end; broadcasting is NumPy's.
public struct Tensor {
    let pass: Pass
    /// The host's handle; nil after a failure. Only needed to return a tensor from a C callback.
    public let handle: OpaquePointer?

    /// Whether this is no tensor: after a failure, or where a seam's input or output is left out.
    public var isNull: Bool { handle == nil }

    /// Sizes of all axes; empty for a null tensor.
    public var shape: [Int] {
        let rank = pass.ops.pointee.rank(pass.raw, handle)
        return rank > 0 ? (0..<Int(rank)).map(size) : []
    }

    /// The size along an axis; -1 for a null tensor or an axis that it does not have.
    public func size(_ axis: Int) -> Int {
        Int(pass.ops.pointee.size(pass.raw, handle, Int32(truncatingIfNeeded: axis)))
    }
}

/// A forward pass as the compute table sees it: which table, which context.
struct Pass {
    let ops: UnsafePointer<seam_ops>
    let raw: OpaquePointer

    /// A table older than version 1.0 cannot exist, a shorter one is broken: nil.
    init?(_ ops: UnsafePointer<seam_ops>?, _ raw: OpaquePointer?) {
        guard let ops, let raw, ops.pointee.struct_size >= SEAM_OPS_SIZE_1_0 else { return nil }
        (self.ops, self.raw) = (ops, raw)
    }

    func tensor(_ handle: OpaquePointer?) -> Tensor { Tensor(pass: self, handle: handle) }
}

// MARK: - Element-wise, with broadcast

extension Tensor {
    typealias Unary = @convention(c) (OpaquePointer?, OpaquePointer?) -> OpaquePointer?
    typealias Binary = @convention(c) (OpaquePointer?, OpaquePointer?, OpaquePointer?) -> OpaquePointer?

    func apply(_ operation: Unary) -> Tensor { pass.tensor(operation(pass.raw, handle)) }
    func apply(_ operation: Binary, _ other: Tensor) -> Tensor {
        pass.tensor(operation(pass.raw, handle, other.handle))
    }

    public static func + (a: Tensor, b: Tensor) -> Tensor { a.apply(a.pass.ops.pointee.add, b) }
    public static func - (a: Tensor, b: Tensor) -> Tensor { a.apply(a.pass.ops.pointee.sub, b) }
    public static func * (a: Tensor, b: Tensor) -> Tensor { a.apply(a.pass.ops.pointee.mul, b) }
    public static func / (a: Tensor, b: Tensor) -> Tensor { a.apply(a.pass.ops.pointee.div, b) }
    public static func + (a: Tensor, b: Double) -> Tensor { a.affine(scale: 1, shift: b) }
    public static func - (a: Tensor, b: Double) -> Tensor { a.affine(scale: 1, shift: -b) }
    public static func * (a: Tensor, b: Double) -> Tensor { a.affine(scale: b, shift: 0) }
    public static prefix func - (x: Tensor) -> Tensor { x.apply(x.pass.ops.pointee.neg) }

    /// x * scale + shift in one operation.
    public func affine(scale: Double, shift: Double) -> Tensor {
        pass.tensor(pass.ops.pointee.affine(pass.raw, handle, scale, shift))
    }
    /// The larger of the two; a tie gives each half the gradient.
    public func maximum(_ other: Tensor) -> Tensor { apply(pass.ops.pointee.maximum, other) }
    /// The smaller of the two; a tie gives each half the gradient.
    public func minimum(_ other: Tensor) -> Tensor { apply(pass.ops.pointee.minimum, other) }
    /// Read as a condition (i32): `a` where it is not 0, else `b`.
    public func select(_ a: Tensor, else b: Tensor) -> Tensor {
        pass.tensor(pass.ops.pointee.where(pass.raw, handle, a.handle, b.handle))
    }

    public func exp() -> Tensor { apply(pass.ops.pointee.exp) }
    public func log() -> Tensor { apply(pass.ops.pointee.log) }
    public func sqrt() -> Tensor { apply(pass.ops.pointee.sqrt) }
    /// 1 / sqrt(x)
    public func rsqrt() -> Tensor { apply(pass.ops.pointee.rsqrt) }
    public func square() -> Tensor { apply(pass.ops.pointee.square) }
    public func abs() -> Tensor { apply(pass.ops.pointee.abs) }
    /// 1 / x
    public func reciprocal() -> Tensor { apply(pass.ops.pointee.reciprocal) }
    public func tanh() -> Tensor { apply(pass.ops.pointee.tanh) }
    public func sigmoid() -> Tensor { apply(pass.ops.pointee.sigmoid) }
    public func relu() -> Tensor { apply(pass.ops.pointee.relu) }
    /// x/2 (1 + erf(x / sqrt 2))
    public func gelu() -> Tensor { apply(pass.ops.pointee.gelu) }
    /// The tanh approximation of `gelu`.
    public func geluTanh() -> Tensor { apply(pass.ops.pointee.gelu_tanh) }
    /// x sigmoid(x)
    public func silu() -> Tensor { apply(pass.ops.pointee.silu) }
    /// In a pass of training (`Context.training`) zeros with probability `p`, 0 ... 1, and x / (1 - p) else; x itself in
    /// every other pass.
    public func dropout(_ p: Double) -> Tensor { pass.tensor(pass.ops.pointee.dropout(pass.raw, handle, p)) }

    /// A constant of the same values: no gradient flows back.
    public func stopGradient() -> Tensor { apply(pass.ops.pointee.stop_gradient) }
    /// f32 from any element type, or i32 from f32 by truncation.
    public func cast(to type: ElementType) -> Tensor {
        pass.tensor(pass.ops.pointee.cast(pass.raw, handle, type.rawValue))
    }
}

/// Element types a plugin can ask for; f16 and bf16 are storage of weights and read as f32.
public enum ElementType: Int32 {
    case f32 = 0
    case i32 = 3
}
