import SeamPlugin

/// Token ids to the first hidden states of a stack.
struct Embedding {
    private let table: Parameter
    private let scale: Double
    private let positions: PositionTable?
    private let tokenTypes: Parameter?
    private let norm: Norm?
    private let projection: Linear?
    private let normFirst, positionsBehind: Bool
    /// The norm is of the tokens alone, before anything is added.
    private let normsTokens: Bool
    /// The point of what flows into the first layer, before anything but the tokens' own vectors is in it.
    private let point: Int
    /// In an encoder positions are the family's to count; in a decoder they come with the tokens.
    private let countsPositions: Bool

    /// `table`: vectors of all tokens.
    init(
        _ weights: Weights, _ names: EmbeddingNames, _ table: Parameter, _ family: Family, of stack: Point.Stack
    ) {
        self.table = table
        // What stands before a text there is as wide as the states.
        point =
            family.embeddingProjection == nil ? weights.point(Point(embeddingOf: stack, width: family.dModel)) : -1
        countsPositions = stack == .encoder
        scale = family.embeddingScale
        positions = PositionTable(weights, names.positions, family)
        tokenTypes =
            family.tokenTypes > 0
            ? weights.parameter(names.tokenTypes, [family.tokenTypes, family.embeddingWidth]) : nil
        normFirst = family.embeddingProjection?.normFirst ?? true
        positionsBehind = family.embeddingProjection?.positionsBehind ?? false
        norm =
            family.embeddingNorm
            ? Norm(weights, names.norm, family, width: normFirst ? family.embeddingWidth : family.dModel) : nil
        projection = family.embeddingProjection.map {
            Linear(weights, names.projection, from: $0.width, to: family.dModel, bias: $0.bias, family)
        }
        normsTokens = stack == .decoder && family.decoderNormsTokens
    }

    /// The vectors of the encoder's and the decoder's tokens, one parameter when both are one tensor or there is one
    /// stack only.
    static func tables(_ weights: Weights, _ family: Family) -> (source: Parameter, target: Parameter) {
        let (encoder, decoder) = (family.encoder?.names.embedding.tokens, family.decoder?.names.embedding.tokens)
        guard let encoder, let decoder, family.features == nil else {
            let tokens = family.features == nil ? encoder ?? decoder : decoder
            let table = weights.parameter(tokens ?? "", [family.sourceVocabulary, family.embeddingWidth])
            return (table, table)
        }
        if !family.sharedEmbedding, weights.has(decoder) {
            return (
                weights.parameter(encoder, [family.sourceVocabulary, family.dModel]),
                weights.parameter(decoder, [family.targetVocabulary, family.dModel])
            )
        }
        // A shared table is usually saved once, as "shared"; some files have it under a stack's name.
        let shared = "shared.weight"
        let name = [shared, encoder, decoder].first { weights.has($0) } ?? shared
        let table = weights.parameter(name, [family.sourceVocabulary, family.dModel])
        return (table, table)
    }

    /// The vectors of the tokens alone, scaled where the family does, behind what adapters put before them: what
    /// transformers takes as inputs_embeds. `mask`, `positions`: as of `EmbeddedTokens`.
    func tokens(
        _ ids: Tensor, mask: Tensor?, positions: Tensor? = nil, _ visitor: Visitor?, in context: Context
    ) -> EmbeddedTokens {
        let x = context[table].embedding(ids)
        var tokens = EmbeddedTokens(x: scale == 1 ? x : x * scale, mask: mask, positions: positions)
        guard let visitor, visitor.wants(point) else { return tokens }
        if countsPositions { tokens.positions = self.positions.map { $0.numbers(of: ids, in: context) } }
        return visitor.embedded(tokens, at: point)
    }

    /// What flows into the first layer. `types`: which of two texts each token is of; nil: all of the first, as are
    /// vectors before the tokens.
    func callAsFunction(
        _ tokens: EmbeddedTokens, of ids: Tensor, at places: Places, types: Tensor? = nil, in context: Context
    ) -> Tensor {
        var x = tokens.x
        if let projection, positionsBehind { x = projection(x, in: context) }
        if normsTokens, let norm { x = norm(x, in: context) }
        var place = positions.map { $0(ids, at: places, in: context) }
        if let tokenTypes {
            var types = types
            if let own = types, places.vectors > 0 {
                types = context.full(0, [own.size(0), places.vectors], .i32).concat([own], axis: 1)
            }
            let type = context[tokenTypes].embedding(types ?? context.constant([Int32(0)], [1]))
            // Together they are smaller than x, where all tokens are of one text.
            place = place.map { $0 + type } ?? type
        }
        if let place { x = x + place }
        if let norm, normFirst, !normsTokens { x = norm(x, in: context) }
        if let projection, !positionsBehind { x = projection(x, in: context) }
        if let norm, !normFirst { x = norm(x, in: context) }
        return x
    }
}
