import CMath
import SeamPlugin

extension Family {
    /// Nomic BERT (Nussbaum et al. 2024): BERT with rotary positions, a gated feed-forward network and no biases. Tensors
    /// have the names of its authors' code, in which transformers writes them, too.
    static func nomicBert(_ config: Options) throws(PluginError) -> Family {
        let width = try config.size("hidden_size")
        let heads = try config.size("num_attention_heads")
        let headDim = try config.headDim(width, heads: heads, "hidden_size", "num_attention_heads")
        guard try config.int("head_dim", default: headDim) == headDim else {
            throw PluginError(
                .unsupported,
                "config.json: 'head_dim' is not 'hidden_size' divided by 'num_attention_heads', \(headDim)")
        }
        let activation = try Activation(named: try config.string("hidden_act", default: "silu"), key: "hidden_act")
        let vocabulary = try config.size("vocab_size")
        var rotary = RotarySettings(
            config, limit: try config.size("max_position_embeddings", default: 2048, most: 1 << 24), headDim: headDim)
        rotary.base = 1000
        return Family(
            name: "nomic_bert", widthKey: "hidden_size", dModel: width, headDim: headDim,
            encoder: Stack(
                layers: try config.layers("num_hidden_layers"), heads: heads, keyValueHeads: heads,
                feedForward: try config.size("intermediate_size"), names: .nomicBert),
            positions: .rotary(try rotary.positions()), norm: .layer,
            epsilon: try config.double("layer_norm_eps", default: 1e-12), normFirst: false, finalNorm: false,
            embeddingNorm: true, biases: .none, activation: activation, gated: true,
            attentionScale: 1 / sqrt(Double(headDim)), tokenTypes: try config.size("type_vocab_size", default: 2),
            head: Head(
                weight: try config.bool("tie_word_embeddings", default: true) ? .tied : .separate,
                weightName: "cls.predictions.decoder.weight", biasName: "cls.predictions.bias", biasIsConstant: false,
                transform: Head.Transform(
                    dense: "cls.predictions.transform.dense", norm: "cls.predictions.transform.layer_norm",
                    activation: activation)),
            pooler: "pooler.dense", encoderPrefixTakesPositions: false, sourceVocabulary: vocabulary,
            targetVocabulary: vocabulary)
    }
}

extension StackNames {
    fileprivate static var nomicBert: StackNames {
        StackNames(
            stack: "encoder.", layers: "layers.",
            embedding: EmbeddingNames(
                tokens: "embeddings.word_embeddings.weight", tokenTypes: "embeddings.token_type_embeddings.weight",
                norm: "emb_ln"),
            selfAttention: "attn.", selfNorm: "norm1", projections: .fused("Wqkv"), output: "out_proj",
            up: "mlp.fc11", gate: "mlp.fc12", down: "mlp.fc2", feedForwardNorm: "norm2")
    }
}
