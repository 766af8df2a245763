import CSeam
import Engine
import Support

// The frame of every entry of the compute table: a failed context or a NULL operand does nothing, a thrown error is
// latched, a result is kept by the context.

public func run(_ context: OpaquePointer?, _ body: (Context) throws(SeamError) -> Tensor) -> OpaquePointer? {
    guard let context else { return nil }
    let pass = Context.from(context)
    guard pass.failure == nil else { return nil }
    do throws(SeamError) {
        return pass.retain(try body(pass)).handle
    } catch {
        pass.latch(error)
        return nil
    }
}

public func operand(_ handle: OpaquePointer?, _ operation: String) throws(SeamError) -> Tensor {
    guard let handle else { throw SeamError(.plugin, "\(operation): an operand is NULL") }
    return Tensor.from(handle)
}

func unary(
    _ context: OpaquePointer?, _ x: OpaquePointer?, _ name: String,
    _ body: (Context, Tensor) throws(SeamError) -> Tensor
) -> OpaquePointer? {
    run(context) { (pass) throws(SeamError) in try body(pass, try operand(x, name)) }
}

func binary(
    _ context: OpaquePointer?, _ a: OpaquePointer?, _ b: OpaquePointer?, _ name: String,
    _ body: (Context, Tensor, Tensor) throws(SeamError) -> Tensor
) -> OpaquePointer? {
    run(context) { (pass) throws(SeamError) in try body(pass, try operand(a, name), try operand(b, name)) }
}

func command(_ context: OpaquePointer?, _ body: (Context) throws(SeamError) -> Void) -> seam_status {
    guard let context else { return ErrorCode.plugin.rawValue }
    let pass = Context.from(context)
    if pass.failure == nil {
        do throws(SeamError) { try body(pass) } catch { pass.latch(error) }
    }
    return pass.failure?.code.rawValue ?? 0
}
