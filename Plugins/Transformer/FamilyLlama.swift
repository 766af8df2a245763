import CMath
import SeamPlugin

/// The Llama line: decoders with RMS norms first, rotary positions, shared heads of keys and values and a gated
/// feed-forward network.
extension Family {
    /// Llama (Touvron et al. 2023) and its successors up to 3.
    static func llama(_ config: Options) throws(PluginError) -> Family {
        let attention = try config.bool("attention_bias", default: false)
        let biases = Biases(
            queryKeyValue: attention, attentionOutput: attention,
            feedForward: try config.bool("mlp_bias", default: false))
        return try llamaLike(config, "llama", biases, window: nil)
    }

    /// Mistral 7B (Jiang et al. 2023). A text within the attention's window sees all of itself, so the window is the
    /// limit.
    static func mistral(_ config: Options) throws(PluginError) -> Family {
        try llamaLike(config, "mistral", .none, window: "sliding_window")
    }

    /// Qwen2 (Yang et al. 2024): biases on query, key and value; the window as in Mistral, where it is switched on.
    static func qwen2(_ config: Options) throws(PluginError) -> Family {
        let biases = Biases(queryKeyValue: true, attentionOutput: false, feedForward: false)
        let windowed = try config.bool("use_sliding_window", default: false)
        return try llamaLike(config, "qwen2", biases, window: windowed ? "sliding_window" : nil)
    }

    /// `window`: the key of the number of tokens that one sees before it.
    private static func llamaLike(
        _ config: Options, _ name: StaticString, _ biases: Biases, window: String?
    ) throws(PluginError) -> Family {
        let width = try config.size("hidden_size")
        let heads = try config.size("num_attention_heads")
        let groups = try config.size("num_key_value_heads", default: heads)
        guard heads % groups == 0 else {
            throw PluginError(
                .unsupported,
                "config.json: 'num_attention_heads' is \(heads) and 'num_key_value_heads' \(groups); "
                    + "expected a number that divides it")
        }
        var headDim = try config.int("head_dim", default: 0)
        if headDim == 0 { headDim = try config.headDim(width, heads: heads, "hidden_size", "num_attention_heads") }
        guard headDim > 0, headDim <= 1 << 16 else {
            throw PluginError(.invalidArgument, "config.json: 'head_dim' is \(headDim); expected 1 to \(1 << 16)")
        }
        var limit = try config.size("max_position_embeddings", default: 2048, most: 1 << 24)
        if let window { limit = min(limit, try config.size(window, default: limit, most: 1 << 24)) }
        let vocabulary = try config.size("vocab_size")
        return Family(
            name: name, widthKey: "hidden_size", dModel: width, headDim: headDim,
            decoder: Stack(
                layers: try config.layers("num_hidden_layers"), heads: heads, keyValueHeads: groups,
                feedForward: try config.size("intermediate_size"), names: .llama),
            positions: try rotary(config, limit: limit, headDim: headDim), norm: .rms,
            epsilon: try config.double("rms_norm_eps", default: 1e-6), normFirst: true, finalNorm: true,
            biases: biases,
            activation: try Activation(named: try config.string("hidden_act", default: "silu"), key: "hidden_act"),
            gated: true, attentionScale: 1 / sqrt(Double(headDim)),
            head: Head(weight: try config.bool("tie_word_embeddings", default: false) ? .tied : .separate),
            sourceVocabulary: vocabulary, targetVocabulary: vocabulary)
    }
}

extension StackNames {
    fileprivate static var llama: StackNames {
        StackNames(
            layers: "layers.", embedding: EmbeddingNames(tokens: "embed_tokens.weight"),
            selfAttention: "self_attn.", selfNorm: "input_layernorm",
            projections: .separate(query: "q_proj", key: "k_proj", value: "v_proj"), output: "o_proj",
            up: "mlp.up_proj", gate: "mlp.gate_proj", down: "mlp.down_proj",
            feedForwardNorm: "post_attention_layernorm", finalNorm: "norm")
    }
}
