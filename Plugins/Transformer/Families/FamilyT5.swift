import CMath
import SeamPlugin

extension Family {
    /// T5 (Raffel et al. 2020), its later versions 1.1 and FLAN, and the multilingual mT5, which is
    /// version 1.1 with other defaults.
    static func t5(_ config: Options, multilingual: Bool) throws(PluginError) -> Family {
        try t5Like(config, multilingual ? "mt5" : "t5", multilingual: multilingual, isScaled: !multilingual)
    }

    /// umT5 (Chung et al. 2023): mT5 with a relative bias in each layer.
    static func umt5(_ config: Options) throws(PluginError) -> Family {
        var family = try t5Like(config, "umt5", multilingual: true, isScaled: true)
        family.relativeBiasPerLayer = true
        return family
    }

    /// - Parameters:
    ///   - multilingual: the network's default.
    ///   - isScaled: whether the last states may be scaled, where config.json says it.
    static func t5Like(
        _ config: Options, _ name: StaticString, multilingual: Bool, isScaled: Bool
    ) throws(PluginError) -> Family {
        let dModel = try config.size("d_model")
        let heads = try config.size("num_heads")
        let layers = try config.layers("num_layers")
        let width = try config.size("d_ff")
        let vocabulary = try config.size("vocab_size")
        let (told, gated) = try feedForward(
            try config.string("feed_forward_proj", default: multilingual ? "gated-gelu" : "relu"))
        // transformers writes both, and reads this one behind the other.
        let own = try config.string("dense_act_fn", default: "")
        let activation = own == "" ? told : try Activation(named: own, key: "dense_act_fn")
        // Version 1.0 multiplies the last state by 1/sqrt(d_model) and reads it with the embedding; 1.1 does
        // neither. Files from transformers 4 say so with tie_word_embeddings, those from 5 always set that
        // and say it with scale_decoder_outputs.
        let tied = try config.bool("tie_word_embeddings", default: true)
        let isOff = try config.isNull("scale_decoder_outputs")
        let scaled = isScaled && !isOff ? try config.bool("scale_decoder_outputs", default: tied) : false
        return Family(
            name: name, dModel: dModel, headDim: try config.size("d_kv"),
            encoder: Stack(
                layers: layers, heads: heads, keyValueHeads: heads, feedForward: width,
                names: .t5("encoder.", sublayer: 1, gated: gated)),
            decoder: Stack(
                layers: try config.layers("num_decoder_layers", default: layers), heads: heads, keyValueHeads: heads,
                feedForward: width, names: .t5("decoder.", sublayer: 2, gated: gated)),
            positions: try relativePositions(config), norm: .rms,
            epsilon: try config.double("layer_norm_epsilon", default: 1e-6), normFirst: true, finalNorm: true,
            biases: .none, activation: activation, gated: gated, attentionScale: 1, sharedEmbedding: true,
            head: Head(
                weight: scaled ? .tied : tied ? .separateIfPresent : .separate,
                scale: scaled ? 1 / sqrt(Double(dModel)) : 1),
            sourceVocabulary: vocabulary, targetVocabulary: vocabulary)
    }

    /// "relu", "gated-gelu", "gated-silu" ...; gated gelu is by tradition the tanh approximation.
    private static func feedForward(_ name: Text) throws(PluginError) -> (Activation, gated: Bool) {
        let key: StaticString = "feed_forward_proj"
        if name == "gated-gelu" { return (.geluTanh, true) }
        if let inner = name.dropping("gated-") { return (try Activation(named: inner, key: key), true) }
        return (try Activation(named: name, key: key), false)
    }

    private static func relativePositions(_ config: Options) throws(PluginError) -> Positions {
        let buckets = try config.size("relative_attention_num_buckets", default: 32, most: 1024)
        let distance = try config.size("relative_attention_max_distance", default: 128)
        // The encoder halves the buckets by direction, and half of those are exact distances.
        guard buckets >= 4, buckets % 4 == 0, distance > buckets / 2 else {
            throw PluginError(
                .unsupported,
                "config.json: 'relative_attention_num_buckets' is \(buckets) and 'relative_attention_max_distance' "
                    + "is \(distance); expected a multiple of 4 and more than half of it")
        }
        return .relative(buckets: buckets, maxDistance: distance)
    }
}

extension StackNames {
    /// A T5 block numbers its sub-layers: self-attention 0, in the decoder cross-attention 1, then the
    /// feed-forward network, here `sublayer`.
    fileprivate static func t5(_ stack: String, sublayer: Int, gated: Bool) -> StackNames {
        let network = "layer.\(sublayer).DenseReluDense."
        return StackNames(
            stack: stack, layers: "block.", embedding: .of(stack),
            selfAttention: "layer.0.SelfAttention.", selfNorm: "layer.0.layer_norm",
            crossAttention: "layer.1.EncDecAttention.", crossNorm: "layer.1.layer_norm",
            projections: .separate(query: "q", key: "k", value: "v"), output: "o",
            up: gated ? network + "wi_1" : network + "wi", gate: network + "wi_0", down: network + "wo",
            feedForwardNorm: "layer.\(sublayer).layer_norm", finalNorm: "final_layer_norm")
    }
}
