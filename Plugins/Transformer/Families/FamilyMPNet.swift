import CMath
import SeamPlugin

extension Family {
    /// MPNet (Song et al. 2020): BERT's layers, positions as RoBERTa counts them, and T5's bias on the scores, one for all
    /// layers.
    static func mpnet(_ config: Options) throws(PluginError) -> Family {
        // The model counts from the row behind this one, whatever the configuration calls padding, and asks for so many
        // buckets and distances.
        let (padding, buckets, maxDistance) = (1, 32, 128)
        let rows = try config.size("max_position_embeddings", default: 512)
        guard rows > padding + 1 else {
            throw PluginError(
                .invalidArgument,
                "config.json: 'max_position_embeddings' is \(rows); expected more than \(padding + 1), the rows before "
                    + "that of the first position")
        }
        let found = try config.int("relative_attention_num_buckets", default: buckets)
        guard found == buckets else {
            throw PluginError(
                .unsupported,
                "config.json: 'relative_attention_num_buckets' is \(found); expected \(buckets), whose buckets MPNet "
                    + "looks up in any case")
        }
        var family = try bertLike(
            config, "mpnet", .learnedByToken(limit: rows - padding - 1, padding: padding), .roberta(config), types: 0,
            names: .mpnet)
        family.sharedBias = SharedBias(
            name: "encoder.relative_attention_bias.weight", buckets: buckets, maxDistance: maxDistance)
        family.tokenTypes = 0
        family.encoderPrefixTakesPositions = false
        return family
    }
}

extension StackNames {
    fileprivate static var mpnet: StackNames {
        .bert(
            projections: .separate(query: "attn.q", key: "attn.k", value: "attn.v"), output: "attn.o", norm: "LayerNorm"
        )
    }
}
