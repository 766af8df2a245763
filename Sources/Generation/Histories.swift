/// Tokens and log-probabilities of all running rows, `[rows, capacity]` each, with a second copy so
/// that rows can be gathered without allocation.
struct Histories {
    private(set) var rows: Int
    /// Tokens per row, the start token included; the same for every row.
    private(set) var length = 1
    private let capacity: Int
    private(set) var tokens: [Int32]
    private var logProbabilities: [Float]
    private var spareTokens: [Int32]
    private var spareLogProbabilities: [Float]

    init(rows: Int, maxRows: Int, options: GenerationOptions) {
        self.rows = rows
        capacity = options.maxNewTokens + 1
        tokens = [Int32](repeating: options.decoderStartToken, count: maxRows * capacity)
        logProbabilities = [Float](repeating: 0, count: maxRows * capacity)
        spareTokens = tokens
        spareLogProbabilities = logProbabilities
    }

    /// New row `i` becomes a copy of old row `sources[i]`.
    mutating func gather(_ sources: [Int32]) {
        for (row, source) in sources.enumerated() {
            let old = Int(source) * capacity
            let new = row * capacity
            for position in 0..<length {
                spareTokens[new + position] = tokens[old + position]
                spareLogProbabilities[new + position] = logProbabilities[old + position]
            }
        }
        swap(&tokens, &spareTokens)
        swap(&logProbabilities, &spareLogProbabilities)
        rows = sources.count
    }

    /// Puts one token behind every row.
    mutating func append(_ newTokens: [Int32], _ newLogProbabilities: [Float]) {
        for row in 0..<rows {
            tokens[row * capacity + length] = newTokens[row]
            logProbabilities[row * capacity + length] = newLogProbabilities[row]
        }
        length += 1
    }

    /// Where the tokens of a row lie in `tokens`, from the start token on.
    func range(of row: Int) -> Range<Int> { row * capacity..<row * capacity + length }

    /// The generated part of a row.
    func sequence(_ row: Int, score: Float) -> GeneratedSequence {
        let range = range(of: row).dropFirst()
        return GeneratedSequence(
            tokens: Array(tokens[range]), score: score, tokenLogProbabilities: Array(logProbabilities[range]))
    }
}
