import SeamPlugin

extension Family {
    /// M2M-100 (Fan et al. 2020) and NLLB-200 (NLLB Team 2022): the BART line with norms first and sinusoidal positions of
    /// the tokens that are not padding.
    static func m2m100(_ config: Options) throws(PluginError) -> Family {
        try bartLike(
            config, "m2m_100", positions: .sinusoidalByToken, normFirst: true, embeddingNorm: false, isScaled: true,
            activation: "relu")
    }
}
