import CMath
import SeamPlugin

extension Family {
    /// GPT-2 (Radford et al. 2019): a decoder with the norms first, learned positions, one matrix for query, key and
    /// value, and all matrices transposed.
    static func gpt2(_ config: Options) throws(PluginError) -> Family {
        for key in ["scale_attn_by_inverse_layer_idx", "add_cross_attention"]
        where try config.bool(key, default: false) {
            throw PluginError(.unsupported, "config.json: '\(key)' is true; expected false")
        }
        let width = try config.size("n_embd")
        let heads = try config.size("n_head")
        let headDim = try config.headDim(width, heads: heads, "n_embd", "n_head")
        let vocabulary = try config.size("vocab_size")
        let scaled = try config.bool("scale_attn_weights", default: true)
        return Family(
            name: "gpt2", widthKey: "n_embd", dModel: width, headDim: headDim,
            decoder: Stack(
                layers: try config.layers("n_layer"), heads: heads, keyValueHeads: heads,
                feedForward: try config.size("n_inner", default: 4 * width), names: .gpt2),
            positions: .learned(limit: try config.size("n_positions", default: 1024), offset: 0), norm: .layer,
            epsilon: try config.double("layer_norm_epsilon", default: 1e-5), normFirst: true, finalNorm: true,
            biases: .all, transposedWeights: true,
            activation: try Activation(
                named: try config.string("activation_function", default: "gelu_new"), key: "activation_function"),
            attentionScale: scaled ? 1 / sqrt(Double(headDim)) : 1,
            head: Head(weight: try config.bool("tie_word_embeddings", default: true) ? .tied : .separate),
            sourceVocabulary: vocabulary, targetVocabulary: vocabulary)
    }
}

extension StackNames {
    fileprivate static var gpt2: StackNames {
        StackNames(
            layers: "h.", embedding: EmbeddingNames(tokens: "wte.weight", positions: "wpe.weight"),
            selfAttention: "attn.", selfNorm: "ln_1", projections: .fused("c_attn"), output: "c_proj",
            up: "mlp.c_fc", down: "mlp.c_proj", feedForwardNorm: "ln_2", finalNorm: "ln_f")
    }
}
