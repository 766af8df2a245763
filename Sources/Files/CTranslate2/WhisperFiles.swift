import Support

extension CTranslate2Whisper {
    /// config.json. No setting of a generation stands in it.
    func config(_ tokens: WhisperTokens) throws -> JSON {
        func integer(_ value: Int) -> JSON { .int(Int64(value)) }
        let (end, start) = try (tokens.require(WhisperTokens.end), tokens.require(WhisperTokens.start))
        let dtype = [StoredType.float16: "float16", .bfloat16: "bfloat16"][type] ?? "float32"
        return [
            "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper",
            "activation_function": "gelu", "attention_dropout": 0.0, "activation_dropout": 0.0, "dropout": 0.0,
            "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0, "bos_token_id": integer(start),
            "d_model": integer(width), "decoder_attention_heads": integer(decoderHeads),
            "decoder_ffn_dim": integer(decoderInner), "decoder_layers": integer(decoderLayers),
            "decoder_start_token_id": integer(start), "encoder_attention_heads": integer(encoderHeads),
            "encoder_ffn_dim": integer(encoderInner), "encoder_layers": integer(encoderLayers),
            "eos_token_id": integer(end), "is_encoder_decoder": true,
            "max_source_positions": integer(sourcePositions), "max_target_positions": integer(targetPositions),
            "num_hidden_layers": integer(encoderLayers), "num_mel_bins": integer(melBins), "pad_token_id": integer(end),
            "scale_embedding": false, "tie_word_embeddings": .bool(isTied), "use_cache": true,
            "vocab_size": integer(vocabulary), "dtype": .string(dtype),
        ]
    }

    /// generation_config.json: the rules of CTranslate2's config.json at `path`, and the ids of the tokens that transformers
    /// asks for by meaning.
    func generation(_ path: String, _ tokens: WhisperTokens) throws -> JSON {
        func integer(_ value: Int) -> JSON { .int(Int64(value)) }
        let rules = try JSON.read(path)
        let known = ["alignment_heads", "lang_ids", "suppress_ids", "suppress_ids_begin"]
        guard let members = rules.objectValue else {
            throw SeamError(.format, "\(path): expected an object, found \(rules.kind)")
        }
        if let other = members.first(where: { !known.containsExactly($0.key) }) {
            throw SeamError(
                .unsupported,
                "\(path): the setting \"\(other.key)\" is not known; those of CTranslate2's Whisper are"
                    + " \(known.joined(separator: ", "))")
        }
        func ids(_ key: String) throws -> [Int]? {
            let found = try rules.optionalInts(key, in: path)
            if let id = found?.first(where: { !(0..<vocabulary).contains($0) }) {
                throw SeamError(
                    .format, "\(path): \"\(key)\" must hold ids below \(vocabulary), the model's tokens, found \(id)")
            }
            return found
        }
        let (end, start) = try (tokens.require(WhisperTokens.end), tokens.require(WhisperTokens.start))
        var settings: [(key: String, value: JSON)] = [
            ("bos_token_id", integer(start)), ("decoder_start_token_id", integer(start)),
            ("eos_token_id", integer(end)), ("pad_token_id", integer(end)),
            ("is_multilingual", .bool(tokens.isMultilingual)), ("max_length", integer(targetPositions)),
            // A second, as in OpenAI's decoding and in CTranslate2's.
            ("max_initial_timestamp_index", 50), ("return_timestamps", false),
            ("no_timestamps_token_id", integer(try tokens.require("<|notimestamps|>"))),
        ]
        if let previous = tokens["<|startofprev|>"] { settings.append(("prev_sot_token_id", integer(previous))) }
        for (key, name) in [("suppress_ids", "suppress_tokens"), ("suppress_ids_begin", "begin_suppress_tokens")] {
            if let found = try ids(key) { settings.append((name, .array(found.map(integer)))) }
        }
        if let heads = try alignmentHeads(rules, path) { settings.append(("alignment_heads", heads)) }
        let languages = try ids("lang_ids") ?? tokens.languages
        if tokens.isMultilingual {
            settings.append(("lang_to_id", .object(languages.map { (key: tokens.text($0), value: integer($0)) })))
            let tasks = try ["translate", "transcribe"].map { ($0, integer(try tokens.require("<|\($0)|>"))) }
            settings.append(("task_to_id", .object(tasks)))
        }
        return .object(settings)
    }

    /// preprocessor_config.json of the features that Whisper models read: windows of 25 ms, every 10 ms.
    func preprocessor(_ path: String) throws -> JSON {
        let (rate, hop) = (16_000, 160)
        // The second convolution takes every second frame.
        let samples = sourcePositions * 2 * hop
        guard samples % rate == 0 else {
            throw SeamError(
                .unsupported,
                "\(path): the encoder's \(sourcePositions) positions must be whole seconds of 50, which"
                    + " preprocessor_config.json says")
        }
        return [
            "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": .int(Int64(melBins)),
            "sampling_rate": .int(Int64(rate)), "hop_length": .int(Int64(hop)), "n_fft": 400,
            "chunk_length": .int(Int64(samples / rate)), "n_samples": .int(Int64(samples)),
            "nb_max_frames": .int(Int64(samples / hop)), "padding_side": "right", "padding_value": 0.0,
            "return_attention_mask": false, "processor_class": "WhisperProcessor",
        ]
    }

    private func alignmentHeads(_ rules: JSON, _ path: String) throws -> JSON? {
        guard let list = rules["alignment_heads"], list != .null else { return nil }
        let pairs = list.arrayValue?.map { pair in pair.arrayValue?.compactMap(\.intValue) ?? [] } ?? [[]]
        let isFit = pairs.allSatisfy { pair in
            pair.count == 2 && (0..<decoderLayers).contains(pair[0]) && (0..<decoderHeads).contains(pair[1])
        }
        guard isFit else {
            throw SeamError(
                .format,
                "\(path): \"alignment_heads\" must be a list of pairs of a layer below \(decoderLayers) and a head"
                    + " below \(decoderHeads)")
        }
        return list
    }
}
