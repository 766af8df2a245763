import CMath
import SeamPlugin

extension Family {
    /// OPT (Zhang et al. 2022): a decoder with learned positions, whose table has two rows before the first one's. The 350m
    /// model has norms behind the sums, and narrower vectors of tokens.
    static func opt(_ config: Options) throws(PluginError) -> Family {
        guard try config.bool("layer_norm_elementwise_affine", default: true) else {
            throw PluginError(
                .unsupported, "config.json: 'layer_norm_elementwise_affine' is false; expected true")
        }
        let width = try config.size("hidden_size")
        let heads = try config.size("num_attention_heads")
        let headDim = try config.headDim(width, heads: heads, "hidden_size", "num_attention_heads")
        let normFirst = try config.bool("do_layer_norm_before", default: true)
        let removesNorm = try config.bool("_remove_final_layer_norm", default: false)
        let bias = try config.bool("enable_bias", default: true)
        let vocabulary = try config.size("vocab_size")
        var family = Family(
            name: "opt", widthKey: "hidden_size", dModel: width, headDim: headDim,
            decoder: Stack(
                layers: try config.layers("num_hidden_layers"), heads: heads, keyValueHeads: heads,
                feedForward: try config.size("ffn_dim"), names: .opt),
            positions: .learned(
                limit: try config.size("max_position_embeddings", default: 2048, most: 1 << 24), offset: 2),
            norm: .layer, epsilon: 1e-5, normFirst: normFirst, finalNorm: normFirst && !removesNorm,
            biases: Biases(queryKeyValue: bias, attentionOutput: bias, feedForward: bias),
            activation: try Activation(
                named: try config.string("activation_function", default: "relu"), key: "activation_function"),
            attentionScale: 1 / sqrt(Double(headDim)),
            head: Head(weight: try config.bool("tie_word_embeddings", default: true) ? .tied : .separate),
            sourceVocabulary: vocabulary, targetVocabulary: vocabulary)
        let inner = try config.size("word_embed_proj_dim", default: width)
        if inner != width {
            family.embeddingProjection = EmbeddingProjection(
                width: inner, bias: false, normFirst: false, positionsBehind: true)
            family.head.projection = "decoder.project_out"
        }
        return family
    }
}

extension StackNames {
    fileprivate static var opt: StackNames {
        StackNames(
            stack: "decoder.", layers: "layers.",
            embedding: EmbeddingNames(
                tokens: "decoder.embed_tokens.weight", positions: "decoder.embed_positions.weight",
                projection: "decoder.project_in"),
            selfAttention: "self_attn.", selfNorm: "self_attn_layer_norm",
            projections: .separate(query: "q_proj", key: "k_proj", value: "v_proj"), output: "out_proj",
            up: "fc1", down: "fc2", feedForwardNorm: "final_layer_norm", finalNorm: "final_layer_norm")
    }
}
