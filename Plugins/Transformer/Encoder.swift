import SeamPlugin

/// The stack that reads a whole text at once.
struct Encoder {
    private let front: Front
    private let layers: [Layer]
    private let bias: RelativeBias?
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
        norm = family.finalNorm ? Norm(weights, stack.names.stack + stack.names.finalNorm, family) : nil
        limit = family.sourceLimit
        prefixTakesPositions = family.architecture == .encoderOnly
    }

    func callAsFunction(_ source: Source, in context: Context) -> Tensor {
        let tokens: EmbeddedTokens
        let length: Int
        switch front {
        case .tokens(let embedding):
            guard let ids = source.ids else { return context.fail(.unsupported, "this model reads token ids") }
            length = ids.size(1)
            tokens = embedding.tokens(ids, mask: source.mask, source.visitor, in: context)
        case .features(let embedding):
            guard let features = source.features else {
                return context.fail(.unsupported, "this model reads features")
            }
            tokens = embedding.states(features, mask: source.mask, in: context)
            length = tokens.x.size(1)
        }
        let prefix = PrefixLengths(prefixTakesPositions ? source.prefix : nil)
        let places = Places(of: length, after: 0, behind: prefix, tokens, in: context)
        guard limit == 0 || prefix.longest + places.count <= limit else {
            return context.fail(
                .shape, "the source \(tooLong(length, prefix.longest, vectors: places.vectors, limit, "reads"))")
        }
        var x =
            switch front {
            case .tokens(let embedding):
                source.ids.map { embedding(tokens, of: $0, at: places, types: source.tokenTypes, in: context) }
                    ?? tokens.x
            case .features(let embedding): embedding.placed(tokens.x, in: context)
            }
        // One bias for all layers: it depends on the positions only.
        let sight = Sight(
            bias: bias.map { $0(queries: 0..<places.count, keys: places.count, in: context) }, mask: tokens.mask,
            causal: false, rotation: nil)
        let context = context.visiting(source.visitor, tokens, at: places, from: 0)
        for (index, layer) in layers.enumerated() {
            x = context.scope(keeping: {
                var kept: [Tensor] = []
                let y = layer(
                    x, sight, prefix: source.prefix?[index],
                    past: { own in
                        kept += source.keysValues.map { [own.put(into: $0, of: index)] } ?? []
                        return own
                    }, in: context)
                return (y, kept)
            })
        }
        return norm.map { $0(x, in: context) } ?? x
    }
}
