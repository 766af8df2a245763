import CSeam
import Engine
import SeamHost
import Support

@c @implementation
public func seam_native_ops() -> UnsafePointer<seam_ops>? { OpsTable.native }

@c @implementation
public func seam_context_create(
    _ runtime: OpaquePointer?, _ recordGradients: Int32, _ out: UnsafeMutablePointer<OpaquePointer?>?,
    _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(runtime, "runtime", as: RuntimeHandle.self)
        let context = Context(
            pool: handle.runtime.pool, recordsGradients: try flag(recordGradients, "record_gradients"))
        try required(out, "out").pointee = handOver(context)
    }
}

@c @implementation
public func seam_context_release(_ context: OpaquePointer?) { release(context, Context.self) }

@c @implementation
public func seam_context_error(_ context: OpaquePointer?, _ error: ErrorSlot) -> seam_status {
    attempt(error) {
        if let failure = try object(context, "ctx", as: Context.self).failure { throw failure }
    }
}

@c @implementation
public func seam_context_leaf(_ context: OpaquePointer?, _ x: OpaquePointer?) -> OpaquePointer? {
    run(context) { (pass) throws(SeamError) in
        let source = try operand(x, "leaf")
        guard source.dtype == .f32 else {
            throw SeamError(.shape, "leaf: only an f32 tensor has a gradient, found \(source.dtype.name)")
        }
        return source.asLeaf
    }
}

@c @implementation
public func seam_context_backward(
    _ context: OpaquePointer?, _ y: OpaquePointer?, _ seed: OpaquePointer?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let pass = try object(context, "ctx", as: Context.self)
        if let failure = pass.failure { throw failure }
        let result = Tensor.from(try required(y, "y"))
        try pass.backward(result, seed: seed.map(Tensor.from))
    }
}

@c @implementation
public func seam_context_gradient(_ context: OpaquePointer?, _ leaf: OpaquePointer?) -> OpaquePointer? {
    guard let context, let leaf, let gradient = Tensor.from(leaf).gradient?.value else { return nil }
    return Context.from(context).retain(gradient).handle
}
