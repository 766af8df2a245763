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
        let window = try config.window("sliding_window")
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
        let hasNone = try config.isNull("sliding_window")
        let window = isOn && !hasNone ? try config.size("sliding_window", default: 4096, most: 1 << 24) : 0
        let first = try config.int("max_window_layers", default: 28)
        let layers = try config.layers("num_hidden_layers")
        family.decoder?.windows = try config.windows(window, layers: layers) { $0 >= first }
        return family
    }

    /// What a family with Llama's keys takes where the file is silent.
    struct LlamaDefaults {
        var headDim: Int?
        /// Heads of keys and values; nil: as many as of queries.
        var keyValueHeads: Int?
        var limit = 2048
        var epsilon = 1e-6
        var rotaryBase = 10_000.0
        var isTied = false
        /// The key of the activation, and its default.
        var activationKey: StaticString = "hidden_act", activation: StaticString = "silu"
    }

    /// A family with Llama's layers and keys.
    static func llamaLike(
        _ config: Options, _ name: StaticString, _ biases: Biases, _ defaults: LlamaDefaults = LlamaDefaults(),
        norm: NormKind = .rms, names: StackNames = .llama,
        rotary: (RotarySettings) throws(PluginError) -> RotaryPositions = { settings throws(PluginError) in
            try settings.positions()
        }
    ) throws(PluginError) -> Family {
        let width = try config.size("hidden_size")
        let heads = try config.size("num_attention_heads")
        let groups = try config.size("num_key_value_heads", default: defaults.keyValueHeads ?? heads)
        guard heads % groups == 0 else {
            throw PluginError(
                .unsupported,
                "config.json: 'num_attention_heads' is \(heads) and 'num_key_value_heads' \(groups); "
                    + "expected a number that divides it")
        }
        var headDim = try config.int("head_dim", default: defaults.headDim ?? 0)
        if headDim == 0 { headDim = try config.headDim(width, heads: heads, "hidden_size", "num_attention_heads") }
        guard headDim > 0, headDim <= 1 << 16 else {
            throw PluginError(.invalidArgument, "config.json: 'head_dim' is \(headDim); expected 1 to \(1 << 16)")
        }
        let limit = try config.size("max_position_embeddings", default: defaults.limit, most: 1 << 24)
        let vocabulary = try config.size("vocab_size")
        var settings = RotarySettings(config, limit: limit, headDim: headDim)
        settings.base = defaults.rotaryBase
        let activation = try config.string("\(defaults.activationKey)", default: defaults.activation)
        return Family(
            name: name, widthKey: "hidden_size", dModel: width, headDim: headDim,
            decoder: Stack(
                layers: try config.layers("num_hidden_layers"), heads: heads, keyValueHeads: groups,
                feedForward: try config.size("intermediate_size"), names: names),
            positions: .rotary(try rotary(settings)), norm: norm,
            epsilon: try config.double("rms_norm_eps", default: defaults.epsilon), normFirst: true, finalNorm: true,
            biases: biases, activation: try Activation(named: activation, key: defaults.activationKey),
            gated: true, attentionScale: 1 / sqrt(Double(headDim)),
            head: Head(
                weight: try config.bool("tie_word_embeddings", default: defaults.isTied) ? .tied : .separate),
            sourceVocabulary: vocabulary, targetVocabulary: vocabulary)
    }
}

extension StackNames {
    static var llama: StackNames { .llama() }

    /// Llama's names, with other norms around the sub-layers.
    static func llama(
        selfNorm: String = "input_layernorm", selfOutputNorm: String = "",
        feedForwardNorm: String = "post_attention_layernorm", feedForwardOutputNorm: String = "",
        normsQueries: Bool = false
    ) -> StackNames {
        var names = StackNames(
            layers: "layers.", embedding: EmbeddingNames(tokens: "embed_tokens.weight"),
            selfAttention: "self_attn.", selfNorm: selfNorm,
            projections: .separate(query: "q_proj", key: "k_proj", value: "v_proj"), output: "o_proj",
            up: "mlp.up_proj", gate: "mlp.gate_proj", down: "mlp.down_proj", feedForwardNorm: feedForwardNorm,
            finalNorm: "norm")
        (names.selfOutputNorm, names.feedForwardOutputNorm) = (selfOutputNorm, feedForwardOutputNorm)
        if normsQueries { (names.queryNorm, names.keyNorm) = ("q_norm", "k_norm") }
        return names
    }
}
