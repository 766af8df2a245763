import CMath
import SeamPlugin

extension Family {
    /// DeBERTa v2 and v3 (He et al. 2021 and 2023): BERT's layers with scores of contents and distances. Most models have no
    /// positions but these.
    static func debertaV2(_ config: Options) throws(PluginError) -> Family {
        let kernel = try config.int("conv_kernel_size", default: 0)
        guard kernel == 0 else {
            throw PluginError(
                .unsupported,
                "config.json: 'conv_kernel_size' is \(kernel); expected 0: the convolution of the larger DeBERTa v2 "
                    + "models is not computed")
        }
        let width = try config.size("hidden_size")
        let inner = try config.size("embedding_size", default: width)
        var family = try bertLike(
            config, "deberta-v2", .none, try debertaHead(config, width: width, embeddingWidth: inner), types: 0,
            epsilon: 1e-7,
            names: .bert(
                projections: .separate(query: "self.query_proj", key: "self.key_proj", value: "self.value_proj"),
                projection: "embeddings.embed_proj"))
        let headDim = try config.int("attention_head_size", default: family.headDim)
        guard headDim == family.headDim else {
            throw PluginError(
                .unsupported,
                "config.json: 'attention_head_size' is \(headDim); expected \(family.headDim), 'hidden_size' by "
                    + "'num_attention_heads'")
        }
        if inner != width {
            family.embeddingProjection = EmbeddingProjection(width: inner, bias: false, normFirst: false)
        }
        if try config.bool("position_biased_input", default: true) {
            family.positions = .learned(limit: try config.size("max_position_embeddings", default: 512), offset: 0)
        }
        let kinds = try positionScores(config)
        if try config.bool("relative_attention", default: false) {
            family.disentangled = try disentangled(config, kinds)
        }
        // As many kinds of scores as there are to add, also where there are no distances.
        family.attentionScale = 1 / sqrt(Double(headDim * (1 + (kinds.c2p ? 1 : 0) + (kinds.p2c ? 1 : 0))))
        family.encoderPrefixTakesPositions = false
        family.pooler = nil
        return family
    }

    /// Files have BERT's head, or, where `legacy` is false, the one that the models were trained with.
    private static func debertaHead(
        _ config: Options, width: Int, embeddingWidth: Int
    ) throws(PluginError) -> Head {
        if try config.bool("legacy", default: true) { return try .bert(config) }
        guard embeddingWidth == width else {
            throw PluginError(
                .unsupported,
                "config.json: 'legacy' is false and 'embedding_size' \(embeddingWidth); expected the 'hidden_size' of "
                    + "\(width), which this head reads tokens with")
        }
        return Head(
            weight: .tied, biasName: "lm_predictions.lm_head.bias", biasIsConstant: false,
            transform: Head.Transform(
                dense: "lm_predictions.lm_head.dense", norm: "lm_predictions.lm_head.LayerNorm",
                activation: try Activation(ofLayers: config)))
    }

    private static func disentangled(
        _ config: Options, _ kinds: (c2p: Bool, p2c: Bool)
    ) throws(PluginError) -> Disentangled {
        var span = try config.int("max_relative_positions", default: -1)
        if span < 1 { span = try config.size("max_position_embeddings", default: 512) }
        let farthest = span
        let count = try config.int("position_buckets", default: -1)
        if count > 0 { span = count }
        // A table of this many rows on each side is far above any model's.
        guard span <= 1 << 20, count < 1 || count >= 4 && farthest - 1 > count / 2 else {
            throw PluginError(
                .unsupported,
                "config.json: 'position_buckets' is \(count) and the farthest relative position \(farthest); expected "
                    + "at least 4 buckets, and a position beyond half of them")
        }
        let norm = try config.string("norm_rel_ebd", default: "none")
        guard norm == "none" || norm == "layer_norm" else {
            throw PluginError(
                .unsupported, "config.json: 'norm_rel_ebd' is '\(norm)'; expected none or layer_norm")
        }
        return Disentangled(
            span: span, buckets: count > 0 ? Disentangled.Buckets(count: count, maxDistance: farthest) : nil,
            contentToPosition: kinds.c2p, positionToContent: kinds.p2c,
            sharesProjections: try config.bool("share_att_key", default: false), norm: norm == "layer_norm")
    }

    /// Which of the two are in `pos_att_type`, a list, or names with | between them.
    private static func positionScores(_ config: Options) throws(PluginError) -> (c2p: Bool, p2c: Bool) {
        let key = "pos_att_type"
        if let names = try? config.string(key, default: "") {
            switch names {
            case "": return (false, false)
            case "c2p": return (true, false)
            case "p2c": return (false, true)
            case "c2p|p2c", "p2c|c2p": return (true, true)
            default:
                throw PluginError(
                    .unsupported, "config.json: '\(key)' is '\(names)'; expected c2p, p2c or both with a | between them"
                )
            }
        }
        let count = try config.count(key) ?? 0
        var found = (c2p: false, p2c: false)
        for index in 0..<count {
            let name = try config.string("\(key).\(index)")
            switch name {
            case "c2p": found.c2p = true
            case "p2c": found.p2c = true
            default:
                throw PluginError(.unsupported, "config.json: '\(key)' lists '\(name)'; expected c2p and p2c")
            }
        }
        return found
    }
}
