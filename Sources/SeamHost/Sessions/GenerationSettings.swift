import Files
import Generation
import Support

/// The settings of a generation as a file of transformers has them (GenerationConfig); those of llama.cpp that have no
/// counterpart there keep their names.
///
/// A key that changes what transformers generates is applied or refused, with another value than its neutral one; what is
/// no setting there is no setting here.
struct GenerationSettings {
    let json: JSON
    /// The file, for error sentences.
    let name: String

    /// Keys that are not offered, with the values that ask for nothing besides null.
    private static let refused: KeyValuePairs<String, [JSON]> = [
        "constraints": [], "diversity_penalty": [.double(0)],
        "dola_layers": [], "encoder_repetition_penalty": [.double(1)],
        "epsilon_cutoff": [.double(0), .double(1)], "eta_cutoff": [.double(0), .double(1)],
        "exponential_decay_length_penalty": [], "force_words_ids": [],
        "general.sampling.mirostat": [.int(0)], "general.sampling.penalty_repeat": [.double(1)],
        "general.sampling.sequence": [], "general.sampling.xtc_probability": [.double(0)],
        "guidance_scale": [.double(1)], "max_time": [], "num_beam_groups": [.int(1)],
        "penalty_alpha": [.double(0)], "stop_strings": [], "token_healing": [.bool(false)],
        "top_h": [], "typical_p": [.double(1)], "watermarking_config": [],
    ]

    /// - Parameters:
    ///   - isContinuation: lengths count a prompt, and not a start token.
    ///   - forced: what stands behind the start token of a model whose sources are features; see `forcedTokens`.
    func apply(to options: inout GenerationOptions, isContinuation: Bool, forced: [Int32?]? = nil) throws {
        try refuseOthers(Self.refused)
        options.speech = try forced.flatMap { try speech(forced: $0) }
        try applyLengths(to: &options, isContinuation: isContinuation)
        if let beams = try integer("num_beams") { options.beams = beams }
        if let count = try integer("num_return_sequences") { options.numReturnSequences = count }
        if let penalty = try number("length_penalty") { options.lengthPenalty = penalty }
        switch member("early_stopping") {
        case nil, .bool(false): break
        case .bool(true): options.earlyStopping = .whenFull
        case .string("never"): options.earlyStopping = .never
        case let other?: throw wrong("early_stopping", "true, false or \"never\"", other)
        }
        if let sample = try flag("do_sample") { options.sample = sample }
        if let temperature = try number("temperature") { options.temperature = Float(temperature) }
        if let count = try integer("top_k") { options.topK = count }
        if let sum = try number("top_p") { options.topP = sum }
        if let part = try number("min_p") { options.minP = part }
        if let penalty = try number("repetition_penalty") { options.repetitionPenalty = Float(penalty) }
        if let size = try integer("no_repeat_ngram_size") { options.noRepeatNgramSize = size }
        if let size = try integer("encoder_no_repeat_ngram_size") { options.encoderNoRepeatNgramSize = size }
        if let renormalizes = try flag("renormalize_logits") { options.renormalizeLogits = renormalizes }
        options.forcedBosToken = try tokens("forced_bos_token_id").first
        options.forcedEosTokens = try tokens("forced_eos_token_id")
        options.suppressTokens = try tokens("suppress_tokens")
        options.beginSuppressTokens = try tokens("begin_suppress_tokens")
        options.badWords = try words("bad_words_ids")
        options.sequenceBiases = try biases("sequence_bias")
    }

    /// Token ids: one, a list of them, or none where the key is absent.
    func tokens(_ key: String) throws -> [Int32] {
        guard let value = member(key) else { return [] }
        return try ids(value, key, "a token id or a list of them")
    }

    /// Lengths count the prompt or, in an encoder-decoder, the start token; numbers of new tokens go before them.
    private func applyLengths(to options: inout GenerationOptions, isContinuation: Bool) throws {
        if let count = try integer("max_new_tokens") {
            options.maxNewTokens = count
        } else if let length = try integer("max_length"), options.speech != nil {
            // A speech model's length is that of what it writes behind the tokens that it begins with.
            options.maxNewTokens = length
        } else if let length = try integer("max_length") {
            // A length without room for a new token stays as it is, to be refused where nothing else is set.
            if isContinuation || length <= 1 { options.maxLength = length } else { options.maxNewTokens = length - 1 }
        }
        if let count = try integer("min_new_tokens") {
            options.minNewTokens = count
        } else if let length = try integer("min_length"), length > 0 {
            if isContinuation || options.speech != nil {
                options.minLength = length
            } else {
                options.minNewTokens = length - 1
            }
        }
    }

    /// Throws for a key that is not offered.
    func refuseOthers(_ refused: KeyValuePairs<String, [JSON]>) throws {
        for (key, neutral) in refused {
            guard let value = member(key) else { continue }
            if neutral.contains(where: { $0 == value || $0.doubleValue != nil && $0.doubleValue == value.doubleValue })
            {
                continue
            }
            throw SeamError(
                .unsupported,
                "\(name): \"\(key)\" is \(try value.serialized()), which is not offered: remove it, or ignore the model's"
                    + " own settings of a generation")
        }
    }

    func member(_ key: String) -> JSON? { json[key].flatMap { $0 == .null ? nil : $0 } }

    func wrong(_ key: String, _ expected: String, _ found: JSON) -> SeamError {
        SeamError(.format, "\(name): \"\(key)\" must be \(expected), found \((try? found.serialized()) ?? found.kind)")
    }

    func integer(_ key: String) throws -> Int? {
        try member(key).map { value in
            guard let found = value.intValue else { throw wrong(key, "an integer", value) }
            return found
        }
    }

    private func number(_ key: String) throws -> Double? {
        try member(key).map { value in
            guard let found = value.doubleValue else { throw wrong(key, "a number", value) }
            return found
        }
    }

    func flag(_ key: String) throws -> Bool? {
        try member(key).map { value in
            guard case .bool(let found) = value else { throw wrong(key, "true or false", value) }
            return found
        }
    }

    func ids(_ value: JSON, _ key: String, _ expected: String) throws -> [Int32] {
        try (value.arrayValue ?? [value]).map { item in
            guard let id = item.intValue.flatMap({ Int32(exactly: $0) }) else { throw wrong(key, expected, value) }
            return id
        }
    }

    private func words(_ key: String) throws -> [[Int32]] {
        guard let value = member(key) else { return [] }
        let expected = "a list of lists of token ids"
        guard let list = value.arrayValue else { throw wrong(key, expected, value) }
        return try list.map { word in
            guard word.arrayValue != nil else { throw wrong(key, expected, value) }
            return try ids(word, key, expected)
        }
    }

    /// [[[ids], bias], ...]; of a sequence that is there twice the last holds.
    private func biases(_ key: String) throws -> [SequenceBias] {
        guard let value = member(key) else { return [] }
        let expected = "a list of pairs of a list of token ids and a number"
        guard let list = value.arrayValue else { throw wrong(key, expected, value) }
        var found: [SequenceBias] = []
        for pair in list {
            guard let parts = pair.arrayValue, parts.count == 2, parts[0].arrayValue != nil,
                let bias = parts[1].doubleValue
            else { throw wrong(key, expected, value) }
            let tokens = try ids(parts[0], key, expected)
            found.removeAll { $0.tokens == tokens }
            found.append(SequenceBias(tokens: tokens, bias: Float(bias)))
        }
        return found
    }
}
