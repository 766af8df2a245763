import SeamPlugin

/// Decoders of the Llama line whose queries and keys have norms.
extension Family {
    /// Qwen3 (Yang et al. 2025): an RMS norm of each head's queries and keys, no biases unless the file has them, and
    /// windows as in Qwen2.
    static func qwen3(_ config: Options) throws(PluginError) -> Family {
        let attention = try config.bool("attention_bias", default: false)
        let biases = Biases(queryKeyValue: attention, attentionOutput: attention, feedForward: false)
        var defaults = LlamaDefaults()
        (defaults.headDim, defaults.limit) = (128, 32_768)
        var family = try llamaLike(config, "qwen3", biases, defaults, names: .llama(normsQueries: true))
        family.queryKeyNorm = .head
        return try windowed(family, config)
    }

    /// OLMo 2 (OLMo Team 2025, section 3.3): norms behind the sub-layers and none before them, and one over all queries of a
    /// token and one over all its keys.
    static func olmo2(_ config: Options) throws(PluginError) -> Family {
        let attention = try config.bool("attention_bias", default: false)
        let biases = Biases(queryKeyValue: attention, attentionOutput: attention, feedForward: false)
        var defaults = LlamaDefaults()
        defaults.epsilon = 1e-5
        let names = StackNames.llama(
            selfNorm: "", selfOutputNorm: "post_attention_layernorm", feedForwardNorm: "",
            feedForwardOutputNorm: "post_feedforward_layernorm", normsQueries: true)
        var family = try llamaLike(config, "olmo2", biases, defaults, names: names)
        family.queryKeyNorm = .allHeads
        return family
    }

    /// SmolLM3 (Hugging Face 2025): every fourth layer knows no positions, unless the file names others.
    static func smolLM3(_ config: Options) throws(PluginError) -> Family {
        let attention = try config.bool("attention_bias", default: false)
        let biases = Biases(
            queryKeyValue: attention, attentionOutput: attention,
            feedForward: try config.bool("mlp_bias", default: false))
        var defaults = LlamaDefaults()
        (defaults.keyValueHeads, defaults.limit) = (4, 32_768)
        (defaults.rotaryBase, defaults.isTied) = (2_000_000, true)
        var family = try llamaLike(config, "smollm3", biases, defaults)
        let layers = try config.layers("num_hidden_layers")
        let unrotated = try unrotatedLayers(config, layers: layers)
        // A list of the layers says which have a window, whatever the switch is.
        let isListed = try config.count("layer_types") != nil
        let isOn = isListed ? true : try config.bool("use_sliding_window", default: false)
        let window = isOn ? try config.window("sliding_window") : 0
        family.decoder?.unrotatedLayers = unrotated
        family.decoder?.windows = try config.windows(window, layers: layers) { unrotated.contains($0) }
        return family
    }

    /// Those that `no_rope_layers` says 0 of.
    private static func unrotatedLayers(_ config: Options, layers: Int) throws(PluginError) -> [Int] {
        let key = "no_rope_layers"
        let count = try config.count(key) ?? 0
        guard count > 0 else {
            let interval = try config.size("no_rope_layer_interval", default: 4)
            return (0..<layers).filter { ($0 + 1) % interval == 0 }
        }
        guard count >= layers else {
            throw PluginError(
                .invalidArgument, "config.json: '\(key)' has \(count) layers; expected the \(layers) that the model has"
            )
        }
        var unrotated: [Int] = []
        for layer in 0..<layers where try config.int("\(key).\(layer)") == 0 { unrotated.append(layer) }
        return unrotated
    }
}
