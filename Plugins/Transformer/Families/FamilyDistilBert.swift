import CMath
import SeamPlugin

extension Family {
    /// DistilBERT (Sanh et al. 2019): BERT without token types and pooler. Sinusoids, where a model was begun with them
    /// (`sinusoidal_pos_embds`), are in its table.
    static func distilbert(_ config: Options) throws(PluginError) -> Family {
        let width = try config.size("dim")
        let heads = try config.size("n_heads")
        let headDim = try config.headDim(width, heads: heads, "dim", "n_heads")
        let vocabulary = try config.size("vocab_size")
        let activation = try Activation(named: try config.string("activation", default: "gelu"), key: "activation")
        return Family(
            name: "distilbert", widthKey: "dim", dModel: width, headDim: headDim,
            encoder: Stack(
                layers: try config.layers("n_layers"), heads: heads, keyValueHeads: heads,
                feedForward: try config.size("hidden_dim"), names: .distilbert),
            positions: .learned(limit: try config.size("max_position_embeddings", default: 512), offset: 0),
            norm: .layer, epsilon: 1e-12, normFirst: false, finalNorm: false, embeddingNorm: true, biases: .all,
            activation: activation, attentionScale: 1 / sqrt(Double(headDim)),
            head: Head(
                weight: try config.bool("tie_word_embeddings", default: true) ? .tied : .separate,
                weightName: "vocab_projector.weight", biasName: "vocab_projector.bias", biasIsConstant: false,
                transform: Head.Transform(
                    dense: "vocab_transform", norm: "vocab_layer_norm", activation: activation)),
            encoderPrefixTakesPositions: false, sourceVocabulary: vocabulary, targetVocabulary: vocabulary)
    }
}

extension StackNames {
    fileprivate static var distilbert: StackNames {
        StackNames(
            stack: "transformer.", layers: "layer.",
            embedding: EmbeddingNames(
                tokens: "embeddings.word_embeddings.weight", positions: "embeddings.position_embeddings.weight",
                norm: "embeddings.LayerNorm"),
            selfAttention: "attention.", selfNorm: "sa_layer_norm",
            projections: .separate(query: "q_lin", key: "k_lin", value: "v_lin"), output: "out_lin",
            up: "ffn.lin1", down: "ffn.lin2", feedForwardNorm: "output_layer_norm")
    }
}
