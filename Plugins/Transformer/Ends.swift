import SeamPlugin

/// Token ids to the first hidden states of a stack.
struct Embedding {
    private let table: Parameter
    private let scale: Double
    private let positions: PositionTable?
    private let norm: Norm?

    /// `table`: vectors of all tokens.
    init(_ weights: Weights, _ names: StackNames, _ table: Parameter, _ family: Family) {
        self.table = table
        scale = family.embeddingScale
        positions = PositionTable(weights, stack: names.stack, family)
        norm = family.embeddingNorm ? Norm(weights, names.stack + "layernorm_embedding", family) : nil
    }

    /// The vectors of the source's and the target's tokens, one parameter when both are one tensor.
    static func tables(_ weights: Weights, _ family: Family) -> (source: Parameter, target: Parameter) {
        // A shared table is usually saved once, as "shared"; some files have it under a stack's name.
        let (shared, encoder, decoder) = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
        if !family.sharedEmbedding, weights.has(decoder) {
            return (
                weights.parameter(encoder, [family.sourceVocabulary, family.dModel]),
                weights.parameter(decoder, [family.targetVocabulary, family.dModel])
            )
        }
        let name = [shared, encoder, decoder].first { weights.has($0) } ?? shared
        let table = weights.parameter(name, [family.sourceVocabulary, family.dModel])
        return (table, table)
    }

    /// Ids [batch, n] that stand at positions from `start` on.
    func callAsFunction(_ ids: Tensor, from start: Int, in context: Context) -> Tensor {
        var x = context[table].embedding(ids)
        if scale != 1 { x = x * scale }
        if let positions { x = x + positions(from: start, count: ids.size(1), in: context) }
        return norm.map { $0(x, in: context) } ?? x
    }
}

/// The decoder's last states to a score for every token.
struct Head {
    private let weight: Parameter
    private let bias: Parameter?
    private let scale: Double
    private let vocabulary: Int

    init(_ weights: Weights, tiedTo embedding: Parameter, _ family: Family) {
        let name = "lm_head.weight"
        let separate = switch family.head {
        case .tied: false
        case .separate: true
        case .separateIfPresent: weights.hasHead(name)
        }
        vocabulary = family.targetVocabulary
        scale = family.headScale
        weight = separate ? weights.headParameter(name, [vocabulary, family.dModel]) : embedding
        let constant = "final_logits_bias"
        bias = weights.hasHead(constant) ? weights.headParameter(constant, [1, vocabulary], frozen: true) : nil
    }

    /// What the head reads: the last states, scaled where the family does.
    func input(_ x: Tensor) -> Tensor { scale == 1 ? x : x * scale }

    func callAsFunction(_ x: Tensor, in context: Context) -> Tensor {
        x.linear(context[weight], bias.map { context[$0].reshape([vocabulary]) })
    }
}
