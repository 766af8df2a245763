import Support

/// One generated sequence.
public struct GeneratedSequence: Sendable, Equatable {
    /// The generated tokens: without the start token, with the end token if one was produced.
    public var tokens: [Int32]
    /// Sum of `tokenLogProbabilities`; beam search divides it by `length^lengthPenalty`.
    public var score: Float
    /// Natural logarithm of the probability of each token, after the rules of the options. Beam
    /// search takes the probability before the rules and applies them to its logarithm, as Hugging
    /// Face does; a forced token has 0. Empty without `wantsLogProbabilities`.
    public var tokenLogProbabilities: [Float]

    /// A sequence from its parts.
    public init(tokens: [Int32], score: Float, tokenLogProbabilities: [Float]) {
        self.tokens = tokens
        self.score = score
        self.tokenLogProbabilities = tokenLogProbabilities
    }
}

/// How far a generation has come, before one of its steps or after the last.
public struct GenerationProgress: Sendable, Equatable {
    /// Steps taken, each of one token for every row that runs.
    public let done: Int
    /// The most steps there may be.
    public let total: Int
    /// The newest token of each sequence, in the order of the results; nil in one that has ended before it. Nil before
    /// the first step, and in beam search, where sequences still change.
    public let tokens: [Int32?]?

    /// Throws `cancelled` where the receiver wants no more.
    func tell(_ receiver: (GenerationProgress) -> Bool) throws {
        guard receiver(self) else { throw SeamError(.cancelled, "generation was cancelled after \(done) tokens") }
    }
}

/// Generates sequences for a batch of items with greedy search, sampling or beam search.
///
/// For the same logits, greedy and beam search give the tokens that `generate` of Hugging Face
/// transformers 5 gives. Beams are scored as in Wu et al., "Google's Neural Machine Translation
/// System" (2016), with the plain power of the length in place of their equation 14. Sampling
/// divides by the temperature, keeps the top k (Fan et al. 2018) and then the nucleus (Holtzman et
/// al. 2020), and draws with its own random stream (`Philox`), so its tokens are repeatable but not
/// those of PyTorch.
///
/// - Parameters:
///   - stepper: the decoder, with one row per item and nothing decoded. It is left in the state of
///     the last step; a thrown error leaves it in any state.
///   - batch: number of items, 1 or more.
///   - prompts: of each item, what the decoder has been given to continue, one token or more; nil: the start token of
///     the options. The rules look at it; the stepper knows it.
///   - sources: of each item the tokens of what the decoder reads, which rules may be about; nil: none are known.
///   - options: how to search.
///   - limits: the most new tokens of each item, 1 or more, where that is less than the options allow; nil: no such limit.
///   - progress: called before each step and after the last; `false` ends the call with `cancelled`.
/// - Returns: for each item its sequences, best first for beam search and in drawing order for
///   sampling. There are `numReturnSequences`, or fewer if beam search found fewer.
/// - Throws: `SeamError`: `invalidArgument` or `unsupported` for the options, `shape` if the stepper
///   shrinks the logits, `numeric` for logits without a largest number or when the rules forbid every
///   token, `cancelled`; and what the stepper throws.
///
/// Runs on the calling thread and keeps no state between calls.
public func generate(
    stepper: some DecoderStepper, batch: Int, options: GenerationOptions, prompts: [[Int32]]? = nil,
    sources: [[Int32]]? = nil, limits: [Int]? = nil, progress: (GenerationProgress) -> Bool = { _ in true }
) throws -> [[GeneratedSequence]] {
    guard batch >= 1 else {
        throw SeamError(.invalidArgument, "argument batch: expected 1 or more, found \(batch)")
    }
    try options.validate(vocabularySize: stepper.vocabularySize)
    try options.requireMemory(batch: batch, vocabularySize: stepper.vocabularySize)
    let prompts = prompts ?? [[Int32]](repeating: [options.decoderStartToken], count: batch)
    guard prompts.count == batch, !prompts.contains([]),
        prompts.joined().allSatisfy({ (0..<Int32(clamping: stepper.vocabularySize)).contains($0) })
    else {
        throw SeamError(
            .invalidArgument,
            "argument prompts: expected \(batch) of one token or more, all in 0..<\(stepper.vocabularySize)")
    }
    try options.check(sources: sources, batch: batch, vocabularySize: stepper.vocabularySize)
    var most = try prompts.map { try options.limit(behind: $0.count) }
    if let limits {
        guard limits.count == batch, limits.allSatisfy({ $0 >= 1 }) else {
            throw SeamError(
                .invalidArgument, "argument limits: expected \(batch) numbers of 1 or more, found \(limits)")
        }
        most = zip(most, limits).map { min($0, $1) }
    }
    let driver = StepDriver(stepper: stepper, batch: batch, options: options)
    if options.beams > 1 {
        var search = try BeamSearch(
            prompts: prompts, sources: sources, limits: most, options: options, vocabulary: stepper.vocabularySize)
        return try search.run(driver, progress)
    }
    var search = try StepwiseSearch(
        prompts: prompts, sources: sources, limits: most, options: options, vocabulary: stepper.vocabularySize)
    return try search.run(driver, progress)
}

extension GenerationOptions {
    /// Throws where the rules are about sources that are not there, or not of this vocabulary.
    func check(sources: [[Int32]]?, batch: Int, vocabularySize: Int) throws {
        guard encoderNoRepeatNgramSize > 0 else { return }
        guard let sources, sources.count == batch else {
            throw SeamError(
                .unsupported,
                "option encoder_no_repeat_ngram_size: it is about the tokens of sources, and these have none")
        }
        guard let foreign = sources.joined().first(where: { !(0..<Int32(clamping: vocabularySize)).contains($0) })
        else { return }
        throw SeamError(
            .unsupported,
            "option encoder_no_repeat_ngram_size: the source's token \(foreign) is none of the \(vocabularySize) that are"
                + " written; expected one vocabulary")
    }
}

/// The stepper with the buffers of a search, and the checks that every step needs.
final class StepDriver<Stepper: DecoderStepper> {
    private let stepper: Stepper
    private let vocabulary: Int
    private(set) var rows: Int
    /// Logits of the last step, `[rows, vocabulary]` from index 0; the search changes them in place.
    var logits: [Float]

    init(stepper: Stepper, batch: Int, options: GenerationOptions) {
        self.stepper = stepper
        vocabulary = stepper.vocabularySize
        rows = batch
        logits = [Float](repeating: 0, count: batch * options.rowsPerItem * vocabulary)
    }

    /// One decoder step; `tokens` has one token per row.
    func step(_ tokens: [Int32]) throws {
        let size = logits.count
        try stepper.step(tokens: tokens, into: &logits)
        guard logits.count == size else {
            throw SeamError(
                .shape, "logits of the decoder step: expected the buffer to keep \(size) numbers, found \(logits.count)"
            )
        }
    }

    /// Gathers rows; does nothing for the identity.
    func reorder(_ newRows: [Int32]) throws {
        var identity = newRows.count == rows
        for (index, row) in newRows.enumerated() where Int(row) != index { identity = false }
        guard !identity else { return }
        try stepper.reorder(rows: newRows)
        rows = newRows.count
    }
}
