import Files
import Generation
import Support

/// A model's own generation settings: generation_config.json first, then config.json, then the backbone.
enum GenerationDefaults {
    static func options(for backbone: Backbone) throws -> GenerationOptions {
        try backbone.info.requireDecoder()
        var sources: [(json: JSON, name: String)] = []
        if let files = backbone.model?.files {
            if let path = files.folder.map({ FileSystem.join($0, "generation_config.json") }), FileSystem.exists(path) {
                sources.append((try JSON.read(path), path))
            }
            sources.append((files.config, files.configPath))
        }
        func value(_ key: String) -> (json: JSON, name: String)? {
            for source in sources {
                if let found = source.json[key], found != .null { return (found, source.name) }
            }
            return nil
        }
        func tokens(_ key: String) throws -> [Int32] {
            guard let (json, name) = value(key) else { return [] }
            let list = json.arrayValue ?? [json]
            return try list.map { item in
                guard let id = item.intValue.flatMap({ Int32(exactly: $0) }) else {
                    throw SeamError(.format, "\(name): \"\(key)\" must be a token id or a list of them, found \(item.kind)")
                }
                return id
            }
        }
        let info = backbone.info
        var ends = try tokens("eos_token_id")
        if ends.isEmpty, let end = info.eosToken { ends = [end] }
        guard let pad = try tokens("pad_token_id").first ?? info.padToken ?? ends.first else {
            throw SeamError(.invalidArgument, "the model names neither pad_token_id nor eos_token_id, so it cannot generate")
        }
        // A continuation starts with its prompt: the search's own start token is not shown to the model.
        let named = info.architecture == .decoderOnly ? pad : try tokens("decoder_start_token_id").first
        guard let start = named ?? info.decoderStartToken else {
            throw SeamError(.invalidArgument, "the model names no decoder_start_token_id, so it cannot generate")
        }
        var options = GenerationOptions(decoderStartToken: start, eosTokens: ends, padToken: pad)
        options.forcedBosToken = try tokens("forced_bos_token_id").first
        options.forcedEosToken = try tokens("forced_eos_token_id").first
        if let (json, name) = value("bad_words_ids") {
            options.badTokens = try (json.arrayValue ?? []).map { word in
                guard let ids = word.arrayValue, ids.count == 1, let id = ids[0].intValue else {
                    throw SeamError(
                        .unsupported, "\(name): \"bad_words_ids\" may hold single tokens only, found \(try word.serialized())")
                }
                return Int32(clamping: id)
            }
        }
        if let number = value("num_beams")?.json.intValue { options.beams = number }
        if let number = value("length_penalty")?.json.doubleValue { options.lengthPenalty = number }
        if let number = value("no_repeat_ngram_size")?.json.intValue { options.noRepeatNgramSize = number }
        if let number = value("repetition_penalty")?.json.doubleValue { options.repetitionPenalty = Float(number) }
        switch value("early_stopping")?.json {
        case .bool(true): options.earlyStopping = .whenFull
        case .string("never"): options.earlyStopping = .never
        default: break
        }
        if let length = value("max_new_tokens")?.json.intValue {
            options.maxNewTokens = length
        } else if let length = value("max_length")?.json.intValue, length > 1 {
            // transformers counts the start token in max_length.
            options.maxNewTokens = length - 1
        }
        if info.maxTargetPositions > 0 { options.maxNewTokens = min(options.maxNewTokens, info.maxTargetPositions) }
        return options
    }
}
