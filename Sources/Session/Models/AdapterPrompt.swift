import CSeam
import Engine
import Support

// An adapter on embedded tokens (the seam prompt.embedding).
extension Adapter {
    /// What it gives at one of its points, where vectors may be put before those of the text.
    /// - Parameters:
    ///   - x: [batch, n, d_model].
    ///   - mask: [batch, n] i32.
    ///   - pass: what the backbone says of the tokens there.
    /// - Returns: the vectors [1 or batch, prompt, d_model], nil for none, and what goes on in the place of x; alive as
    ///   long as the context.
    func prompt(_ call: Visitor.Call, at point: Int, x: Tensor, mask: Tensor, pass: seam_pass) throws
        -> (vectors: Tensor?, x: Tensor)
    {
        // The backbone goes on with x where it is not changed, and so may the next adapter.
        for kept in [x, mask] { kept.keepValues() }
        let visit = Visit(point: point, phase: Phase.after, value: x.handle)
        var outputs: (OpaquePointer?, OpaquePointer?) = (nil, nil)
        try withUnsafeMutableBytes(of: &outputs) { outputs in
            try withUnsafeTemporaryAllocation(of: OpaquePointer?.self, capacity: 2) { inputs in
                inputs.initializeElement(at: Int(SEAM_PROMPT_EMBEDDING_X), to: x.handle)
                inputs.initializeElement(at: Int(SEAM_PROMPT_EMBEDDING_MASK), to: mask.handle)
                try run(
                    call, visit, inputs: UnsafeBufferPointer(inputs),
                    outputs: outputs.bindMemory(to: OpaquePointer?.self), pass: pass)
            }
        }
        let (vectors, changed) = (outputs.0.map { Tensor.from($0) }, outputs.1.map { Tensor.from($0) })
        let (batch, width) = (x.shape[0], x.shape[2])
        func wrong(_ what: String, _ expected: String, _ found: Tensor) -> SeamError {
            SeamError(
                .plugin,
                "adapter \"\(factory.id)\" must return \(what) at the point \"\(points[point].path)\" as f32 \(expected), found \(found.dtype.name) \(found.shape)",
                origin: origin)
        }
        if let vectors {
            let shape = vectors.shape
            guard vectors.dtype == .f32, shape.count == 3, shape[0] == 1 || shape[0] == batch, shape[1] > 0,
                shape[2] == width
            else { throw wrong("the vectors", "[1 or \(batch), prompt, \(width)]", vectors) }
        }
        if let changed {
            guard changed.dtype == .f32, changed.shape == x.shape else { throw wrong("x", "\(x.shape)", changed) }
        }
        return (vectors, changed ?? x)
    }

    /// How many vectors it puts before a text at one of its points: the same number before every text, so that one token
    /// tells it.
    func promptLength(at point: Int) throws -> Int {
        let context = Context(pool: runtime.pool, recordsGradients: false)
        let call = Visitor.Call(
            context: context, training: false, slices: [], tokens: nil, generated: nil, beginsText: true)
        let x = context.retain(try context.full(0, .f32, [1, 1, points[point].outputWidth]))
        let mask = context.retain(try context.full(1, .i32, [1, 1]))
        return try prompt(call, at: point, x: x, mask: mask, pass: seam_pass()).vectors?.shape[1] ?? 0
    }
}
