import Glibc

/// The mean of ROUGE-L over a corpus as pycocoevalcap's `Rouge` defines it, the one of the E2E challenge (Lin 2004,
/// equations 2 to 4 with beta 1.2): of several references the greatest precision and the greatest recall count, be they
/// of two references.
///
/// Tokens are words in lower case without punctuation (`captionTokens`). A text without any counts as one empty word,
/// so an empty hypothesis is right for an empty reference only.
///
/// - Parameters:
///   - hypotheses: texts, 1 or more.
///   - references: for each hypothesis its references, 1 or more.
/// - Returns: the mean F-measure, 0...1.
/// - Throws: `SeamError` (`invalidArgument` or `shape`) that names the argument.
///
/// Pure; safe from any thread.
public func captionRougeL(hypotheses: [String], references: [[String]]) throws -> Double {
    try checkCorpus(hypotheses, references)
    let factor = 1.2 * 1.2
    let emptyWord: UInt32 = 0
    var numbers = WordNumbers()
    func words(_ text: String) -> [UInt32] {
        // Words are numbered from 1.
        let words = numbers.numbers(of: captionTokens(of: scalars(of: text)))
        return words.isEmpty ? [emptyWord] : words
    }
    var sum = 0.0
    for (hypothesis, itsReferences) in zip(hypotheses, references) {
        let ours = words(hypothesis)
        var (precision, recall) = (0.0, 0.0)
        for reference in itsReferences {
            let theirs = words(reference)
            let common = Double(longestCommonSubsequence(ours, theirs))
            precision = max(precision, common / Double(ours.count))
            recall = max(recall, common / Double(theirs.count))
        }
        if precision > 0 { sum += (1 + factor) * precision * recall / (recall + factor * precision) }
    }
    return sum / Double(hypotheses.count)
}

/// CIDEr of a corpus (Vedantam, Zitnick and Parikh 2015) as pycocoevalcap's `Cider` computes it, the one of the E2E
/// challenge: it has the clipping and the penalty for length of the paper's CIDEr-D (equation 5, sigma 6), but no
/// stemming; the document frequencies are those of the references given, where the references of one hypothesis are
/// one document.
///
/// For n = 1...4, with g the vector of `count(w) (ln N - ln df(w))` over a text's n-grams w, a hypothesis h scores
/// `10/4 sum_n` of the mean over its references r of
/// `exp(-(|h| - |r|)^2 / (2 sigma^2)) min(g_h, g_r) . g_r / (||g_h|| ||g_r||)`, with lengths counted in bigrams.
/// With one hypothesis N is 1, all weights are 0, and so is the score.
///
/// - Parameters: as `captionRougeL`.
/// - Returns: the mean over the hypotheses, 0...10.
/// - Throws: as `captionRougeL`.
///
/// Pure; safe from any thread.
public func corpusCIDEr(hypotheses: [String], references: [[String]]) throws -> Double {
    try checkCorpus(hypotheses, references)
    var numbers = WordNumbers()
    var tree = SequenceTree()
    func counts(_ text: String) -> [(node: Int, count: Int)] {
        tree.ngramCounts(of: numbers.numbers(of: captionTokens(of: scalars(of: text))), maxOrder: CIDErVector.orders)
    }
    let ours = hypotheses.map(counts)
    let theirs = references.map { $0.map(counts) }
    var documents = [Int](repeating: 0, count: tree.depths.count)
    for itsReferences in theirs {
        for node in Set(itsReferences.joined().map(\.node)) { documents[node] += 1 }
    }
    let all = log(Double(hypotheses.count))
    let weights = documents.map { all - log(Double(max(1, $0))) }
    func vector(_ counts: [(node: Int, count: Int)]) -> CIDErVector { CIDErVector(counts, weights, tree.depths) }
    let scores = zip(ours, theirs).map { hypothesis, references in
        let hypothesis = vector(hypothesis)
        let sum = references.reduce(0) { $0 + hypothesis.similarity(to: vector($1)) }
        return 10 * sum / Double(references.count)
    }
    return scores.reduce(0, +) / Double(scores.count)
}

/// The weighted n-grams of a text.
private struct CIDErVector {
    static let orders = 4
    private let values: [Int: Double]
    /// The n-grams in the order of appearance, so that sums come out the same in every run.
    private let ngrams: [(node: Int, order: Int)]
    private var norms = [Double](repeating: 0, count: orders)
    private var bigrams = 0

    init(_ counts: [(node: Int, count: Int)], _ weights: [Double], _ depths: [Int]) {
        ngrams = counts.map { ($0.node, depths[$0.node] - 1) }
        values = Dictionary(uniqueKeysWithValues: counts.map { ($0.node, Double($0.count) * weights[$0.node]) })
        for (ngram, (_, count)) in zip(ngrams, counts) {
            let value = values[ngram.node] ?? 0
            norms[ngram.order] += value * value
            if ngram.order == 1 { bigrams += count }
        }
        norms = norms.map { $0.squareRoot() }
    }

    /// The mean over the orders.
    func similarity(to reference: CIDErVector) -> Double {
        var products = [Double](repeating: 0, count: Self.orders)
        for ngram in ngrams {
            guard let theirs = reference.values[ngram.node], let ours = values[ngram.node] else { continue }
            products[ngram.order] += min(ours, theirs) * theirs
        }
        var sum = 0.0
        for order in 0..<Self.orders where products[order] > 0 {
            sum += products[order] / (norms[order] * reference.norms[order])
        }
        let difference = Double(bigrams - reference.bigrams)
        return sum / Double(Self.orders) * exp(-difference * difference / (2 * 6 * 6))
    }
}
