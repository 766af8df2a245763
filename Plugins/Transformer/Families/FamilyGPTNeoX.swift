import CMath
import SeamPlugin

extension Family {
    /// GPT-NeoX (Black et al. 2022) and Pythia: attention and feed-forward network beside each other, a part of each head
    /// rotated, and one matrix in which every head has its query, key and value together.
    static func gptNeoX(_ config: Options) throws(PluginError) -> Family {
        let width = try config.size("hidden_size")
        let heads = try config.size("num_attention_heads")
        let headDim = try config.headDim(width, heads: heads, "hidden_size", "num_attention_heads")
        let limit = try config.size("max_position_embeddings", default: 2048, most: 1 << 24)
        let attention = try config.bool("attention_bias", default: true)
        let vocabulary = try config.size("vocab_size")
        var settings = RotarySettings(config, limit: limit, headDim: headDim)
        (settings.baseKey, settings.part, settings.partKey) = ("rotary_emb_base", 0.25, "rotary_pct")
        var family = Family(
            name: "gpt_neox", widthKey: "hidden_size", dModel: width, headDim: headDim,
            decoder: Stack(
                layers: try config.layers("num_hidden_layers"), heads: heads, keyValueHeads: heads,
                feedForward: try config.size("intermediate_size"), names: .gptNeoX),
            positions: .rotary(try settings.positions()), norm: .layer,
            epsilon: try config.double("layer_norm_eps", default: 1e-5), normFirst: true, finalNorm: true,
            biases: Biases(queryKeyValue: attention, attentionOutput: attention, feedForward: true),
            activation: try Activation(
                named: try config.string("hidden_act", default: "gelu"), key: "hidden_act"),
            attentionScale: 1 / sqrt(Double(headDim)),
            head: Head(
                weight: try config.bool("tie_word_embeddings", default: false) ? .tied : .separate,
                otherWeightName: "embed_out.weight"),
            sourceVocabulary: vocabulary, targetVocabulary: vocabulary)
        family.parallelBlocks = try config.bool("use_parallel_residual", default: true)
        return family
    }
}

extension StackNames {
    fileprivate static var gptNeoX: StackNames {
        StackNames(
            layers: "layers.", embedding: EmbeddingNames(tokens: "embed_in.weight"), selfAttention: "attention.",
            selfNorm: "input_layernorm", projections: .fusedByHead("query_key_value"), output: "dense",
            up: "mlp.dense_h_to_4h", down: "mlp.dense_4h_to_h", feedForwardNorm: "post_attention_layernorm",
            finalNorm: "final_layer_norm")
    }
}
