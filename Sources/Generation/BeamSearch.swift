import Glibc
import Support

/// A finished beam of one item.
private struct Hypothesis {
    var score: Float
    /// False for what is left when the rules allow fewer sequences than beams: a copy, or a sequence
    /// that ran on after its end. It counts as Hugging Face counts it but is not a result.
    var isResult: Bool
    var sequence: GeneratedSequence
}

/// Beam search of a batch.
///
/// Each step scores every continuation of every running beam of an item, takes the best
/// `candidatesPerItem`, moves those of the first `beams` that end into the item's list of finished
/// hypotheses, and runs on with the best `beams` that do not end. All scores are Float, in the
/// operations and the order of Hugging Face, because a rounding difference could swap two beams.
struct BeamSearch {
    /// What Hugging Face subtracts instead of removing an entry, so that fewer candidates than beams
    /// still leave an order.
    private static let removed: Float = -1e9

    private let options: GenerationOptions
    private let vocabulary: Int
    private let beams: Int
    /// The most tokens of each item.
    private let limits: [Int]
    private var rules: LogitRules
    private var histories: Histories
    /// Best continuations of one item; `group` is the beam.
    private var candidates: TopCandidates
    /// The candidates that run on; `group` is the row.
    private var continuing: TopCandidates
    /// Items still searched, ascending: item `items[i]` has rows `i * beams ..< (i + 1) * beams`.
    private var items: [Int]
    /// Sum of log-probabilities of each row.
    private var running: [Float]
    /// Finished hypotheses of each item of the batch, best first, at most `beams`.
    private var finished: [[Hypothesis]]
    /// Whether the length penalty made the score of a sequence so low that it counts as none.
    private var penaltyRemoves = false
    /// The rows after a step, before items that ended are dropped: for each its old row, newest
    /// token, log-probability of that token and score.
    private var sources: [Int32]
    private var tokens: [Int32]
    private var logProbabilities: [Float]
    private var newRunning: [Float]

    init(prompts: [[Int32]], sources: [[Int32]]?, limits: [Int], options: GenerationOptions, vocabulary: Int) throws {
        let batch = prompts.count
        self.limits = limits
        self.options = options
        self.vocabulary = vocabulary
        beams = options.beams
        rules = LogitRules(options: options, vocabulary: vocabulary, sources: sources)
        histories = Histories(prompts: prompts, maxRows: batch * options.beams, limit: limits.max() ?? 0)
        candidates = TopCandidates(capacity: options.candidatesPerItem)
        continuing = TopCandidates(capacity: options.beams)
        items = Array(0..<batch)
        // All beams of an item start equal, so only the first may be continued.
        running = (0..<batch * options.beams).map { $0 % options.beams == 0 ? 0 : Self.removed }
        finished = Array(repeating: [], count: batch)
        self.sources = []
        tokens = [Int32](repeating: options.decoderStartToken, count: batch)
        logProbabilities = []
        newRunning = []
    }

    mutating func run<Stepper>(
        _ driver: StepDriver<Stepper>, _ progress: (GenerationProgress) -> Bool
    ) throws -> [[GeneratedSequence]] {
        let limit = limits.max() ?? 0
        var done = 0
        while !items.isEmpty {
            try GenerationProgress(done: done, total: limit, tokens: nil).tell(progress)
            try driver.step(tokens)
            done += 1
            for row in 0..<histories.rows { try score(row, &driver.logits) }
            advance(driver.logits)
            guard !items.isEmpty else { break }
            try driver.reorder(sources)
            histories.gather(sources)
            histories.append(tokens, logProbabilities)
        }
        try GenerationProgress(done: done, total: limit, tokens: nil).tell(progress)
        return try finished.enumerated().map { item, hypotheses in
            let results = hypotheses.filter(\.isResult)
            guard !results.isEmpty else {
                guard !penaltyRemoves else {
                    throw SeamError(
                        .numeric,
                        "option length_penalty: expected a number that leaves the scores of sequences above \(Self.removed),"
                            + " found \(options.lengthPenalty)")
                }
                throw SeamError(
                    .numeric, "beam search of item \(item): expected a finished sequence, found every token forbidden")
            }
            return results.prefix(options.numReturnSequences).map(\.sequence)
        }
    }

    /// Turns the logits of a row into log-probabilities and applies the rules.
    private mutating func score(_ row: Int, _ logits: inout [Float]) throws {
        let range = row * vocabulary..<(row + 1) * vocabulary
        try normalise(&logits, range)
        let item = items[histories.generated == 0 ? row : row / beams]
        rules.apply(to: &logits, in: range, histories: histories, row: row, item: item, limit: limits[item])
        if options.renormalizeLogits { try normalise(&logits, range) }
    }

    /// Logits to log-probabilities.
    private func normalise(_ logits: inout [Float], _ range: Range<Int>) throws {
        let largest = try RowMath.largest(logits.span.extracting(range)).value
        let logSum = RowMath.logSumExp(logits.span.extracting(range), largest: largest)
        RowMath.subtract(largest, logSum, from: &logits, in: range)
    }

    /// Chooses the next rows of every item and drops the items that are done.
    private mutating func advance(_ logProbabilitiesOfRows: [Float]) {
        let isFirst = histories.generated == 0
        sources.removeAll(keepingCapacity: true)
        tokens.removeAll(keepingCapacity: true)
        logProbabilities.removeAll(keepingCapacity: true)
        newRunning.removeAll(keepingCapacity: true)
        var kept = 0
        for slot in items.indices {
            // Before the first step an item has one row, which all its beams share.
            candidates.removeAll()
            for beam in 0..<beams {
                let row = isFirst ? slot : slot * beams + beam
                candidates.offer(
                    logProbabilitiesOfRows.span.extracting(row * vocabulary..<(row + 1) * vocabulary),
                    plus: running[slot * beams + beam], group: beam)
            }
            finishCandidates(of: slot, isFirst: isFirst, logProbabilitiesOfRows)
            let firstNewRow = sources.count
            continueCandidates(of: slot, isFirst: isFirst, logProbabilitiesOfRows)
            if isDone(items[slot], bestRunning: newRunning[firstNewRow]) {
                sources.removeSubrange(firstNewRow...)
                tokens.removeSubrange(firstNewRow...)
                logProbabilities.removeSubrange(firstNewRow...)
                newRunning.removeSubrange(firstNewRow...)
            } else {
                items[kept] = items[slot]
                kept += 1
            }
        }
        items.removeSubrange(kept...)
        swap(&running, &newRunning)
    }

    /// Whether an item's sequence ends with its next token.
    private func ends(_ token: Int32, item: Int) -> Bool {
        histories.generated + 1 >= limits[item] || options.eosTokens.contains(token)
    }

    private func row(of candidate: TopCandidates.Entry, slot: Int, isFirst: Bool) -> Int {
        isFirst ? slot : slot * beams + candidate.group
    }

    /// Moves the ending ones of the first `beams` candidates into the list of their item. Later
    /// candidates only serve to keep enough beams running.
    private mutating func finishCandidates(of slot: Int, isFirst: Bool, _ scores: [Float]) {
        let item = items[slot]
        let divisor = Float(pow(Double(histories.generated + 1), options.lengthPenalty))
        for index in 0..<beams {
            let candidate = candidates[index]
            guard ends(candidate.token, item: item) else { continue }
            let score = candidate.score / divisor
            let isFull = finished[item].count == beams
            if candidate.score > Self.removed / 2, !(score > Self.removed) { penaltyRemoves = true }
            guard score > (isFull ? finished[item][beams - 1].score : Self.removed) else { continue }
            let row = row(of: candidate, slot: slot, isFirst: isFirst)
            var sequence = histories.sequence(row, score: score)
            sequence.tokens.append(candidate.token)
            sequence.tokenLogProbabilities.append(scores[row * vocabulary + Int(candidate.token)])
            let position = finished[item].firstIndex { $0.score < score } ?? finished[item].count
            if isFull { finished[item].removeLast() }
            finished[item].insert(
                Hypothesis(score: score, isResult: candidate.score > Self.removed / 2, sequence: sequence),
                at: position)
        }
    }

    /// Appends the best `beams` candidates as rows of the next step. Those that end come after all
    /// that do not, unless a rule forbids the latter.
    private mutating func continueCandidates(of slot: Int, isFirst: Bool, _ scores: [Float]) {
        continuing.removeAll()
        for index in 0..<candidates.count {
            var candidate = candidates[index]
            candidate.group = row(of: candidate, slot: slot, isFirst: isFirst)
            if ends(candidate.token, item: items[slot]) { candidate.score += Self.removed }
            continuing.offer(candidate)
        }
        for index in 0..<continuing.count {
            let next = continuing[index]
            sources.append(Int32(next.group))
            tokens.append(next.token)
            logProbabilities.append(scores[next.group * vocabulary + Int(next.token)])
            newRunning.append(next.score)
        }
    }

    /// Whether no running beam of an item can change its result any more.
    private mutating func isDone(_ item: Int, bestRunning: Float) -> Bool {
        let length = histories.generated + 1
        if length >= limits[item] { return true }
        // What runs on after its end gives no result.
        if bestRunning <= Self.removed / 2 { return true }
        let isFull = finished[item].count == beams
        if options.earlyStopping == .whenFull, isFull { return true }
        let reached = options.earlyStopping == .never && options.lengthPenalty > 0 ? limits[item] : length
        let possible = bestRunning / Float(pow(Double(reached), options.lengthPenalty))
        if !(possible > Self.removed) { penaltyRemoves = true }
        return !(possible > (isFull ? finished[item][beams - 1].score : Self.removed))
    }
}
