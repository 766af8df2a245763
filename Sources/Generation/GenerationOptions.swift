import Support

/// When a beam search of one item ends before `maxNewTokens`.
///
/// The search keeps the `beams` best finished hypotheses of the item. All three rules are those of
/// `early_stopping` in Hugging Face transformers (`False`, `True`, `"never"`).
public enum EarlyStopping: Sendable, Equatable {
    /// `False`: ends when the best running beam, scored as if it ended now, cannot enter the list.
    case heuristic
    /// `True`: ends as soon as the list is full.
    case whenFull
    /// `"never"`: ends when the best running beam cannot enter the list at any length it may still
    /// reach; with a positive length penalty that is judged at `maxNewTokens`.
    case never
}

/// A number that is added to the score of a token where it would complete a sequence of tokens.
public struct SequenceBias: Sendable, Equatable {
    /// The sequence, one token or more; the last is the one whose score changes.
    public var tokens: [Int32]
    public var bias: Float

    /// A bias from its parts.
    public init(tokens: [Int32], bias: Float) { (self.tokens, self.bias) = (tokens, bias) }
}

/// How `generate` searches. Defaults are those of Hugging Face transformers.
///
/// The context of a sequence is what stands before its next token: the prompt, or the start token where there is no
/// prompt, and the tokens generated so far. Rules that look back look at all of it.
public struct GenerationOptions: Sendable, Equatable {
    /// Most tokens to generate, 1 or more; the context before them does not count and an end token does. To set it
    /// takes `maxLength` and `fitsRoom` away.
    public var maxNewTokens = 20 { didSet { (maxLength, fitsRoom) = (nil, false) } }
    /// Whether `maxNewTokens` becomes what there is room for where that is less: a number of the model's own settings is
    /// for any prompt, one of a caller's must fit.
    public var fitsRoom = false
    /// Most tokens of a sequence with its context, in place of `maxNewTokens` where it is not nil.
    public var maxLength: Int?
    /// Number of tokens before which no end token may come; 0 for no such rule. Counted as `maxNewTokens`. To set it
    /// takes `minLength` away.
    public var minNewTokens = 0 { didSet { minLength = nil } }
    /// The fewest tokens with the context counted, in place of `minNewTokens` where it is not nil.
    public var minLength: Int?
    /// Beams per item; 1 means greedy search or sampling.
    public var beams = 1
    /// Exponent `p` of the length in the score of a finished beam, `sum(log P) / length^p`. Positive
    /// values favour long output. Beam search only.
    public var lengthPenalty = 1.0
    /// When the search of an item ends. Beam search only.
    public var earlyStopping = EarlyStopping.heuristic
    /// Draw each token at random instead of taking the best; needs `beams == 1`.
    public var sample = false
    /// Divisor of the logits before sampling, above 0. Sampling only.
    public var temperature: Float = 1
    /// Sample among this many best tokens (and those that tie with the last of them); 0 for all.
    public var topK = 50
    /// Sample among the fewest best tokens whose probabilities reach this sum, in 0...1; 1 for all.
    /// Applied after `topK`, on the probabilities of the tokens it left.
    public var topP = 1.0
    /// Sample among the tokens whose probability is at least this part of the best one's, in 0...1; 0 for all. Applied
    /// last.
    public var minP = 0.0
    /// Above 1 makes tokens of the context less likely: a positive score is divided by it and a negative one
    /// multiplied. 1 for no such rule.
    public var repetitionPenalty: Float = 1
    /// No run of this many tokens may come twice in a context and what follows it; 0 for no such rule.
    public var noRepeatNgramSize = 0
    /// No run of this many tokens of the source is written; 0 for no such rule.
    public var encoderNoRepeatNgramSize = 0
    /// Seed of the random stream of sampling. The same seed, options and logits give the same tokens.
    public var seed: UInt64 = 0
    /// Sequences to return per item: at most `beams` for beam search, any number when sampling, 1
    /// for greedy search.
    public var numReturnSequences = 1
    /// Token that every row starts with.
    public var decoderStartToken: Int32
    /// Tokens that end a sequence; empty to always generate `maxNewTokens`.
    public var eosTokens: [Int32]
    /// Token fed to a row that has ended while it waits for others. Never part of a result.
    public var padToken: Int32
    /// Token that must come behind a context of one token (the target language of a multilingual model), if any.
    public var forcedBosToken: Int32?
    /// Tokens of which one must be the last that a sequence may have, where it gets that far; empty for no such rule.
    public var forcedEosTokens: [Int32] = []
    /// Sequences of tokens never generated, except one that is an end token, which this list cannot forbid. Marian
    /// models list their pad token here.
    public var badWords: [[Int32]] = []
    /// Sequences that are made more or less likely.
    public var sequenceBiases: [SequenceBias] = []
    /// Tokens never generated, end tokens among them.
    public var suppressTokens: [Int32] = []
    /// Tokens that are not generated first; second, where `forcedBosToken` is.
    public var beginSuppressTokens: [Int32] = []
    /// Of a speech model: the tokens that its decoder begins with, and rules on times; nil: the start token alone.
    public var speech: SpeechSettings?
    /// Beam search turns scores into log-probabilities again after the rules, so that what the rules forbid counts for
    /// the tokens that they leave.
    public var renormalizeLogits = false
    /// Whether greedy search and sampling report log-probabilities, which costs a pass of
    /// exponentials over the vocabulary. Beam search always reports them.
    public var wantsLogProbabilities = true

    /// Greedy search of up to 20 tokens.
    public init(decoderStartToken: Int32, eosTokens: [Int32], padToken: Int32) {
        self.decoderStartToken = decoderStartToken
        self.eosTokens = eosTokens
        self.padToken = padToken
    }

    /// Rows that a search holds per batch item at most.
    public var rowsPerItem: Int { sample ? numReturnSequences : beams }

    /// Checks every option against the others and the vocabulary. Messages use the names of the C header, which are
    /// those of Hugging Face.
    ///
    /// - Parameter vocabularySize: number of logits per row.
    /// - Throws: `SeamError` (`invalidArgument`, or `unsupported` for sampling with beams) that names
    ///   the option.
    public func validate(vocabularySize: Int) throws {
        try require(vocabularySize >= 1, "vocabularySize", "1 or more", vocabularySize)
        try require(maxNewTokens >= 1, "max_new_tokens", "1 or more", maxNewTokens)
        try require(maxNewTokens <= Int(Int32.max), "max_new_tokens", "at most \(Int32.max)", maxNewTokens)
        try require(maxLength ?? 1 >= 1, "max_length", "1 or more", maxLength ?? 1)
        try require(maxLength ?? 1 <= Int(Int32.max), "max_length", "at most \(Int32.max)", maxLength ?? 1)
        try require(minNewTokens >= 0, "min_new_tokens", "0 or more", minNewTokens)
        try require(minLength ?? 0 >= 0, "min_length", "0 or more", minLength ?? 0)
        try require(beams >= 1, "num_beams", "1 or more", beams)
        try require(beams <= Self.mostRows, "num_beams", "at most \(Self.mostRows)", beams)
        try require(lengthPenalty.isFinite, "length_penalty", "a finite number", lengthPenalty)
        // Settings of drawing decide nothing where the best token is taken: some models have a temperature of 0 to say so.
        if sample {
            try require(temperature > 0 && temperature.isFinite, "temperature", "above 0 and finite", temperature)
            try require(topK >= 0, "top_k", "0 or more", topK)
            try require(topP >= 0 && topP <= 1, "top_p", "in 0...1", topP)
            try require(minP >= 0 && minP <= 1, "min_p", "in 0...1", minP)
        }
        try require(
            repetitionPenalty > 0 && repetitionPenalty.isFinite, "repetition_penalty", "above 0 and finite",
            repetitionPenalty)
        try require(noRepeatNgramSize >= 0, "no_repeat_ngram_size", "0 or more", noRepeatNgramSize)
        try require(
            encoderNoRepeatNgramSize >= 0, "encoder_no_repeat_ngram_size", "0 or more", encoderNoRepeatNgramSize)
        try require(numReturnSequences >= 1, "num_return_sequences", "1 or more", numReturnSequences)
        try require(
            numReturnSequences <= Self.mostRows, "num_return_sequences", "at most \(Self.mostRows)", numReturnSequences)
        if beams > 1 {
            guard !sample else {
                throw SeamError(.unsupported, "option do_sample: expected false with num_beams above 1, found true")
            }
            try require(
                numReturnSequences <= beams, "num_return_sequences", "at most num_beams (\(beams))", numReturnSequences)
            try require(
                candidatesPerItem <= beams * vocabularySize, "eos_token_id",
                "fewer end tokens than the vocabulary of \(vocabularySize) has tokens", eosTokens.count)
        } else if !sample {
            try require(numReturnSequences == 1, "num_return_sequences", "1 for greedy search", numReturnSequences)
        }
        let named: [(String, [Int32])] =
            [
                ("pad_token_id", [padToken]), ("decoder_start_token_id", [decoderStartToken]),
                ("eos_token_id", eosTokens),
                ("bad_words_ids", badWords.flatMap { $0 }), ("sequence_bias", sequenceBiases.flatMap(\.tokens)),
                ("suppress_tokens", suppressTokens), ("begin_suppress_tokens", beginSuppressTokens),
                ("forced_bos_token_id", forcedBosToken.map { [$0] } ?? []), ("forced_eos_token_id", forcedEosTokens),
            ] + (speech?.namedTokens ?? [])
        try require(!badWords.contains([]), "bad_words_ids", "sequences of one token or more", "an empty one")
        for bias in sequenceBiases {
            try require(!bias.tokens.isEmpty, "sequence_bias", "sequences of one token or more", "an empty one")
            try require(!bias.bias.isNaN && bias.bias < .infinity, "sequence_bias", "a number", bias.bias)
        }
        for (name, tokens) in named {
            for token in tokens {
                try require(token >= 0 && Int(token) < vocabularySize, name, "a token in 0..<\(vocabularySize)", token)
            }
        }
    }

    /// Beams, or sequences, of an item: more cannot be searched in a sensible time.
    private static let mostRows = 1 << 16

    /// Throws unless there is memory for the scores and histories of a search.
    /// - Parameters:
    ///   - batch: number of items, 1 or more.
    ///   - vocabularySize: number of logits per row.
    /// - Throws: `SeamError` (`outOfMemory`). The options must be valid.
    public func requireMemory(batch: Int, vocabularySize: Int) throws {
        // Tokens and log-probabilities of a row are kept twice, 4 bytes each.
        let tokens = maxLength ?? maxNewTokens
        try Memory.require(
            batch, rowsPerItem, vocabularySize + 4 * (tokens + 1), 4,
            for:
                "a search with num_beams \(beams), num_return_sequences \(numReturnSequences) and \(maxLength == nil ? "max_new_tokens" : "max_length") \(tokens) for a batch of \(batch)"
        )
    }

    /// The most tokens that a sequence may get behind a context of that many.
    ///
    /// Throws `SeamError(.invalidArgument)` where the context leaves none.
    public func limit(behind context: Int) throws -> Int {
        guard let maxLength else { return maxNewTokens }
        guard maxLength > context else {
            throw SeamError(
                .invalidArgument,
                "max_length, which counts the prompt, is \(maxLength), and a prompt has \(context) tokens: there is no room"
                    + " for new ones; set max_new_tokens")
        }
        return maxLength - context
    }

    /// The number of new tokens behind a context of that many before which no end token may come.
    func least(behind context: Int) -> Int { minLength.map { $0 - context } ?? minNewTokens }

    /// Continuations that beam search looks at per item and step: even if every beam ends in every
    /// possible way, `beams` of them go on.
    var candidatesPerItem: Int { max(2, 1 + eosTokens.count) * beams }
}

private func require(_ holds: Bool, _ option: String, _ expected: String, _ found: some Any) throws {
    guard holds else {
        throw SeamError(.invalidArgument, "option \(option): expected \(expected), found \(found)")
    }
}
