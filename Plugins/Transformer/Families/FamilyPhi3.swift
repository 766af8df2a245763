import SeamPlugin

extension Family {
    /// Phi-3 and Phi-4-mini (Abdin et al. 2024): decoders of the Llama line with one matrix for query, key and value and one
    /// for gate and up, a part of each head rotated, and LongRoPE, which older files call "su" or "yarn".
    static func phi3(_ config: Options) throws(PluginError) -> Family {
        var defaults = LlamaDefaults()
        (defaults.epsilon, defaults.limit) = (1e-5, 4096)
        var family = try llamaLike(config, "phi3", .none, defaults, names: .phi3) { settings throws(PluginError) in
            var settings = settings
            (settings.part, settings.longropeNames) = (1, ["su", "yarn"])
            settings.usualOriginalLength = 4096
            return try settings.positions()
        }
        let window = try config.window("sliding_window")
        let layers = try config.layers("num_hidden_layers")
        family.decoder?.windows = [Int](repeating: window, count: layers)
        return family
    }
}

extension StackNames {
    fileprivate static var phi3: StackNames {
        StackNames(
            layers: "layers.", embedding: EmbeddingNames(tokens: "embed_tokens.weight"),
            selfAttention: "self_attn.", selfNorm: "input_layernorm", projections: .fused("qkv_proj"),
            output: "o_proj", gateUp: "mlp.gate_up_proj", down: "mlp.down_proj",
            feedForwardNorm: "post_attention_layernorm", finalNorm: "norm")
    }
}
