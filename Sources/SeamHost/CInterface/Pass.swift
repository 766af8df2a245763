import CSeam
import Engine

extension Context {
    /// Calls a function of a plugin with the pass that it is given, and with scopes of its own.
    /// - Parameter parameters: handles of the instance's parameters, in declared order.
    package func withPass<Result>(
        _ parameters: [OpaquePointer?], training: Bool = false, _ body: (UnsafePointer<seam_pass>) throws -> Result
    ) rethrows -> Result {
        try parameters.withUnsafeBufferPointer { handles in
            var pass = seam_pass()
            pass.struct_size = UInt32(MemoryLayout<seam_pass>.size)
            pass.training = training ? 1 : 0
            pass.ctx = handle
            pass.ops = OpsTable.native
            pass.parameters = handles.baseAddress
            pass.parameter_count = handles.count
            // A backbone's pass may call an adapter's, and goes on as it was.
            let outer = isTraining
            isTraining = training
            defer { isTraining = outer }
            return try withOwnScopes { try body(&pass) }
        }
    }
}
