import CSeam

/// One forward pass: where constants are made, parameters are read and failures are reported. Valid
/// until the function it was given to returns.
public struct Context {
    let pass: Pass
    let given: seam_pass
    /// The index in `Site.points` of the point at which an adapter is asked; -1 elsewhere.
    public let point: Int
    /// At a projection: before its product, or after it.
    public let phase: Phases
    /// Whom a backbone tells what flows through its points; see `visiting`.
    public internal(set) var visitor: Visitor?

    /// Nil where the host's pass is incomplete.
    init?(_ pass: UnsafePointer<seam_pass>?, point: Int = -1, phase: Phases = []) {
        guard let given = bounded(pass, SEAM_PASS_SIZE_1_0), let pass = Pass(given.ops, given.ctx) else { return nil }
        (self.given, self.pass, self.point, self.phase) = (given, pass, point, phase)
    }

    /// Whether this pass will be differentiated. Inference may take short cuts that training may not.
    public var training: Bool { given.training != 0 }

    /// The mask of the tokens whose states flow through a point, [batch, n] i32: tokens (1) and padding (0). Nil
    /// where it is not known, and at other seams, as are the two that follow.
    public var attentionMask: Tensor? { given.attention_mask.map(pass.tensor) }
    /// Their positions in the text.
    public var positions: Tensor? { given.position_ids.map(pass.tensor) }
    /// Which of them the model generated itself (1), after a prompt or a start token (0).
    public var generatedMask: Tensor? { given.generated_mask.map(pass.tensor) }

    /// The value of a parameter that the adapter or backbone declared; at a point, of one that is shared or the
    /// point's.
    public subscript(_ parameter: Parameter) -> Tensor {
        let index = point < 0 ? parameter.index : parameter.indexAtPoint
        guard let parameters = given.parameters, index >= 0, index < given.parameter_count else {
            return fail(.plugin, "the parameter '\(parameter.name)' is used but not listed in `parameters`")
        }
        if point >= 0, let owner = parameter.point, owner != point {
            return fail(.plugin, "the parameter '\(parameter.name)' of point \(owner) is used at point \(point)")
        }
        return pass.tensor(parameters[index])
    }

    /// No tensor: what an adapter gives for an output that its seam lets it leave out.
    public var none: Tensor { pass.tensor(nil) }

    /// True once anything in this pass has failed.
    public var failed: Bool { pass.ops.pointee.status(pass.raw) != Status.ok.rawValue }

    /// Ends the pass with a sentence for the user, and gives the null tensor to return. Only the first
    /// failure of a pass is reported.
    public func fail(_ code: Status, _ message: String) -> Tensor {
        pass.tensor(message.withCString { pass.ops.pointee.fail(pass.raw, code.rawValue, $0) })
    }

    /// A constant; the values are copied.
    public func constant(_ values: [Float], _ shape: [Int]) -> Tensor {
        pass.tensor(withSizes(shape) { pass.ops.pointee.constant_f32(pass.raw, values, $0, $1) })
    }
    /// A constant of ids, a mask or an index; the values are copied.
    public func constant(_ values: [Int32], _ shape: [Int]) -> Tensor {
        pass.tensor(withSizes(shape) { pass.ops.pointee.constant_i32(pass.raw, values, $0, $1) })
    }
    /// Every element `value`.
    public func full(_ value: Double, _ shape: [Int], _ type: ElementType = .f32) -> Tensor {
        pass.tensor(withSizes(shape) { pass.ops.pointee.full(pass.raw, value, type.rawValue, $0, $1) })
    }

    /// Runs `body` and releases every tensor it made except its result, unless a gradient needs them: a
    /// long forward then reuses its memory layer by layer.
    public func scope(_ body: () -> Tensor) -> Tensor {
        pass.ops.pointee.scope_begin(pass.raw)
        let result = body()
        var kept = result.handle
        pass.ops.pointee.scope_end(pass.raw, &kept, 1)
        return result
    }

    /// The same for a body that makes several tensors that live on.
    public func scope(keeping body: () -> (result: Tensor, kept: [Tensor])) -> Tensor {
        pass.ops.pointee.scope_begin(pass.raw)
        let (result, kept) = body()
        var handles = [result.handle] + kept.map { $0.handle }
        pass.ops.pointee.scope_end(pass.raw, &handles, handles.count)
        return result
    }

    /// Zero-filled memory that outlives the pass, for a decoding cache. Nil after a failure.
    public func buffer(_ shape: [Int], _ type: ElementType = .f32) -> Buffer? {
        withSizes(shape) { pass.ops.pointee.buffer_create(pass.raw, type.rawValue, $0, $1) }
            .map { Buffer(raw: $0, release: pass.ops.pointee.buffer_release) }
    }
}

/// Memory of the host's that outlives a pass; given back when the object goes. Values written carry no
/// gradient.
public final class Buffer {
    let raw: OpaquePointer
    let release: @convention(c) (OpaquePointer?) -> Void

    init(raw: OpaquePointer, release: @escaping @convention(c) (OpaquePointer?) -> Void) {
        (self.raw, self.release) = (raw, release)
    }

    deinit { release(raw) }

    /// Overwrites the elements from `start` along `axis`; the other sizes of `x` equal the buffer's.
    public func write(_ x: Tensor, axis: Int, at start: Int) {
        _ = x.pass.ops.pointee.buffer_write(x.pass.raw, raw, Int32(axis), Int64(start), x.handle)
    }
    /// Writes as above with a start for each row of axis 0, which `axis` is not.
    public func write(_ x: Tensor, axis: Int, at starts: [Int64]) {
        _ = x.pass.ops.pointee.buffer_write_rows(
            x.pass.raw, raw, Int32(axis), starts, Int64(starts.count), x.handle)
    }
    /// The first `length` elements along `axis`, without a copy: valid in this pass, until the next write.
    public func read(axis: Int, length: Int, in context: Context) -> Tensor {
        let pass = context.pass
        return pass.tensor(pass.ops.pointee.buffer_read(pass.raw, raw, Int32(axis), Int64(length)))
    }
    /// Along axis 0: new row i is old row rows[i]; the buffer then has `rows.count` rows.
    public func select(_ rows: UnsafeBufferPointer<Int32>, in context: Context) {
        let pass = context.pass
        _ = pass.ops.pointee.buffer_select(pass.raw, raw, rows.baseAddress, Int64(rows.count))
    }
    /// The rows of another buffer come behind those of this one, along axis 0. Along `axis`, which is not 0, the shorter of
    /// the two has 0 where it ends. The other is left as it is.
    public func append(_ other: Buffer, axis: Int, in context: Context) {
        let pass = context.pass
        _ = pass.ops.pointee.buffer_append(pass.raw, raw, Int32(axis), other.raw)
    }
}
