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
        return try llamaLike(config, "llama", biases)
    }

    /// Mistral 7B (Jiang et al. 2023): every layer has the window, where the file has one.
    static func mistral(_ config: Options) throws(PluginError) -> Family {
        var family = try llamaLike(config, "mistral", .none)
        let window = try config.int("sliding_window", default: 0)
        guard window >= 0, window <= 1 << 24 else {
            throw PluginError(
                .invalidArgument,
                "config.json: 'sliding_window' is \(window); expected 1 to \(1 << 24), or null for none")
        }
        let layers = try config.layers("num_hidden_layers")
        family.decoder?.windows = [Int](repeating: window, count: layers)
        return family
    }

    /// Qwen2 (Yang et al. 2024): biases on query, key and value; a window in the last layers, where it is switched on.
    static func qwen2(_ config: Options) throws(PluginError) -> Family {
        let biases = Biases(queryKeyValue: true, attentionOutput: false, feedForward: false)
        return try windowed(llamaLike(config, "qwen2", biases), config)
    }

    /// A family with Qwen's keys of windows: `use_sliding_window`, and the layers before `max_window_layers` see all.
    static func windowed(_ family: Family, _ config: Options) throws(PluginError) -> Family {
        var family = family
        let isOn = try config.bool("use_sliding_window", default: false)
        let window = isOn ? try config.size("sliding_window", default: 4096, most: 1 << 24) : 0
        let first = try config.int("max_window_layers", default: 28)
        let layers = try config.layers("num_hidden_layers")
        family.decoder?.windows = try config.windows(window, layers: layers) { $0 >= first }
        return family
    }

    static func llamaLike(
        _ config: Options, _ name: StaticString, _ biases: Biases
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
        let limit = try config.size("max_position_embeddings", default: 2048, most: 1 << 24)
        let vocabulary = try config.size("vocab_size")
        return Family(
            name: name, widthKey: "hidden_size", dModel: width, headDim: headDim,
            decoder: Stack(
                layers: try config.layers("num_hidden_layers"), heads: heads, keyValueHeads: groups,
                feedForward: try config.size("intermediate_size"), names: .llama),
            positions: .rotary(try RotarySettings(config, limit: limit, headDim: headDim).positions()), norm: .rms,
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
