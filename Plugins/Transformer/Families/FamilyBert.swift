import CMath
import SeamPlugin

/// The BERT line: encoders with the norm after the sum and learned positions.
extension Family {
    /// BERT (Devlin et al. 2019): absolute positions, token types, a masked-language-model head and a pooler where the
    /// file has them.
    static func bert(_ config: Options) throws(PluginError) -> Family {
        let limit = try config.size("max_position_embeddings", default: 512)
        return try bertLike(config, "bert", .learned(limit: limit, offset: 0), .bert(config), types: 2)
    }

    /// ELECTRA (Clark et al. 2020): BERT with narrower vectors of tokens, which a matrix brings to the states. A generator
    /// has a head over the vocabulary; that of a discriminator, which tells tokens from replaced ones, is not read.
    static func electra(_ config: Options) throws(PluginError) -> Family {
        let head = Head(
            weight: try config.bool("tie_word_embeddings", default: true) ? .tied : .separate,
            weightName: "generator_lm_head.weight", biasName: "generator_lm_head.bias", biasIsConstant: false,
            // Whatever the layers have.
            transform: Head.Transform(
                dense: "generator_predictions.dense", norm: "generator_predictions.LayerNorm", activation: .gelu))
        let limit = try config.size("max_position_embeddings", default: 512)
        var family = try bertLike(config, "electra", .learned(limit: limit, offset: 0), head, types: 2)
        let width = try config.size("embedding_size", default: 128)
        if width != family.dModel {
            family.embeddingProjection = EmbeddingProjection(width: width, bias: true, normFirst: true)
        }
        family.pooler = nil
        return family
    }

    /// RoBERTa (Liu et al. 2019), XLM-RoBERTa (Conneau et al. 2020) and CamemBERT (Martin et al. 2020): positions count
    /// the tokens that are not padding, from the row behind the padding's.
    static func roberta(_ config: Options, _ name: StaticString) throws(PluginError) -> Family {
        let rows = try config.size("max_position_embeddings", default: 514)
        let padding = try config.int("pad_token_id", default: 1)
        guard padding >= 0, padding < rows - 1 else {
            throw PluginError(
                .invalidArgument,
                "config.json: 'pad_token_id' is \(padding) and 'max_position_embeddings' \(rows); "
                    + "expected a token whose row is followed by those of the positions")
        }
        let positions = Positions.learnedByToken(limit: rows - padding - 1, padding: padding)
        return try bertLike(config, name, positions, .roberta(config), types: 1)
    }

    /// A family with BERT's layers and keys. `types`: what the configuration's default of `type_vocab_size` is; a family of
    /// 0 may have none. `epsilon`: the default of `layer_norm_eps`.
    static func bertLike(
        _ config: Options, _ name: StaticString, _ positions: Positions, _ head: Head, types: Int,
        epsilon: Double = 1e-12, names: StackNames = .bert()
    ) throws(PluginError) -> Family {
        let kind = try config.string("position_embedding_type", default: "absolute")
        guard kind == "absolute" else {
            throw PluginError(
                .unsupported, "config.json: 'position_embedding_type' is '\(kind)'; expected absolute")
        }
        guard try config.bool("is_decoder", default: false) == false else {
            throw PluginError(.unsupported, "config.json: 'is_decoder' is true; expected false for '\(name)'")
        }
        let width = try config.size("hidden_size")
        let heads = try config.size("num_attention_heads")
        let headDim = try config.headDim(width, heads: heads, "hidden_size", "num_attention_heads")
        let vocabulary = try config.size("vocab_size")
        return Family(
            name: name, widthKey: "hidden_size", dModel: width, headDim: headDim,
            encoder: Stack(
                layers: try config.layers("num_hidden_layers"), heads: heads, keyValueHeads: heads,
                feedForward: try config.size("intermediate_size"), names: names),
            positions: positions, norm: .layer, epsilon: try config.double("layer_norm_eps", default: epsilon),
            normFirst: false, finalNorm: false, embeddingNorm: true, biases: .all,
            activation: try Activation(ofLayers: config),
            attentionScale: 1 / sqrt(Double(headDim)), tokenTypes: try tokenTypes(config, default: types),
            head: head, pooler: "pooler.dense", sourceVocabulary: vocabulary, targetVocabulary: vocabulary)
    }

    private static func tokenTypes(_ config: Options, default types: Int) throws(PluginError) -> Int {
        let key = "type_vocab_size"
        if types == 0, try config.int(key, default: 0) == 0 { return 0 }
        return try config.size(key, default: types)
    }
}

extension Family.Head {
    /// BERT's, with the activation of the layers.
    static func bert(_ config: Options) throws(PluginError) -> Family.Head {
        let tied = try config.bool("tie_word_embeddings", default: true)
        return Family.Head(
            weight: tied ? .tied : .separate, weightName: "cls.predictions.decoder.weight",
            biasName: tied ? "cls.predictions.bias" : "cls.predictions.decoder.bias", biasIsConstant: false,
            transform: Transform(
                dense: "cls.predictions.transform.dense", norm: "cls.predictions.transform.LayerNorm",
                activation: try Activation(ofLayers: config)))
    }

    /// RoBERTa's, whose activation is gelu whatever the layers have.
    static func roberta(_ config: Options) throws(PluginError) -> Family.Head {
        let tied = try config.bool("tie_word_embeddings", default: true)
        return Family.Head(
            weight: tied ? .tied : .separate, weightName: "lm_head.decoder.weight",
            biasName: tied ? "lm_head.bias" : "lm_head.decoder.bias", biasIsConstant: false,
            transform: Transform(dense: "lm_head.dense", norm: "lm_head.layer_norm", activation: .gelu))
    }
}

extension Activation {
    /// Of the layers of BERT's line.
    init(ofLayers config: Options) throws(PluginError) {
        try self.init(named: try config.string("hidden_act", default: "gelu"), key: "hidden_act")
    }
}

extension StackNames {
    /// BERT's names, with those of an attention after its own.
    static func bert(
        projections: Projections = .separate(query: "self.query", key: "self.key", value: "self.value"),
        output: String = "output.dense", norm: String = "output.LayerNorm", projection: String = "embeddings_project"
    ) -> StackNames {
        StackNames(
            stack: "encoder.", layers: "layer.",
            embedding: EmbeddingNames(
                tokens: "embeddings.word_embeddings.weight", positions: "embeddings.position_embeddings.weight",
                tokenTypes: "embeddings.token_type_embeddings.weight", norm: "embeddings.LayerNorm",
                projection: projection),
            selfAttention: "attention.", selfNorm: "attention." + norm, projections: projections, output: output,
            up: "intermediate.dense", down: "output.dense", feedForwardNorm: "output.LayerNorm")
    }
}
