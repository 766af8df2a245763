import CSeam
import Engine

/// What is known of the tokens whose states flow through a pass, each [batch, n] i32; nil: not known.
struct TokenKnowledge {
    var mask: Tensor?
    var positions: Tensor?
    /// Which tokens the model generated itself.
    var generated: Tensor?
}

extension Context {
    /// Calls a function of a plugin with the pass that it is given.
    /// - Parameter parameters: handles of the instance's parameters, in declared order.
    func withPass<Result>(
        _ parameters: [OpaquePointer?], training: Bool = false, tokens: TokenKnowledge? = nil,
        _ body: (UnsafePointer<seam_pass>) throws -> Result
    ) rethrows -> Result {
        try parameters.withUnsafeBufferPointer { handles in
            var pass = seam_pass()
            pass.struct_size = UInt32(MemoryLayout<seam_pass>.size)
            pass.training = training ? 1 : 0
            pass.ctx = handle
            pass.ops = OpsTable.native
            pass.parameters = handles.baseAddress
            pass.parameter_count = handles.count
            if let tokens {
                pass.attention_mask = tokens.mask?.handle
                pass.position_ids = tokens.positions?.handle
                pass.generated_mask = tokens.generated?.handle
            }
            return try withExtendedLifetime(tokens) { try body(&pass) }
        }
    }
}
