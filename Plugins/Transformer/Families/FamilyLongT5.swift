import SeamPlugin

extension Family {
    /// LongT5 (Guo et al. 2022): T5 whose encoder sees a window, and, with transient-global attention, sums of the whole
    /// text.
    static func longT5(_ config: Options) throws(PluginError) -> Family {
        var family = try t5Like(config, "longt5", multilingual: false, isScaled: true)
        let radius = try config.size("local_radius", default: 127)
        let layers = family.encoder?.layers ?? 0
        family.encoder?.windows = [Int](repeating: 2 * radius, count: layers)
        let kind = try config.string("encoder_attention_type", default: "local")
        switch kind {
        case "local": family.encoder?.names.selfAttention = "layer.0.LocalSelfAttention."
        case "transient-global":
            family.encoder?.names.selfAttention = "layer.0.TransientGlobalSelfAttention."
            family.encoder?.sumBlock = try config.size("global_block_size", default: 16)
        default:
            throw PluginError(
                .unsupported,
                "config.json: 'encoder_attention_type' is '\(kind)'; expected local or transient-global")
        }
        return family
    }
}
