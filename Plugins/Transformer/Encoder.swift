import SeamPlugin

/// The stack that reads a whole text at once.
struct Encoder {
    private let embedding: Embedding
    private let layers: [Layer]
    private let bias: RelativeBias?
    private let norm: Norm?
    private let limit: Int

    init(_ weights: Weights, _ stack: Family.Stack, _ table: Parameter, _ family: Family) {
        embedding = Embedding(weights, stack.names.embedding, table, family)
        layers = (0..<stack.layers).map { Layer(weights, $0, stack, attendsToEncoder: false, family) }
        bias = RelativeBias(weights, stack, bidirectional: true, family)
        norm = family.finalNorm ? Norm(weights, stack.names.stack + stack.names.finalNorm, family) : nil
        limit = family.limit
    }

    func callAsFunction(_ source: Source, in context: Context) -> Tensor {
        let length = source.ids.size(1)
        guard limit == 0 || length <= limit else {
            return context.fail(.shape, "the source has \(length) tokens and this model reads at most \(limit)")
        }
        let places = Places(start: 0, count: length)
        var x = embedding(source.ids, at: places, types: source.tokenTypes, in: context)
        // One bias for all layers: it depends on the positions only.
        let sight = Sight(
            bias: bias.map { $0(queries: length, keys: length, in: context) }, mask: source.mask, causal: false,
            rotation: nil)
        for layer in layers {
            x = context.scope { layer(x, sight, in: context) }
        }
        return norm.map { $0(x, in: context) } ?? x
    }
}
