import CMath
import SeamPlugin

extension Family {
    /// ModernBERT (Warner et al. 2024): norms first, a gated feed-forward network, rotary positions, and layers in turn that
    /// see the whole text and tokens near by, with angles of their own.
    static func modernbert(_ config: Options) throws(PluginError) -> Family {
        let width = try config.size("hidden_size")
        let heads = try config.size("num_attention_heads")
        let headDim = try config.headDim(width, heads: heads, "hidden_size", "num_attention_heads")
        let layers = try config.layers("num_hidden_layers")
        let vocabulary = try config.size("vocab_size")
        let attention = try config.bool("attention_bias", default: false)
        let biases = Biases(
            queryKeyValue: attention, attentionOutput: attention,
            feedForward: try config.bool("mlp_bias", default: false))
        return Family(
            name: "modernbert", widthKey: "hidden_size", dModel: width, headDim: headDim,
            encoder: Stack(
                layers: layers, heads: heads, keyValueHeads: heads, feedForward: try config.size("intermediate_size"),
                names: .modernbert, windows: try windows(config, layers)),
            positions: .rotary(try twoRotations(config, headDim)), norm: .layer,
            epsilon: try config.double("norm_eps", default: 1e-5), normFirst: true, finalNorm: true,
            embeddingNorm: true, normBias: try config.bool("norm_bias", default: false), firstAttentionNorm: false,
            biases: biases,
            activation: try Activation(
                named: try config.string("hidden_activation", default: "gelu"), key: "hidden_activation"),
            gated: true, attentionScale: 1 / sqrt(Double(headDim)), head: try modernbertHead(config),
            pooling: try classifierPooling(config), encoderPrefixTakesPositions: false,
            sourceVocabulary: vocabulary, targetVocabulary: vocabulary)
    }

    private static func modernbertHead(_ config: Options) throws(PluginError) -> Head {
        let hasBias = try config.bool("decoder_bias", default: true)
        return Head(
            weight: try config.bool("tie_word_embeddings", default: true) ? .tied : .separate,
            weightName: "decoder.weight", biasName: hasBias ? "decoder.bias" : "", biasIsConstant: false,
            // A classifier's file has the layer, too, and no scores of the vocabulary behind it.
            needsBias: hasBias,
            transform: Head.Transform(
                dense: "head.dense", norm: "head.norm",
                activation: try Activation(
                    named: try config.string("classifier_activation", default: "gelu"), key: "classifier_activation"),
                bias: try config.bool("classifier_bias", default: false)))
    }

    /// Files of transformers 4 say which layers see all by their distance.
    private static func windows(_ config: Options, _ layers: Int) throws(PluginError) -> [Int] {
        let every = try config.size("global_attn_every_n_layers", default: 3, most: 1000)
        let window = try config.size("local_attention", default: 128, most: 1 << 24)
        return try config.windows(window, layers: layers) { $0 % every != 0 }
    }

    private static func twoRotations(_ config: Options, _ headDim: Int) throws(PluginError) -> RotaryPositions {
        let limit = try config.size("max_position_embeddings", default: 8192, most: 1 << 24)
        var settings = RotarySettings(config, limit: limit, headDim: headDim)
        (settings.base, settings.baseKey, settings.layers) = (10_000, "local_rope_theta", "sliding_attention.")
        let local = try settings.localFrequencies()
        (settings.base, settings.baseKey, settings.layers) = (160_000, "global_rope_theta", "full_attention.")
        var positions = try settings.positions()
        positions.localFrequencies = local
        return positions
    }

    private static func classifierPooling(_ config: Options) throws(PluginError) -> StaticString {
        let key = "classifier_pooling"
        switch try config.string(key, default: "cls") {
        case "cls": return "cls"
        case "mean": return "mean"
        case let other:
            throw PluginError(.unsupported, "config.json: '\(key)' is '\(other)'; expected cls or mean")
        }
    }
}

extension StackNames {
    fileprivate static var modernbert: StackNames {
        StackNames(
            layers: "layers.",
            embedding: EmbeddingNames(tokens: "embeddings.tok_embeddings.weight", norm: "embeddings.norm"),
            selfAttention: "attn.", selfNorm: "attn_norm", projections: .fused("Wqkv"), output: "Wo",
            gateUp: "mlp.Wi", down: "mlp.Wo", feedForwardNorm: "mlp_norm", finalNorm: "final_norm")
    }
}
