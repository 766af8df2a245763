import SeamPlugin

/// What a family calls the tensors of one stack.
struct StackNames {
    /// Before the stack's layers: "encoder." or "decoder.".
    var stack = ""
    /// Before a layer's number: "layers.".
    let layers: String
    var embedding: EmbeddingNames

    // After a layer's name; a norm without a name is none.
    var selfAttention: String
    let selfNorm: String
    var crossAttention = "", crossNorm = ""
    let projections: Projections
    let output: String
    /// The two matrices of the feed-forward network, and the second input of a gated one.
    var up = ""
    var gate = ""
    /// One matrix for gate and up, below each other; "": they are two.
    var gateUp = ""
    let down, feedForwardNorm: String
    /// Norms of what self-attention and the feed-forward network give, before it is added to what they read.
    var selfOutputNorm = "", feedForwardOutputNorm = ""
    /// Norms of queries and keys, after the attention's name.
    var queryNorm = "", keyNorm = ""

    /// After the stack's name.
    var finalNorm = ""

    /// Of query, key and value, after the attention's name.
    enum Projections {
        case separate(query: String, key: String, value: String)
        /// One matrix, the three below each other.
        case fused(String)
        /// One matrix, the three of each head below each other.
        case fusedByHead(String)
    }

    /// A norm as wide as the states that the first layer has.
    func firstNorm(_ family: Family) -> String? {
        let own = family.firstAttentionNorm ? [selfNorm, selfOutputNorm] : [feedForwardNorm]
        return own.first { !$0.isEmpty }
    }

    /// Before the names of one layer.
    func layer(_ index: Int) -> String { "\(stack)\(layers)\(index)." }
}

/// The tensors that token ids become vectors with.
struct EmbeddingNames {
    let tokens: String
    var positions = "", tokenTypes = "", norm = "", projection = ""

    /// T5's and BART's, inside the stack.
    static func of(_ stack: String) -> EmbeddingNames {
        EmbeddingNames(
            tokens: stack + "embed_tokens.weight", positions: stack + "embed_positions.weight",
            norm: stack + "layernorm_embedding")
    }
}
