import Support

/// Greedy search and sampling: each row takes one token per step and never looks back.
struct StepwiseSearch {
    private let options: GenerationOptions
    private let vocabulary: Int
    private let batch: Int
    /// The most tokens of each item.
    private let limits: [Int]
    private var rules: LogitRules
    private var sampler: Sampler
    private var histories: Histories
    /// The sequence of each row: `item * numReturnSequences + which`, or nil once it has ended.
    private var sequences: [Int?]
    private var results: [GeneratedSequence?]
    private var tokens: [Int32]
    private var logProbabilities: [Float]

    init(prompts: [[Int32]], sources: [[Int32]]?, limits: [Int], options: GenerationOptions, vocabulary: Int) throws {
        let batch = prompts.count
        self.limits = limits
        self.options = options
        self.vocabulary = vocabulary
        self.batch = batch
        let count = batch * options.numReturnSequences
        rules = LogitRules(options: options, vocabulary: vocabulary, sources: sources)
        sampler = Sampler(options: options)
        histories = Histories(prompts: prompts, maxRows: count, limit: limits.max() ?? 0)
        sequences = Array(0..<count)
        results = Array(repeating: nil, count: count)
        tokens = [Int32](repeating: options.decoderStartToken, count: batch)
        logProbabilities = []
    }

    mutating func run<Stepper>(
        _ driver: StepDriver<Stepper>, _ progress: (GenerationProgress) -> Bool
    ) throws -> [[GeneratedSequence]] {
        let perItem = options.numReturnSequences
        let limit = limits.max() ?? 0
        var newest: [Int32?]?
        while true {
            try GenerationProgress(done: histories.generated, total: limit, tokens: newest).tell(progress)
            try driver.step(tokens)
            let isShared = histories.generated == 0 && perItem > 1
            for row in 0..<histories.rows {
                guard let item = isShared ? row : sequences[row].map({ $0 / perItem }) else { continue }
                rules.apply(
                    to: &driver.logits, in: row * vocabulary..<(row + 1) * vocabulary, histories: histories, row: row,
                    item: item, limit: limits[item])
            }
            if isShared {
                // The sequences of an item share its row up to here and part with their first draw.
                let sources = sequences.indices.map { Int32($0 / perItem) }
                try choose(driver.logits, rowOf: { $0 / perItem })
                try driver.reorder(sources)
                histories.gather(sources)
            } else {
                try choose(driver.logits, rowOf: { $0 })
            }
            histories.append(tokens, logProbabilities)
            var latest = [Int32?](repeating: nil, count: results.count)
            for case (let sequence?, let token) in zip(sequences, tokens) { latest[sequence] = token }
            newest = latest
            let running = collectFinished()
            if running == 0 { break }
            // Dropping rows copies the whole cache, so it waits until it saves a quarter of the work.
            if sequences.count - running >= max(1, sequences.count / 4) {
                let keep = sequences.indices.filter { sequences[$0] != nil }
                let sources = keep.map { Int32($0) }
                tokens = keep.map { tokens[$0] }
                sequences = keep.map { sequences[$0] }
                try driver.reorder(sources)
                histories.gather(sources)
            }
        }
        try GenerationProgress(done: histories.generated, total: limit, tokens: newest).tell(progress)
        return (0..<batch).map { item in
            results[item * perItem..<(item + 1) * perItem].compactMap { $0 }
        }
    }

    /// Sets `tokens` and `logProbabilities` of every running sequence; an ended one gets the pad token.
    private mutating func choose(_ logits: [Float], rowOf: (Int) -> Int) throws {
        tokens.removeAll(keepingCapacity: true)
        logProbabilities.removeAll(keepingCapacity: true)
        for (index, sequence) in sequences.enumerated() {
            guard let sequence else {
                tokens.append(options.padToken)
                logProbabilities.append(0)
                continue
            }
            let row = rowOf(index)
            let scores = logits.span.extracting(row * vocabulary..<(row + 1) * vocabulary)
            let choice = try sampler.choose(scores, sequence: sequence, step: histories.generated)
            tokens.append(choice.token)
            logProbabilities.append(choice.logProbability)
        }
    }

    /// Stores the sequences that their newest token ends; returns how many still run.
    private mutating func collectFinished() -> Int {
        var running = 0
        for (row, sequence) in sequences.enumerated() {
            guard let sequence else { continue }
            let isAtLimit = histories.generated >= limits[sequence / options.numReturnSequences]
            guard isAtLimit || options.eosTokens.contains(tokens[row]) else {
                running += 1
                continue
            }
            results[sequence] = histories.sequence(row, withLogProbabilities: options.wantsLogProbabilities)
            sequences[row] = nil
        }
        return running
    }
}
