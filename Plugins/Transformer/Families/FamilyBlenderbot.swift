import SeamPlugin

/// The chatbots of Roller et al. 2020: the BART line with learned positions that begin at their table's first row.
extension Family {
    /// Blenderbot 400M to 3B: norms first.
    static func blenderbot(_ config: Options) throws(PluginError) -> Family {
        try bartLike(config, "blenderbot", positions: .learned, normFirst: true, embeddingNorm: false)
    }

    /// Blenderbot 90M: norm after the sum, and a norm on the embeddings, which in the decoder stands before positions.
    static func blenderbotSmall(_ config: Options) throws(PluginError) -> Family {
        var family = try bartLike(
            config, "blenderbot-small", positions: .learned, normFirst: false, embeddingNorm: true)
        family.decoderNormsTokens = true
        return family
    }
}
