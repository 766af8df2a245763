/// The contexts of all running rows, tokens with log-probabilities, `[rows, capacity]` each, with a second copy so that
/// rows can be gathered without allocation.
///
/// Prompts end at the same column, so that each step fills one column; a row starts where its own prompt does.
struct Histories {
    private(set) var rows: Int
    /// Tokens generated so far, the same for every row.
    private(set) var generated = 0
    /// The column behind the prompts.
    private let promptEnd: Int
    private let capacity: Int
    private(set) var tokens: [Int32]
    private var logProbabilities: [Float]
    /// The column of each row's first token.
    private var starts: [Int]
    private var spareTokens: [Int32]
    private var spareLogProbabilities: [Float]

    /// `prompts` are those of the rows, one token or more each; `limit` is the most tokens that are generated.
    init(prompts: [[Int32]], maxRows: Int, limit: Int) {
        rows = prompts.count
        let end = prompts.map(\.count).max() ?? 0
        (promptEnd, capacity) = (end, end + limit)
        tokens = [Int32](repeating: 0, count: maxRows * capacity)
        starts = prompts.map { end - $0.count }
        for (row, prompt) in prompts.enumerated() {
            let start = row * capacity + starts[row]
            tokens.replaceSubrange(start..<start + prompt.count, with: prompt)
        }
        logProbabilities = [Float](repeating: 0, count: maxRows * capacity)
        spareTokens = tokens
        spareLogProbabilities = logProbabilities
    }

    /// New row `i` becomes a copy of old row `sources[i]`.
    mutating func gather(_ sources: [Int32]) {
        for (row, source) in sources.enumerated() {
            let old = Int(source) * capacity
            let new = row * capacity
            for position in starts[Int(source)]..<promptEnd + generated {
                spareTokens[new + position] = tokens[old + position]
                spareLogProbabilities[new + position] = logProbabilities[old + position]
            }
        }
        swap(&tokens, &spareTokens)
        swap(&logProbabilities, &spareLogProbabilities)
        starts = sources.map { starts[Int($0)] }
        rows = sources.count
    }

    /// Puts one token behind every row.
    mutating func append(_ newTokens: [Int32], _ newLogProbabilities: [Float]) {
        for row in 0..<rows {
            tokens[row * capacity + promptEnd + generated] = newTokens[row]
            logProbabilities[row * capacity + promptEnd + generated] = newLogProbabilities[row]
        }
        generated += 1
    }

    /// The range of a row's context in `tokens`.
    func context(of row: Int) -> Range<Int> {
        row * capacity + starts[row]..<row * capacity + promptEnd + generated
    }

    /// The number of tokens of a row's prompt.
    func promptLength(of row: Int) -> Int { promptEnd - starts[row] }

    /// The generated part of a row.
    func sequence(_ row: Int, score: Float) -> GeneratedSequence {
        let start = row * capacity + promptEnd
        let range = start..<start + generated
        return GeneratedSequence(
            tokens: Array(tokens[range]), score: score, tokenLogProbabilities: Array(logProbabilities[range]))
    }

    /// The generated part of a row, with the sum of its log-probabilities as its score, or without them.
    func sequence(_ row: Int, withLogProbabilities: Bool) -> GeneratedSequence {
        var result = sequence(row, score: 0)
        if withLogProbabilities {
            result.score = Float(result.tokenLogProbabilities.reduce(0.0) { $0 + Double($1) })
        } else {
            result.tokenLogProbabilities = []
        }
        return result
    }
}
