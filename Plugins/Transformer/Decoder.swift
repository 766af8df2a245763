import SeamPlugin

/// The stack that writes a text token by token, over an encoder's output where there is one.
struct Decoder {
    private let embedding: Embedding
    private let layers: [Layer]
    private let bias: RelativeBias?
    private let rotary: Rotary?
    private let norm: Norm?
    private let limit: Int
    private let attendsToEncoder: Bool

    init(_ weights: Weights, _ stack: Family.Stack, _ table: Parameter, _ family: Family) {
        let attendsToEncoder = family.encoder != nil
        embedding = Embedding(weights, stack.names.embedding, table, family, of: .decoder)
        layers = (0..<stack.layers).map {
            Layer(weights, LayerPlace(stack: .decoder, index: $0), stack, attendsToEncoder: attendsToEncoder, family)
        }
        bias = RelativeBias(weights, stack, bidirectional: false, family)
        rotary = Rotary(family)
        norm = family.finalNorm ? Norm(weights, stack.names.stack + stack.names.finalNorm, family) : nil
        limit = family.limit
        self.attendsToEncoder = attendsToEncoder
    }

    /// The last states [batch, target, d_model].
    func callAsFunction(_ target: Target, in context: Context) -> Tensor {
        let state = target.state.map { unsafeDowncast($0, to: DecoderState.self) }
        let batch = target.ids.size(0)
        let prefix = Prefix(target.prefix, batch: batch)
        let prefixLength = state?.prefixLength ?? prefix?.length ?? 0
        // A state holds the prefix only from its first step on, which stands behind it all the same.
        let seen = state.flatMap { $0.hasBegun ? $0.position : nil }
        let (start, length) = (seen ?? prefixLength, target.ids.size(1))
        // Of the target's own.
        let before = start - prefixLength
        if let problem = problem(
            prefixLength, before + length, arePlaced: target.positions != nil, capacity: state?.capacity)
        {
            return context.fail(.shape, problem)
        }
        // By row, where they have seen different numbers of tokens.
        let starts = state?.starts
        guard starts == nil || length == 1 && target.mask != nil && target.positions != nil else {
            return context.fail(
                .shape,
                "rows of a decoding state that have seen different numbers of tokens go on by one token, with their "
                    + "positions and a mask")
        }
        let crossPrefix = Prefix(target.crossPrefix, batch: batch)
        var sourceMask: Tensor?
        if attendsToEncoder {
            guard let mask = target.encoderMask else {
                return context.fail(.plugin, "decoding needs the source's mask")
            }
            sourceMask =
                state?.mask(in: context)
                ?? Prefix.extend(mask, by: crossPrefix?.length ?? 0, in: context)
        }
        if let state, !state.hasBegun { state.begin(prefix, sourceMask: sourceMask, in: context) }
        let own = starts == nil ? target.mask?.slice(1, from: before, length: length) : nil
        let tokens = embedding.tokens(
            target.ids, mask: own, positions: target.positions, target.visitor, in: context)
        // The target's own positions follow the prefix's.
        let places = Places(start: start, length: length, behind: tokens.moved(by: prefixLength))
        if places.vectors > 0,
            let problem = problem(
                prefixLength, before + length, vectors: places.vectors, arePlaced: target.positions != nil,
                capacity: state?.capacity)
        {
            return context.fail(.shape, problem)
        }
        let mask = places.vectors > 0 ? tokens.mask : target.mask
        let count = places.count
        var x = embedding(tokens, of: target.ids, at: places, in: context)
        let sight = Sight(
            bias: bias.map { bias in
                starts.map { bias(after: $0, keys: start + count, in: context) }
                    ?? bias(queries: count, keys: start + count, in: context)
            },
            mask: Prefix.extend(mask, by: prefixLength, in: context), causal: true,
            rotation: rotary.map { $0(places, state?.angles ?? Angles(), in: context) })
        let sourceContext = context.visitingSource(of: target)
        let context = context.visiting(target.visitor, tokens, at: places, from: before)
        for (index, layer) in layers.enumerated() {
            x = context.scope {
                let source = sourceMask.map {
                    (memory(index, layer, target.encoder, crossPrefix, state, in: sourceContext), $0)
                }
                return layer(
                    x, sight,
                    past: {
                        state?.extend(index, by: $0, count: count, in: context) ?? prefix?.before($0, layer: index)
                            ?? $0
                    }, source: source, in: context)
            }
        }
        state?.advance(by: count)
        return norm.map { $0(x, in: context) } ?? x
    }

    /// What a layer looks up in the source: remembered, or computed from the encoder's output, behind a prefix, and
    /// remembered for the next step.
    private func memory(
        _ index: Int, _ layer: Layer, _ encoder: Tensor?, _ prefix: Prefix?, _ state: DecoderState?, in context: Context
    ) -> KeysValues {
        if let memory = state?.memory(index, in: context) { return memory }
        guard let encoder, let own = layer.memory(of: encoder, in: context) else {
            let failed = context.fail(.plugin, "the first decoding step needs the encoder's output")
            return KeysValues(keys: failed, values: failed)
        }
        let memory = prefix?.before(own, layer: index) ?? own
        state?.remember(memory, in: context)
        return memory
    }

    /// Why a target of `length` tokens behind a prefix and so many vectors cannot be decoded, as a sentence; nil when it
    /// can. Tokens that `arePlaced` have positions of their own, of which padding takes none.
    private func problem(_ prefix: Int, _ length: Int, vectors: Int = 0, arePlaced: Bool, capacity: Int?) -> String? {
        if length < 1 { return "there is no target token to decode" }
        let all = prefix + vectors + length
        if let capacity, all > capacity {
            return "the target has \(all) tokens and its decoding state was made for \(capacity)"
        }
        guard limit > 0, !arePlaced, all > limit else { return nil }
        return "the target \(tooLong(length, prefix, vectors: vectors, limit, "writes"))"
    }
}
