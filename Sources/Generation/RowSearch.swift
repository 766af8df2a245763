import Support

/// Why a sequence has ended, by the names that servers tell it with (`finish_reason`).
public enum FinishReason: Sendable {
    /// By an end token.
    case stop
    /// By the most tokens that it may have.
    case length
}

/// Chooses the tokens of one sequence, by greedy search or sampling, from the logits of a row that is decoded among
/// others which come and go. (`generate` is for rows that begin together.)
///
/// A value of its own for each row; one thread at a time.
public struct RowSearch {
    private let options: GenerationOptions
    private let limit: Int
    private var rules: LogitRules
    private var sampler: Sampler
    private var histories: Histories
    /// Why the newest token ended the sequence; nil while it goes on.
    public private(set) var finishReason: FinishReason?
    public var isFinished: Bool { finishReason != nil }
    /// Of the newest token, by the scores that it was chosen from; nil before the first, and where the options want none.
    public private(set) var logProbability: Float?
    /// Tokens so far.
    public var count: Int { histories.generated }

    /// A search before its first token.
    ///
    /// - Parameters:
    ///   - prompt: what the decoder has been given to continue, one token or more; in an encoder-decoder its start token.
    ///   - source: the tokens of the row's source, which rules may be about; nil where it has none.
    ///   - options: how to search: without beams, and for one sequence.
    ///   - limit: the most new tokens, 1 or more, where that is less than the options allow; nil: no such limit.
    ///   - vocabularySize: number of logits.
    /// - Throws: `SeamError`: `invalidArgument` for the options and the prompt, `unsupported` for beams and several
    ///   sequences, `outOfMemory`.
    public init(
        prompt: [Int32], source: [Int32]? = nil, options: GenerationOptions, limit most: Int? = nil, vocabularySize: Int
    ) throws {
        try options.validate(vocabularySize: vocabularySize)
        guard options.beams == 1, options.numReturnSequences == 1 else {
            throw SeamError(
                .unsupported,
                "rows that come and go are searched one by one: num_beams and num_return_sequences must be 1, found "
                    + "\(options.beams) and \(options.numReturnSequences)")
        }
        guard !prompt.isEmpty, prompt.allSatisfy({ $0 >= 0 && Int($0) < vocabularySize }) else {
            throw SeamError(
                .invalidArgument, "argument prompt: expected one token or more, all in 0..<\(vocabularySize)")
        }
        try options.requireMemory(batch: 1, vocabularySize: vocabularySize)
        self.options = options
        limit = min(try options.limit(behind: prompt.count), most ?? .max)
        try options.check(sources: source.map { [$0] }, batch: 1, vocabularySize: vocabularySize)
        rules = LogitRules(options: options, vocabulary: vocabularySize, sources: source.map { [$0] })
        sampler = Sampler(options: options)
        histories = Histories(prompts: [prompt], maxRows: 1, limit: limit)
    }

    /// Chooses the next token.
    ///
    /// - Parameters:
    ///   - logits: those of several rows; the row's own are changed by the rules of the options.
    ///   - range: where the row lies in them, as many as the vocabulary has tokens.
    /// - Returns: the token, an end token among them.
    /// - Throws: `SeamError(.numeric)` for logits without a largest number or when the rules forbid every token. Not to be
    ///   called once `isFinished`: `invalidArgument`.
    public mutating func next(_ logits: inout [Float], in range: Range<Int>) throws -> Int32 {
        guard !isFinished else { throw SeamError(.invalidArgument, "the sequence has ended: it takes no more tokens") }
        rules.apply(to: &logits, in: range, histories: histories, row: 0, item: 0, limit: limit)
        let choice = try sampler.choose(logits.span.extracting(range), sequence: 0, step: histories.generated)
        histories.append([choice.token], [choice.logProbability])
        logProbability = options.wantsLogProbabilities ? choice.logProbability : nil
        if options.eosTokens.contains(choice.token) {
            finishReason = .stop
        } else if histories.generated >= limit {
            finishReason = .length
        }
        return choice.token
    }

    /// The tokens so far, with their log-probabilities where the options want them.
    public var sequence: GeneratedSequence {
        histories.sequence(0, withLogProbabilities: options.wantsLogProbabilities)
    }
}
