import SeamPlugin

/// The stack that reads a whole text at once.
struct Encoder {
    private let front: Front
    private let layers: [Layer]
    private let bias: RelativeBias?
    private let distances: DistanceTable?
    private let rotary: Rotary?
    /// Of sums of tokens.
    private let sumBias: RelativeBias?
    private let kinds: LayerKinds
    /// The tokens of a sum; 0: none.
    private let sumBlock: Int
    private let norm: Norm?
    private let limit: Int
    /// A prefix takes the first positions of the text.
    private let prefixTakesPositions: Bool

    /// What makes the first states of a source.
    private enum Front {
        case tokens(Embedding)
        case features(FeatureEmbedding)
    }

    init(_ weights: Weights, _ stack: Family.Stack, _ table: Parameter, _ family: Family) {
        front =
            family.features.map { .features(FeatureEmbedding(weights, stack.names, $0, family)) }
            ?? .tokens(Embedding(weights, stack.names.embedding, table, family, of: .encoder))
        layers = (0..<stack.layers).map {
            Layer(weights, LayerPlace(stack: .encoder, index: $0), stack, attendsToEncoder: false, family)
        }
        bias = RelativeBias(weights, stack, bidirectional: true, family)
        distances = DistanceTable(weights, stack.names, family)
        rotary = Rotary(family)
        sumBias =
            stack.sumBlock > 0
            ? RelativeBias(weights, stack, bidirectional: true, family, table: "global_relative_attention_bias") : nil
        kinds = LayerKinds(stack)
        sumBlock = stack.sumBlock
        norm = family.finalNorm ? Norm(weights, stack.names.stack + stack.names.finalNorm, family) : nil
        limit = family.sourceLimit
        prefixTakesPositions = family.architecture == .encoderOnly && family.encoderPrefixTakesPositions
    }

    func callAsFunction(_ source: Source, in context: Context) -> Tensor {
        guard let (tokens, length) = embedded(source, in: context) else {
            return context.fail(.unsupported, "this model reads \(source.ids == nil ? "token ids" : "features")")
        }
        let prefix = PrefixLengths(prefixTakesPositions ? source.prefix : nil)
        let places = Places(of: length, after: 0, behind: prefix, tokens, in: context)
        guard limit == 0 || prefix.longest + places.count <= limit else {
            return context.fail(
                .shape, "the source \(tooLong(length, prefix.longest, vectors: places.vectors, limit, "reads"))")
        }
        var x =
            source.layers.state
            ?? placed(tokens, source, at: places, in: context)
        let relative =
            kinds.all.contains { $0.window == 0 }
            ? bias.map {
                RelativeScores(
                    of: $0, buckets: $0.buckets(queries: 0..<places.count, keys: 0..<places.count, in: context))
            } : nil
        let (between, angles) = (distances.map { $0(places.count, in: context) }, RotaryAngles())
        let rotations = kinds.all.map { kind in
            kind.isRotated ? rotary.map { $0(places, angles, isLocal: kind.window > 0, in: context) } : nil
        }
        func sight(of layer: Int, _ place: Int, in context: Context) -> Sight {
            let (kind, rotation) = (kinds.all[place], rotations[place])
            if kind.window > 0 { return inBlocks(kind, tokens, rotation, in: context) }
            return Sight(
                bias: relative?.bias(of: layer, in: context), mask: tokens.mask, causal: false, rotation: rotation,
                distances: between)
        }
        let isPerLayer = bias?.isPerLayer ?? false
        let sights = isPerLayer ? [] : kinds.all.indices.map { sight(of: 0, $0, in: context) }
        let context = context.visiting(source.visitor, tokens, at: places, from: 0)
        let running = source.layers.of(layers.count)
        if source.layers.state != nil, running.lowerBound > 0 {
            x = layers[running.lowerBound - 1].visited(x, in: context)
        }
        for index in running {
            x = context.scope(keeping: {
                var kept: [Tensor] = []
                let kind = kinds.ofLayer[index]
                let y = layers[index](
                    x, isPerLayer ? sight(of: index, kind, in: context) : sights[kind], prefix: source.prefix?[index],
                    past: { own in
                        kept += source.keysValues.map { [own.put(into: $0, of: index)] } ?? []
                        return own
                    }, in: context)
                return (source.layers.ends(behind: index) ? y : layers[index].visited(y, in: context), kept)
            })
        }
        if source.layers.stop > 0 { return x }
        return norm.map { $0(x, in: context) } ?? x
    }

    /// The sight of layers that see a window of the text.
    private func inBlocks(
        _ kind: LayerKinds.Kind, _ tokens: EmbeddedTokens, _ rotation: Rotation?, in context: Context
    ) -> Sight {
        let mask = tokens.mask ?? context.full(1, [tokens.x.size(0), tokens.x.size(1)], .i32)
        let blocks = BlockSight(
            radius: kind.window / 2, sumBlock: sumBlock, mask: mask, bias: bias, sumBias: sumBias, in: context)
        return Sight(bias: nil, mask: nil, causal: false, rotation: rotation, blocks: blocks)
    }

    /// What enters the layers, before positions are added, with its mask, and the positions that are the source's own; where
    /// the layers begin with a state there is that. Nil for the other kind of source.
    private func embedded(_ source: Source, in context: Context) -> (tokens: EmbeddedTokens, length: Int)? {
        switch front {
        case .tokens(let embedding):
            guard let ids = source.ids else { return nil }
            let tokens =
                source.layers.state.map { EmbeddedTokens(x: $0, mask: source.mask, positions: nil) }
                ?? embedding.tokens(ids, mask: source.mask, source.visitor, in: context)
            return (tokens, ids.size(1))
        case .features(let embedding):
            guard let features = source.features else { return nil }
            let tokens =
                source.layers.state.map {
                    EmbeddedTokens(x: $0, mask: embedding.positionMask(source.mask, in: context), positions: nil)
                } ?? embedding.states(features, mask: source.mask, in: context)
            return (tokens, tokens.x.size(1))
        }
    }

    private func placed(
        _ tokens: EmbeddedTokens, _ source: Source, at places: Places, in context: Context
    ) -> Tensor {
        switch front {
        case .tokens(let embedding):
            source.ids.map { embedding(tokens, of: $0, at: places, types: source.tokenTypes, in: context) } ?? tokens.x
        case .features(let embedding): embedding.placed(tokens.x, in: context)
        }
    }
}
