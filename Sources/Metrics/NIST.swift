import Glibc

/// NIST of a corpus (Doddington 2002, equation 3), with the details of mteval-v13a and of its Python counterpart in
/// e2e-metrics, which take several references per segment: lower case, tokenizer 13a.
///
/// `NIST = P sum_n (sum of info(w_1...w_n) over matched n-grams) / (n-grams of the hypotheses)`, where matches are
/// clipped as in BLEU, `info(w_1...w_n) = log2(count(w_1...w_(n-1)) / count(w_1...w_n))` with counts over all
/// references, and `P = exp(-b log^2 min(1, c / r))` with `b = ln 2 / ln^2 1.5`, c the words of the hypotheses and r
/// the sum of each segment's mean reference length.
///
/// - Parameters:
///   - hypotheses: output lines, 1 or more.
///   - references: for each hypothesis its references, 1 or more.
///   - maxOrder: largest n-gram order, 1 or more.
/// - Returns: the score, 0 or more; it has no upper limit.
/// - Throws: `SeamError` (`invalidArgument` or `shape`) that names the argument.
///
/// Pure; safe from any thread.
public func corpusNIST(hypotheses: [String], references: [[String]], maxOrder: Int = 5) throws -> Double {
    try checkCorpus(hypotheses, references)
    try checkOrder(maxOrder)
    var numbers = WordNumbers()
    var tree = SequenceTree()
    /// How often all references together have each node's n-gram; of the empty one, their words.
    var referenceCounts: [Int] = [0]
    var matches: [(node: Int, count: Int)] = []
    var totals = [Int](repeating: 0, count: maxOrder)
    var (hypothesisLength, referenceLength) = (0, 0.0)
    func words(_ text: String) -> [UInt32] {
        numbers.numbers(of: BLEUTokenizer.thirteenA.tokens(ofScalars: lowercased(scalars(of: text))))
    }
    for (hypothesis, itsReferences) in zip(hypotheses, references) {
        var limits: [Int: Int] = [:]
        var length = 0
        for reference in itsReferences {
            let reference = words(reference)
            length += reference.count
            let counts = tree.ngramCounts(of: reference, maxOrder: maxOrder)
            referenceCounts.append(contentsOf: repeatElement(0, count: tree.depths.count - referenceCounts.count))
            for (node, count) in counts {
                referenceCounts[node] += count
                limits[node] = max(limits[node] ?? 0, count)
            }
        }
        referenceCounts[0] += length
        referenceLength += Double(length) / Double(itsReferences.count)
        let ours = words(hypothesis)
        hypothesisLength += ours.count
        for order in 0..<maxOrder { totals[order] += max(0, ours.count - order) }
        for (node, count) in tree.ngramCounts(of: ours, maxOrder: maxOrder) {
            if let limit = limits[node] { matches.append((node, min(count, limit))) }
        }
    }
    var sums = [Double](repeating: 0, count: maxOrder)
    for (node, count) in matches {
        let information = log2(Double(referenceCounts[tree.parents[node]]) / Double(referenceCounts[node]))
        sums[tree.depths[node] - 1] += information * Double(count)
    }
    let score = zip(sums, totals).reduce(0) { $1.1 > 0 ? $0 + $1.0 / Double($1.1) : $0 }
    guard score > 0 else { return 0 }
    let ratio = log(min(1, Double(hypothesisLength) / referenceLength))
    return score * exp(log(0.5) / (log(1.5) * log(1.5)) * ratio * ratio)
}
