import Glibc

/// What BLEU does with an n-gram order without a match.
public enum BLEUSmoothing: Sendable {
    /// The precision is 0, and so is the score.
    case none
    /// The k-th order without a match counts as `1 / 2^k` matches (Chen and Cherry 2014, method 3).
    case exponential
}

/// BLEU of a corpus with its parts.
public struct BLEUScore: Sendable, Equatable {
    /// The score, 0...100.
    public let score: Double
    /// Precision of each n-gram order after smoothing, 0...100.
    public let precisions: [Double]
    /// Factor for output shorter than the references, 0...1.
    public let brevityPenalty: Double
    /// Matched n-grams of each order.
    public let matches: [Int]
    /// N-grams of the hypotheses of each order.
    public let totals: [Int]
    /// Tokens of all hypotheses.
    public let hypothesisLength: Int
    /// Sum over the hypotheses of the length of the reference closest in length.
    public let referenceLength: Int
}

/// BLEU of a corpus (Papineni et al. 2002, equations of section 2.3), with the details of sacrebleu
/// (Post 2018).
///
/// `BLEU = BP exp(1/N sum_n log p_n)` with `BP = min(1, exp(1 - r/c))`; `p_n` clips each n-gram at
/// its largest count in one reference, and `r` takes the reference closest in length, the shorter of
/// two.
///
/// - Parameters:
///   - hypotheses: output lines, 1 or more.
///   - references: for each hypothesis its references, 1 or more. (sacrebleu wants the transpose.)
///   - tokenizer: how lines become tokens, of hypotheses and references alike.
///   - smoothing: for orders without a match.
///   - effectiveOrder: average only up to the largest order that the hypotheses have; meant for
///     single sentences.
///   - maxOrder: largest n-gram order, 1 or more.
///   - ignoresCase: compare the lower case of everything, as mteval-v13a does.
/// - Throws: `SeamError` (`invalidArgument` or `shape`) that names the argument.
///
/// Pure; safe from any thread.
public func corpusBLEU(
    hypotheses: [String], references: [[String]], tokenizer: BLEUTokenizer = .thirteenA,
    smoothing: BLEUSmoothing = .exponential, effectiveOrder: Bool = false, maxOrder: Int = 4,
    ignoresCase: Bool = false
) throws -> BLEUScore {
    try checkCorpus(hypotheses, references)
    try checkOrder(maxOrder)
    var numbers = WordNumbers()
    var statistics = BLEUStatistics(maxOrder: maxOrder)
    func words(_ text: String) -> [UInt32] {
        let text = scalars(of: text)
        return numbers.numbers(of: tokenizer.tokens(ofScalars: ignoresCase ? lowercased(text) : text))
    }
    for (hypothesis, itsReferences) in zip(hypotheses, references) {
        statistics.add(words(hypothesis), itsReferences.map(words))
    }
    return statistics.score(smoothing: smoothing, effectiveOrder: effectiveOrder)
}

/// The sums that BLEU needs of a corpus.
private struct BLEUStatistics {
    let maxOrder: Int
    var matches: [Int]
    var totals: [Int]
    var hypothesisLength = 0
    var referenceLength = 0
    private var tree = SequenceTree()

    init(maxOrder: Int) {
        self.maxOrder = maxOrder
        matches = [Int](repeating: 0, count: maxOrder)
        totals = matches
    }

    /// Adds a hypothesis with its references, all as word numbers.
    mutating func add(_ hypothesis: [UInt32], _ references: [[UInt32]]) {
        tree.removeAll()
        let counts = tree.countNgrams(of: hypothesis, maxOrder: maxOrder)
        var limits = [Int](repeating: 0, count: counts.count)
        for reference in references {
            for (node, count) in tree.countNgrams(of: reference, maxOrder: maxOrder).prefix(limits.count).enumerated() {
                limits[node] = max(limits[node], count)
            }
        }
        for node in counts.indices.dropFirst() {
            totals[tree.depths[node] - 1] += counts[node]
            matches[tree.depths[node] - 1] += min(counts[node], limits[node])
        }
        hypothesisLength += hypothesis.count
        let lengths = references.map(\.count)
        referenceLength +=
            lengths.min {
                let (left, right) = (abs($0 - hypothesis.count), abs($1 - hypothesis.count))
                return left < right || (left == right && $0 < $1)
            } ?? 0
    }

    func score(smoothing: BLEUSmoothing, effectiveOrder: Bool) -> BLEUScore {
        var penalty = 1.0
        if hypothesisLength < referenceLength {
            penalty = hypothesisLength > 0 ? exp(1 - Double(referenceLength) / Double(hypothesisLength)) : 0
        }
        var precisions = [Double](repeating: 0, count: maxOrder)
        var order = maxOrder
        var share = 1.0
        var score = 0.0
        if matches.contains(where: { $0 > 0 }) {
            for n in 0..<maxOrder {
                if totals[n] == 0 { break }
                if effectiveOrder { order = n + 1 }
                if matches[n] > 0 {
                    precisions[n] = 100 * Double(matches[n]) / Double(totals[n])
                } else if smoothing == .exponential {
                    share *= 2
                    precisions[n] = 100 / (share * Double(totals[n]))
                }
            }
            let logarithms = precisions.prefix(order).map { log($0) }
            score = penalty * exp(logarithms.reduce(0, +) / Double(order))
        }
        return BLEUScore(
            score: score, precisions: precisions, brevityPenalty: penalty, matches: matches, totals: totals,
            hypothesisLength: hypothesisLength, referenceLength: referenceLength)
    }
}
