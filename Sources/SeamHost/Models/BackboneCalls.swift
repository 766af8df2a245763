import CSeam
import Engine
import Support

/// What a decoder reads in one call.
package struct DecoderInput {
    /// [batch, target] i32.
    package var ids: Tensor
    /// [batch, source, d_model] and [batch, source] i32; nil without an encoder, the first also on later steps of a
    /// state.
    package var encoderHidden: Tensor?
    package var encoderMask: Tensor?
    /// [batch, seen + target] i32; nil: all ones.
    package var mask: Tensor?
    /// [batch, target] i32; nil: counted from what the state has seen.
    var positions: Tensor?
    /// Given in every call, also with a state.
    var prefix = Prefix()
    /// [batch, target] i32: which tokens the model generated itself; nil: not known.
    var generated: Tensor?
    /// [batch, target] i32: which are tokens and which padding that `mask` need not hide, for adapters inside the layers;
    /// nil: as `mask` says.
    var tokens: Tensor?
    /// The layers that run.
    package var layers = LayerRange()
}

/// What all calls of a backbone in one pass of a session share.
package struct BackbonePass {
    let context: Context
    let training: Bool
    /// The backbone's parameters, or what stands in for them in the session.
    package let weights: [OpaquePointer?]
    /// Nil where no adapter sits inside the layers.
    let visitor: Visitor?
    /// Which rows take which route; empty in a call that visits no points.
    let slices: [RouteSlice]

    /// Vectors that adapters put before the texts of a call, the most of any row: none where its state has seen them.
    func promptLength(_ stack: Stack, _ state: DecodingState? = nil) -> Int {
        guard let visitor, state?.isFresh ?? true else { return 0 }
        return visitor.promptLength(stack, slices.map(\.route))
    }

    /// What the backbone gave for the text's own tokens, [batch, n, width], behind `length` vectors.
    func text(of x: Tensor, behind length: Int) throws -> Tensor {
        guard length > 0 else { return x }
        let (batch, count, width) = (x.shape[0], x.shape[1] - length, x.shape[2])
        // Row-major again, with its history.
        let rows = try context.reshape(
            try context.slice(x, axis: 1, start: length, length: count), [batch * count, width])
        return context.retain(try context.reshape(rows, [batch, count, width]))
    }
}

// The functions of a backbone's table, each with its outputs checked.
extension Backbone {
    /// Source tokens or features, one of them, to hidden states [batch, positions, d_model], longer by what adapters
    /// put before the source.
    /// - Parameter keysValues: takes those of the source's tokens; nil: nobody wants them.
    func encode(
        _ pass: BackbonePass, inputIDs: Tensor?, features: Tensor? = nil, mask: Tensor, tokenTypes: Tensor? = nil,
        prefix: Prefix, keysValues: TextKeysValues? = nil, layers: LayerRange = LayerRange()
    ) throws
        -> Tensor
    {
        var io = seam_encode()
        io.struct_size = UInt32(MemoryLayout<seam_encode>.size)
        io.input_ids = inputIDs?.handle
        io.input_features = features?.handle
        io.attention_mask = mask.handle
        io.token_type_ids = tokenTypes?.handle
        io.prefix = prefix.pointer(.encoder)
        io.keys_values = keysValues?.slots(.encoder)
        (io.start_layer, io.start_state, io.stop_layer) = layers.members
        try during(pass, .encoder, layers: layers) { own, visitor in
            io.visitor = visitor
            table.encode(instance, own, &io)
        }
        withExtendedLifetime((prefix, layers)) {}
        let positions = info.positions(ofSource: mask.shape[1]) + pass.promptLength(.encoder)
        try keysValues?.check(.encoder, [mask.shape[0], positions], of: self)
        return try output(io.hidden, "encode", "hidden", [mask.shape[0], positions, info.dModel])
    }

    /// Target tokens, over an encoder's hidden states where there is an encoder, to the hidden states
    /// [batch, target, d_model] and to scores [batch, target, vocab_size]; those of what adapters put before the target are
    /// left out.
    func decode(_ pass: BackbonePass, _ input: DecoderInput, state: DecodingState? = nil) throws
        -> (logits: Tensor, hidden: Tensor)
    {
        let length = pass.promptLength(.decoder, state)
        let (logits, hidden) = try decode(pass, input, state: state, hiddenOnly: false)
        let shape: Shape = [input.ids.shape[0], length + input.ids.shape[1], info.vocabSize]
        let scores = try pass.text(of: output(logits, "decode", "logits", shape), behind: length)
        guard info.isOpaque, let encoderHidden = input.encoderHidden, encoderHidden.requiresGradient else {
            return (scores, hidden)
        }
        return (try differentiable(scores, input, encoderHidden, in: pass.context), hidden)
    }

    /// The states that `decode` gives, without the scores.
    /// - Parameter keysValues: takes those of the target's own tokens and of the source's; nil: nobody wants them.
    package func decodeHidden(
        _ pass: BackbonePass, _ input: DecoderInput, state: DecodingState? = nil, keysValues: TextKeysValues? = nil
    ) throws -> Tensor {
        try decode(pass, input, state: state, hiddenOnly: true, keysValues: keysValues).hidden
    }

    private func decode(
        _ pass: BackbonePass, _ input: DecoderInput, state: DecodingState?, hiddenOnly: Bool,
        keysValues: TextKeysValues? = nil
    ) throws -> (logits: OpaquePointer?, hidden: Tensor) {
        // An opaque backbone must not see handles with history: its gradient goes through decode_vjp.
        let given = info.isOpaque ? input.encoderHidden?.detached : input.encoderHidden
        var io = seam_decode()
        io.struct_size = UInt32(MemoryLayout<seam_decode>.size)
        io.decoder_input_ids = input.ids.handle
        io.encoder_hidden = given?.handle
        io.encoder_attention_mask = input.encoderMask?.handle
        io.attention_mask = input.mask?.handle
        io.position_ids = input.positions?.handle
        io.prefix = input.prefix.pointer(.decoder)
        io.cross_prefix = input.prefix.pointer(.cross)
        io.hidden_only = hiddenOnly ? 1 : 0
        io.state = state?.pointer
        io.keys_values = keysValues?.slots(.decoder)
        io.cross_keys_values = keysValues?.slots(.cross)
        (io.start_layer, io.start_state, io.stop_layer) = input.layers.members
        // A state that has seen tokens has what the encoder gave, and the projections of that are not made again.
        let isComplete = state?.isFresh ?? true
        let length = pass.promptLength(.decoder, state)
        try during(
            pass, .decoder, layers: input.layers, tokens: input.tokens, generated: input.generated,
            isComplete: isComplete
        ) {
            own, visitor in
            io.visitor = visitor
            table.decode(instance, own, &io)
        }
        state?.isFresh = false
        withExtendedLifetime((given, input)) {}
        let (rows, count) = (input.ids.shape[0], length + input.ids.shape[1])
        try keysValues?.check(.decoder, [rows, count], of: self)
        if let source = input.encoderMask { try keysValues?.check(.cross, source.shape, of: self) }
        let hidden = try output(io.hidden, "decode", "hidden", [rows, count, info.dModel])
        return (io.logits, try pass.text(of: hidden, behind: length))
    }

    /// Calls one of the functions that visit points.
    private func during(
        _ pass: BackbonePass, _ stack: Stack, layers: LayerRange, tokens: Tensor? = nil, generated: Tensor? = nil,
        isComplete: Bool = true,
        _ body: (UnsafePointer<seam_pass>, UnsafePointer<seam_visitor>?) -> Void
    ) throws {
        try requireComputation()
        try pass.context.withPass(pass.weights, training: pass.training) { own in
            guard let visitor = pass.visitor else { return body(own, nil) }
            try visitor.during(
                Visitor.Call(
                    context: pass.context, training: pass.training, slices: pass.slices, layers: layers, tokens: tokens,
                    generated: generated, beginsText: isComplete),
                stack, isComplete: isComplete
            ) { body(own, $0) }
        }
        try pass.context.check(origin: origin)
    }

    /// Whether `head` can be called.
    var hasSeparateHead: Bool { info.hasHead && table.head != nil }

    /// Hidden states [..., d_model] to scores [..., vocab_size].
    /// - Throws: `.unsupported` for a model without a language-model head.
    func head(_ pass: BackbonePass, hidden: Tensor) throws -> Tensor {
        guard info.hasHead, let head = table.head else {
            throw SeamError(
                .unsupported, "\(name) has no language-model head for this model", origin: origin)
        }
        var io = seam_head()
        io.struct_size = UInt32(MemoryLayout<seam_head>.size)
        io.hidden = hidden.handle
        pass.context.withPass(pass.weights, training: pass.training) { head(instance, $0, &io) }
        try pass.context.check(origin: origin)
        var shape = hidden.shape
        shape[shape.count - 1] = info.vocabSize
        return try output(io.logits, "head", "logits", shape)
    }

    /// Hidden states [batch, source, d_model] of whole texts to one vector each, [batch, d_model].
    /// - Throws: `.unsupported` for a backbone that has no such vector.
    func pool(_ pass: BackbonePass, hidden: Tensor, mask: Tensor) throws -> Tensor {
        guard let pool = table.pool else {
            throw SeamError(
                .unsupported, "\(name) has no pooled vector for a text", origin: origin)
        }
        var io = seam_pool()
        io.struct_size = UInt32(MemoryLayout<seam_pool>.size)
        io.hidden = hidden.handle
        io.attention_mask = mask.handle
        pass.context.withPass(pass.weights, training: pass.training) { pool(instance, $0, &io) }
        try pass.context.check(origin: origin)
        return try output(io.pooled, "pool", "pooled", [hidden.shape[0], info.dModel])
    }

    private func output(_ handle: OpaquePointer?, _ function: String, _ name: String, _ shape: Shape) throws -> Tensor {
        guard let handle else { throw SeamError(.plugin, "\(function) returned NULL for \(name)", origin: origin) }
        let tensor = Tensor.from(handle)
        guard tensor.shape == shape, tensor.dtype == .f32 else {
            throw SeamError(
                .plugin, "\(function) must return \(name) as f32 \(shape), found \(tensor.dtype.name) \(tensor.shape)",
                origin: origin)
        }
        return tensor
    }

    private func differentiable(_ logits: Tensor, _ input: DecoderInput, _ hidden: Tensor, in context: Context) throws
        -> Tensor
    {
        guard let vjp = table.decode_vjp else {
            throw SeamError(
                .unsupported, "\(name) offers no gradient, so no adapter can be trained through it",
                origin: origin)
        }
        let values = hidden.detached
        let (ids, mask) = (input.ids, input.encoderMask)
        let (instance, origin, pool, weights) = (self.instance, self.origin, runtime.pool, parameters)
        return context.retain(
            context.custom(result: logits, operand: hidden) { (gradient) throws(SeamError) in
                // A context of its own: the plugin's handles end with this call.
                let pass = Context(pool: pool, recordsGradients: false)
                var io = seam_decode_vjp()
                io.struct_size = UInt32(MemoryLayout<seam_decode_vjp>.size)
                io.decoder_input_ids = ids.handle
                io.encoder_hidden = values.handle
                io.encoder_attention_mask = mask?.handle
                io.logits_gradient = gradient.handle
                pass.withPass(weights.handles) { vjp(instance, $0, &io) }
                if let failure = pass.failure { throw SeamError(failure.code, failure.message, origin: origin) }
                guard let handle = io.encoder_hidden_gradient, Tensor.from(handle).shape == values.shape,
                    Tensor.from(handle).dtype == .f32
                else {
                    throw SeamError(
                        .plugin, "decode_vjp must return encoder_hidden_gradient as f32 with shape \(values.shape)",
                        origin: origin)
                }
                return Tensor.from(handle)
            })
    }
}
