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
        try checkPrompt(vectors, changed, x: x.shape, at: point)
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

    /// The vectors that it puts before every text at one of its points, [prompt, d_model]; nil for none. Alive as long as
    /// the context.
    /// - Throws: `.unsupported` for vectors that depend on the text, and for an adapter that changes the text.
    fileprivate func constantPrompt(at point: Int, in context: Context) throws -> Tensor? {
        let call = Visitor.Call(
            context: context, training: false, slices: [], tokens: nil, generated: nil, beginsText: true)
        // Two rows that differ: one set of vectors for both depends on neither.
        let width = points[point].outputWidth
        let x = context.retain(
            try context.constant((0..<2 * width).map { Float($0 / width) }, [2, 1, width]))
        let mask = context.retain(try context.full(1, .i32, [2, 1]))
        let (vectors, changed) = try prompt(call, at: point, x: x, mask: mask, pass: seam_pass())
        guard changed === x, vectors?.shape[0] ?? 1 == 1 else {
            throw SeamError(
                .unsupported,
                "adapter \"\(factory.id)\" does not put the same vectors before every text, so they are not its prompt")
        }
        return try vectors.map { try context.reshape($0, [$0.shape[1], $0.shape[2]]) }
    }
}

extension Adapter {
    /// Whether it is on embedded tokens.
    public var isPrompt: Bool { seam == SEAM_PROMPT_EMBEDDING }
}

extension Session {
    /// The vectors that the adapters of the default route put before every text, by `Stack`: f32 [prompt, d_model], copies
    /// that the caller owns; nil for none.
    /// - Throws: `.unsupported` for an adapter whose vectors depend on the text, or that changes the text.
    public func computedPrompts() throws -> [Tensor?] {
        let context = makeContext(recordsGradients: false)
        return try Stack.allCases.map { stack in
            var parts: [Tensor] = []
            for adapter in adapters where adapter.isPrompt {
                for (index, point) in adapter.points.enumerated() where point.stack == stack {
                    if let vectors = try adapter.constantPrompt(at: index, in: context) { parts.append(vectors) }
                }
            }
            return parts.isEmpty ? nil : try context.copied(try context.concat(parts, axis: 0))
        }
    }
}
