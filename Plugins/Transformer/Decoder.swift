import SeamPlugin

/// The stack that writes a text token by token, over an encoder's output where there is one.
struct Decoder {
    private let embedding: Embedding
    private let layers: [Layer]
    private let bias: RelativeBias?
    private let rotary: Rotary?
    private let kinds: LayerKinds
    private let norm: Norm?
    private let limit: Int
    private let attendsToEncoder: Bool
    /// Its attention is composed, so that the layers of a kind share what is added to their scores.
    private let isCapped: Bool

    init(_ weights: Weights, _ stack: Family.Stack, _ table: Parameter, _ family: Family) {
        let attendsToEncoder = family.encoder != nil
        embedding = Embedding(weights, stack.names.embedding, table, family, of: .decoder)
        layers = (0..<stack.layers).map {
            Layer(weights, LayerPlace(stack: .decoder, index: $0), stack, attendsToEncoder: attendsToEncoder, family)
        }
        bias = RelativeBias(weights, stack, bidirectional: false, family)
        rotary = Rotary(family)
        kinds = LayerKinds(stack)
        norm = family.finalNorm ? Norm(weights, stack.names.stack + stack.names.finalNorm, family) : nil
        limit = family.targetLimit
        self.attendsToEncoder = attendsToEncoder
        isCapped = family.attentionCap > 0
    }

    /// The last states [batch, target, d_model].
    func callAsFunction(_ target: Target, in context: Context) -> Tensor {
        let state = target.state.map { unsafeDowncast($0, to: DecoderState.self) }
        let (seen, length) = (state?.position ?? 0, target.ids.size(1))
        let lengths = PrefixLengths(target.prefix)
        if let problem = problem(
            lengths.longest, seen + length, arePlaced: target.positions != nil, capacity: state?.capacity)
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
        let sourceMask = attendsToEncoder ? target.encoderMask : nil
        guard !attendsToEncoder || sourceMask != nil else {
            return context.fail(.plugin, "decoding needs the source's mask")
        }
        let own = starts == nil ? target.mask?.slice(1, from: seen, length: length) : nil
        let tokens =
            target.layers.state.map { EmbeddedTokens(x: $0, mask: own, positions: target.positions) }
            ?? embedding.tokens(target.ids, mask: own, positions: target.positions, target.visitor, in: context)
        let places = Places(of: length, after: seen, behind: lengths, tokens, in: context)
        if places.vectors > 0,
            let problem = problem(
                lengths.longest, seen + length, vectors: places.vectors, arePlaced: target.positions != nil,
                capacity: state?.capacity)
        {
            return context.fail(.shape, problem)
        }
        let mask = places.vectors > 0 ? tokens.mask : target.mask
        let count = places.count
        var x = target.layers.state ?? embedding(tokens, of: target.ids, at: places, in: context)
        if places.vectors > 0, mask != nil { state?.hasPaddingInside = true }
        let view = View(
            seen: seen, count: count, starts: starts, mask: mask, prefix: lengths,
            countsTokens: places.vectors > 0 || state?.hasPaddingInside ?? false)
        let relative = bias.map { bias in
            RelativeScores(
                of: bias,
                buckets: starts.map { bias.buckets(after: $0, keys: seen + count, in: context) }
                    ?? bias.buckets(queries: seen..<seen + count, keys: 0..<seen + count, in: context),
                prefixBuckets: prefixBuckets(
                    bias, lengths, at: tokens.positions == nil ? nil : places.given, seen: seen, count: count,
                    in: context))
        }
        let angles = state?.angles ?? RotaryAngles()
        let rotations = kinds.all.map { kind in
            kind.isRotated
                ? rotary.map { rotary in
                    rotary(places, angles, isLocal: kind.window > 0, capacity: state?.capacity, in: context)
                } : nil
        }
        func sight(of layer: Int, _ kind: Int, in context: Context) -> Sight {
            let sight = view.sight(
                window: kinds.all[kind].window, bias: relative?.bias(of: layer, in: context),
                prefixBiases: relative?.prefixBiases(of: layer, in: context) ?? [], rotation: rotations[kind],
                in: context)
            return isCapped ? sight.inOneBias(queries: count, keys: seen + count, in: context) : sight
        }
        let isPerLayer = bias?.isPerLayer ?? false
        let sights = isPerLayer ? [] : kinds.all.indices.map { sight(of: 0, $0, in: context) }
        let sourceContext = context.visitingSource(of: target)
        let context = context.visiting(target.visitor, tokens, at: places, from: seen)
        let running = target.layers.of(layers.count)
        if target.layers.state != nil, running.lowerBound > 0 {
            x = layers[running.lowerBound - 1].visited(x, in: context)
        }
        for index in running {
            let layer = layers[index]
            x = context.scope(keeping: {
                var kept: [Tensor] = []
                let source = sourceMask.map { mask in
                    let memory = memory(index, layer, target.encoder, state, in: sourceContext)
                    kept += target.crossKeysValues.map { [memory.put(into: $0, of: index)] } ?? []
                    return Layer.SourceMemory(memory: memory, mask: mask, prefix: target.crossPrefix?[index])
                }
                let kind = kinds.ofLayer[index]
                let y = layer(
                    x, isPerLayer ? sight(of: index, kind, in: context) : sights[kind], prefix: target.prefix?[index],
                    past: { own in
                        kept += target.keysValues.map { [own.put(into: $0, of: index)] } ?? []
                        return state?.extend(index, by: own, count: count, in: context) ?? own
                    },
                    source: source, in: context)
                return (target.layers.ends(behind: index) ? y : layer.visited(y, in: context), kept)
            })
        }
        state?.advance(by: count)
        if target.layers.stop > 0 { return x }
        return norm.map { $0(x, in: context) } ?? x
    }

    /// Of each route: the text stands behind the prefix of its row, for relative positions as for any others.
    /// - Parameter given: the positions [batch, count] of the tokens behind the prefix of their row, where rows have
    ///   padding before them or have seen different numbers of tokens.
    private func prefixBuckets(
        _ bias: RelativeBias, _ prefix: PrefixLengths, at given: Tensor?, seen: Int, count: Int, in context: Context
    ) -> [Tensor] {
        prefix.byRoute.map { length in
            if length == 0 { return context.none }
            if let given { return bias.buckets(at: given, keys: length, in: context) }
            let first = length + seen
            return bias.buckets(queries: first..<first + count, keys: 0..<length, in: context)
        }
    }

    /// What a layer looks up in the source: remembered, or computed from the encoder's output and remembered for the next
    /// step.
    private func memory(
        _ index: Int, _ layer: Layer, _ encoder: Tensor?, _ state: DecoderState?, in context: Context
    ) -> KeysValues {
        if let memory = state?.memory(index, in: context) { return memory }
        guard let encoder, let memory = layer.memory(of: encoder, in: context) else {
            let failed = context.fail(.plugin, "the first decoding step needs the encoder's output")
            return KeysValues(keys: failed, values: failed)
        }
        state?.remember(memory, in: context)
        return memory
    }

    /// Why a target of `length` tokens behind a prefix and so many vectors cannot be decoded, as a sentence; nil when it
    /// can. Tokens that `arePlaced` have positions of their own, of which padding takes none.
    private func problem(_ prefix: Int, _ length: Int, vectors: Int = 0, arePlaced: Bool, capacity: Int?) -> String? {
        if length < 1 { return "there is no target token to decode" }
        let own = vectors + length
        if let capacity, own > capacity {
            return "the target has \(own) tokens and its decoding state was made for \(capacity)"
        }
        guard limit > 0, !arePlaced, prefix + own > limit else { return nil }
        return "the target \(tooLong(length, prefix, vectors: vectors, limit, "writes"))"
    }
}
