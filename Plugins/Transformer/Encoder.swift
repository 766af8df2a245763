import SeamPlugin

/// The stack that reads a whole text at once.
struct Encoder {
    private let embedding: Embedding
    private let layers: [Layer]
    private let bias: RelativeBias?
    private let norm: Norm?
    private let limit: Int
    /// A prefix takes the first positions of the text.
    private let prefixTakesPositions: Bool

    init(_ weights: Weights, _ stack: Family.Stack, _ table: Parameter, _ family: Family) {
        embedding = Embedding(weights, stack.names.embedding, table, family)
        layers = (0..<stack.layers).map {
            Layer(weights, LayerPlace(stack: .encoder, index: $0), stack, attendsToEncoder: false, family)
        }
        bias = RelativeBias(weights, stack, bidirectional: true, family)
        norm = family.finalNorm ? Norm(weights, stack.names.stack + stack.names.finalNorm, family) : nil
        limit = family.limit
        prefixTakesPositions = family.architecture == .encoderOnly
    }

    func callAsFunction(_ source: Source, in context: Context) -> Tensor {
        guard let ids = source.ids else { return context.fail(.unsupported, "this model reads token ids") }
        let length = ids.size(1)
        let prefix = PrefixLengths(prefixTakesPositions ? source.prefix : nil)
        guard limit == 0 || prefix.longest + length <= limit else {
            return context.fail(.shape, "the source \(tooLong(length, prefix.longest, limit, "reads"))")
        }
        let places = Places(of: length, after: 0, behind: prefix, in: context)
        var x = embedding(ids, at: places, types: source.tokenTypes, in: context)
        // One bias for all layers: it depends on the positions only.
        let sight = Sight(
            bias: bias.map { $0(queries: 0..<length, keys: length, in: context) }, mask: source.mask, causal: false,
            rotation: nil)
        let context = context.visiting(source)
        for (index, layer) in layers.enumerated() {
            x = context.scope { layer(x, sight, prefix: source.prefix?[index], in: context) }
        }
        return norm.map { $0(x, in: context) } ?? x
    }
}
