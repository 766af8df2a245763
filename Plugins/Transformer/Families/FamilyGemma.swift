import CMath
import SeamPlugin

/// The Gemma line: decoders of the Llama line with norms of 1 + weight before and behind the sub-layers, scaled embeddings,
/// and layers with a window between those that see all.
extension Family {
    /// Gemma 2 (Gemma Team 2024): scores of the attention and of the vocabulary are capped.
    static func gemma2(_ config: Options) throws(PluginError) -> Family {
        var defaults = gemmaDefaults
        defaults.limit = 8192
        var family = try gemmaLike(config, "gemma2", defaults)
        family.attentionCap = try config.cap("attn_logit_softcapping", default: 50)
        family.head.cap = try config.cap("final_logit_softcapping", default: 30)
        let window = try config.size("sliding_window", default: 4096, most: 1 << 24)
        let layers = try config.layers("num_hidden_layers")
        family.decoder?.windows = try config.windows(window, layers: layers) { $0 % 2 == 0 }
        return family
    }

    /// Gemma 3 (Gemma Team 2025), of texts: norms of queries and keys, and other rotary positions in layers with a window.
    /// What `attn_logit_softcapping` says is done by nobody in transformers either.
    static func gemma3(_ config: Options) throws(PluginError) -> Family {
        var defaults = gemmaDefaults
        (defaults.limit, defaults.rotaryBase) = (131_072, 1_000_000)
        var family = try gemmaLike(config, "gemma3_text", defaults, normsQueries: true) {
            settings throws(PluginError) in
            var settings = settings
            settings.layers = "full_attention."
            var positions = try settings.positions()
            (settings.layers, settings.base, settings.baseKey) = ("sliding_attention.", 10_000, "rope_local_base_freq")
            settings.olderScaling = nil
            positions.localFrequencies = try settings.localFrequencies()
            return positions
        }
        family.queryKeyNorm = .head
        family.head.cap = try config.cap("final_logit_softcapping", default: 0)
        let window = try config.size("sliding_window", default: 4096, most: 1 << 24)
        let pattern = try config.size("sliding_window_pattern", default: 6)
        let layers = try config.layers("num_hidden_layers")
        family.decoder?.windows = try config.windows(window, layers: layers) { ($0 + 1) % pattern != 0 }
        return family
    }

    private static var gemmaDefaults: LlamaDefaults {
        var defaults = LlamaDefaults()
        (defaults.headDim, defaults.keyValueHeads, defaults.isTied) = (256, 4, true)
        (defaults.activationKey, defaults.activation) = ("hidden_activation", "gelu_pytorch_tanh")
        return defaults
    }

    private static func gemmaLike(
        _ config: Options, _ name: StaticString, _ defaults: LlamaDefaults, normsQueries: Bool = false,
        rotary: (RotarySettings) throws(PluginError) -> RotaryPositions = { settings throws(PluginError) in
            try settings.positions()
        }
    ) throws(PluginError) -> Family {
        guard try !config.bool("use_bidirectional_attention", default: false) else {
            throw PluginError(.unsupported, "config.json: 'use_bidirectional_attention' is true; expected false")
        }
        let attention = try config.bool("attention_bias", default: false)
        let biases = Biases(queryKeyValue: attention, attentionOutput: attention, feedForward: false)
        let names = StackNames.llama(
            selfOutputNorm: "post_attention_layernorm", feedForwardNorm: "pre_feedforward_layernorm",
            feedForwardOutputNorm: "post_feedforward_layernorm", normsQueries: normsQueries)
        var family = try llamaLike(
            config, name, biases, defaults, norm: .rmsOfOnePlus, names: names, rotary: rotary)
        let scalar = try config.double("query_pre_attn_scalar", default: 256)
        guard scalar > 0 else {
            throw PluginError(
                .invalidArgument, "config.json: 'query_pre_attn_scalar' is \(scalar); expected a positive number")
        }
        family.attentionScale = 1 / sqrt(scalar)
        family.embeddingScale = sqrt(Double(family.dModel))
        return family
    }
}

extension Options {
    /// What scores are capped at; 0, which is no cap, where the file says null.
    fileprivate func cap(_ key: String, default value: Double) throws(PluginError) -> Double {
        if try isNull(key) { return 0 }
        let cap = try double(key, default: value)
        guard cap >= 0, cap < 1e6 else {
            throw PluginError(.invalidArgument, "config.json: '\(key)' is \(cap); expected a positive number or null")
        }
        return cap
    }
}
