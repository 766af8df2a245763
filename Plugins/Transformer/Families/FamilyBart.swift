import CMath
import SeamPlugin

/// The BART line: one layout of config.json and of tensor names, and three choices that differ.
extension Family {
    /// BART (Lewis et al. 2020): norm after the sum, a norm on the embeddings, learned positions.
    static func bart(_ config: Options) throws(PluginError) -> Family {
        try bartLike(config, "bart", positions: .behindTwo, normFirst: false, embeddingNorm: true)
    }
    /// mBART (Liu et al. 2020): as BART, with the norms first and one at each end.
    static func mbart(_ config: Options) throws(PluginError) -> Family {
        try bartLike(config, "mbart", positions: .behindTwo, normFirst: true, embeddingNorm: true)
    }
    /// MVP (Tang et al. 2022): BART; the prompts of its variants for single tasks are not offered.
    static func mvp(_ config: Options) throws(PluginError) -> Family {
        guard try config.bool("use_prompt", default: false) == false else {
            throw PluginError(.unsupported, "config.json: 'use_prompt' is true; expected false for 'mvp'")
        }
        return try bartLike(config, "mvp", positions: .behindTwo, normFirst: false, embeddingNorm: true)
    }
    /// PLBART (Ahmad et al. 2021): BART, of programs.
    static func plbart(_ config: Options) throws(PluginError) -> Family {
        try bartLike(config, "plbart", positions: .behindTwo, normFirst: false, embeddingNorm: true, isScaled: true)
    }
    /// Marian and the OPUS-MT models: the original Transformer, sinusoidal positions, norm after the sum.
    static func marian(_ config: Options) throws(PluginError) -> Family {
        try bartLike(config, "marian", positions: .sinusoidal, normFirst: false, embeddingNorm: false)
    }
    /// PEGASUS (Zhang et al. 2020): sinusoidal positions, norms first.
    static func pegasus(_ config: Options) throws(PluginError) -> Family {
        try bartLike(config, "pegasus", positions: .sinusoidal, normFirst: true, embeddingNorm: false)
    }

    /// The positions of the BART line.
    enum BartPositions {
        /// A learned table, and one whose first two rows are a leftover of the padding index.
        case learned, behindTwo
        case sinusoidal
        /// Of tokens that are not padding.
        case sinusoidalByToken
    }

    /// - Parameter isScaled: whether embeddings are scaled where config.json does not say.
    static func bartLike(
        _ config: Options, _ name: StaticString, positions: BartPositions, normFirst: Bool, embeddingNorm: Bool,
        isScaled: Bool = false, activation: StaticString = "gelu"
    ) throws(PluginError) -> Family {
        let dModel = try config.size("d_model")
        let (encoder, decoder) = try stacks(config, width: dModel)
        let vocabulary = try config.size("vocab_size")
        let shared = try config.bool("share_encoder_decoder_embeddings", default: true)
        let tied = try config.bool("tie_word_embeddings", default: true)
        return Family(
            name: name, dModel: dModel, headDim: dModel / encoder.heads, encoder: encoder, decoder: decoder,
            positions: try self.positions(positions, config, width: dModel),
            norm: .layer, epsilon: 1e-5, normFirst: normFirst, finalNorm: normFirst, embeddingNorm: embeddingNorm,
            biases: .all,
            activation: try Activation(
                named: try config.string("activation_function", default: activation), key: "activation_function"),
            attentionScale: 1 / sqrt(Double(dModel / encoder.heads)),
            embeddingScale: try config.bool("scale_embedding", default: isScaled) ? sqrt(Double(dModel)) : 1,
            sharedEmbedding: shared && tied, head: Head(weight: tied ? .tied : .separate),
            sourceVocabulary: vocabulary,
            targetVocabulary: shared ? vocabulary : try config.size("decoder_vocab_size", default: vocabulary))
    }

    private static func positions(
        _ kind: BartPositions, _ config: Options, width: Int
    ) throws(PluginError) -> Positions {
        let limit = try config.size("max_position_embeddings")
        switch kind {
        case .learned: return .learned(limit: limit, offset: 0)
        case .behindTwo: return .learned(limit: limit, offset: 2)
        case .sinusoidal, .sinusoidalByToken: break
        }
        // Positions that are computed make a table before any tensor of the file could tell that they are too many.
        guard limit * width <= 1 << 26 else {
            throw PluginError(
                .invalidArgument,
                "config.json: 'max_position_embeddings' is \(limit) and 'd_model' \(width); expected a product of at "
                    + "most \(1 << 26)")
        }
        guard case .sinusoidalByToken = kind else { return .sinusoidal(limit: limit) }
        let padding = try config.int("pad_token_id", default: 1)
        guard padding >= 0, padding <= limit, width >= 4 else {
            throw PluginError(
                .unsupported,
                "config.json: 'pad_token_id' is \(padding) and 'd_model' \(width); expected a token of 0 to "
                    + "\(limit), behind whose row those of the positions stand, and a width of at least 4")
        }
        return .sinusoidalByToken(limit: limit, padding: padding)
    }

    /// Encoder and decoder, whose heads have one width.
    static func stacks(_ config: Options, width dModel: Int) throws(PluginError) -> (encoder: Stack, decoder: Stack) {
        let encoder = try stack(config, "encoder")
        let decoder = try stack(config, "decoder")
        guard encoder.heads == decoder.heads, dModel % encoder.heads == 0 else {
            throw PluginError(
                .unsupported,
                "config.json: 'd_model' is \(dModel), 'encoder_attention_heads' \(encoder.heads) and "
                    + "'decoder_attention_heads' \(decoder.heads); expected equal numbers that divide the width")
        }
        return (encoder, decoder)
    }

    private static func stack(_ config: Options, _ side: String) throws(PluginError) -> Stack {
        let heads = try config.size(side + "_attention_heads")
        return Stack(
            layers: try config.layers(side + "_layers"), heads: heads, keyValueHeads: heads,
            feedForward: try config.size(side + "_ffn_dim"), names: .bart(side + "."))
    }
}

extension StackNames {
    fileprivate static func bart(_ stack: String) -> StackNames {
        StackNames(
            stack: stack, layers: "layers.", embedding: .of(stack),
            selfAttention: "self_attn.", selfNorm: "self_attn_layer_norm",
            crossAttention: "encoder_attn.", crossNorm: "encoder_attn_layer_norm",
            projections: .separate(query: "q_proj", key: "k_proj", value: "v_proj"), output: "out_proj",
            up: "fc1", down: "fc2",
            feedForwardNorm: "final_layer_norm", finalNorm: "layer_norm")
    }
}
