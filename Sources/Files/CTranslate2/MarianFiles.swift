import Support

/// The tokens of a Marian model in a CTranslate2 folder; behind them transformers has one for padding.
struct MarianTokens {
    private let vocabulary: [String]
    /// The id of the token that ends a text.
    let end: Int
    var padding: Int { vocabulary.count }

    /// - Parameter count: the rows of the model's embeddings.
    /// - Throws: `SeamError`: `.notFound` without a vocabulary or tokenizer, `.unsupported` for two vocabularies, `.format`
    ///   where they do not fit.
    init(_ folder: String, _ names: [String], count: Int) throws {
        guard let name = ["shared_vocabulary.json", "shared_vocabulary.txt"].first(where: names.contains) else {
            let isSplit = names.contains { $0.hasPrefix("source_vocabulary") }
            throw SeamError(
                isSplit ? .unsupported : .notFound,
                isSplit
                    ? "\"\(folder)\" has a vocabulary for each language, which is not converted; expected one for both"
                    : "\"\(folder)\" is no folder of a Marian model, it has no shared_vocabulary.json")
        }
        for name in ["source.spm", "target.spm"] where !names.contains(name) {
            throw SeamError(
                .notFound,
                "\"\(folder)\" has no \(name), which reads and writes the model's tokens: copy that of the original model"
                    + " into it")
        }
        let path = FileSystem.join(folder, name)
        vocabulary = try CTranslate2Folder.vocabulary(path)
        guard vocabulary.count == count else {
            throw SeamError(.format, "\(path): expected the model's \(count) tokens, found \(vocabulary.count)")
        }
        guard let end = vocabulary.firstIndex(where: { TextKey($0) == TextKey("</s>") }),
            !vocabulary.contains(where: { TextKey($0) == TextKey("<pad>") })
        else {
            throw SeamError(
                .format, "\(path): a Marian model of CTranslate2 has the token \"</s>\", and none of \"<pad>\"")
        }
        self.end = end
    }

    /// vocab.json: the id of each token.
    var ids: JSON {
        .object((vocabulary + ["<pad>"]).enumerated().map { (key: $1, value: .int(Int64($0))) })
    }

    /// tokenizer_config.json, for a folder without one.
    var settings: JSON {
        [
            "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "separate_vocabs": false,
            "tokenizer_class": "MarianTokenizer",
        ]
    }
}

extension CTranslate2Marian {
    /// Throws `SeamError(.unsupported)` for settings in CTranslate2's config.json at `path` that Marian has not.
    func check(_ path: String) throws {
        let rules = try JSON.read(path)
        guard let members = rules.objectValue else {
            throw SeamError(.format, "\(path): expected an object, found \(rules.kind)")
        }
        // Tokens are the vocabulary's own; whether the end is put behind a source is the tokenizer's to do.
        let told = ["add_source_eos", "bos_token", "decoder_start_token", "eos_token", "unk_token"]
        let neutral: [(key: String, values: [JSON])] = [
            ("add_source_bos", [.bool(false)]), ("multi_query_attention", [.bool(false)]),
            ("layer_norm_epsilon", [.double(1e-5)]),
        ]
        for (key, value) in members where value != .null && !told.containsExactly(key) {
            let isNeutral = neutral.contains { TextKey($0.key) == TextKey(key) && $0.values.contains(value) }
            guard !isNeutral else { continue }
            throw SeamError(
                .unsupported,
                "\(path): the setting \"\(key)\" is \(try value.serialized()), which a Marian model of transformers has no"
                    + " place for")
        }
    }

    /// config.json.
    func config(_ tokens: MarianTokens) -> JSON {
        func integer(_ value: Int) -> JSON { .int(Int64(value)) }
        let dtype = [StoredType.float16: "float16", .bfloat16: "bfloat16"][type] ?? "float32"
        let (end, padding) = (integer(tokens.end), integer(tokens.padding))
        return [
            "architectures": ["MarianMTModel"], "model_type": "marian", "activation_function": .string(activation),
            "attention_dropout": 0.0, "activation_dropout": 0.0, "dropout": 0.0, "encoder_layerdrop": 0.0,
            "decoder_layerdrop": 0.0, "bos_token_id": end, "eos_token_id": end, "pad_token_id": padding,
            "decoder_start_token_id": padding, "d_model": integer(width),
            "decoder_attention_heads": integer(heads), "decoder_ffn_dim": integer(decoderInner),
            "decoder_layers": integer(decoderLayers), "encoder_attention_heads": integer(heads),
            "encoder_ffn_dim": integer(encoderInner), "encoder_layers": integer(encoderLayers),
            "is_encoder_decoder": true, "max_position_embeddings": integer(positions),
            "num_hidden_layers": integer(encoderLayers), "scale_embedding": .bool(scalesEmbeddings),
            "share_encoder_decoder_embeddings": true, "tie_word_embeddings": true, "use_cache": true,
            "vocab_size": integer(vocabulary + 1), "decoder_vocab_size": integer(vocabulary + 1),
            "dtype": .string(dtype),
        ]
    }

    /// generation_config.json: padding, which CTranslate2's model has not, is never written. How many beams the original
    /// asks for does not stand in CTranslate2's folder.
    func generation(_ tokens: MarianTokens) -> JSON {
        let (end, padding) = (JSON.int(Int64(tokens.end)), JSON.int(Int64(tokens.padding)))
        return [
            "bos_token_id": end, "eos_token_id": end, "forced_eos_token_id": end, "pad_token_id": padding,
            "decoder_start_token_id": padding, "bad_words_ids": [[padding]], "max_length": .int(Int64(positions)),
        ]
    }
}
