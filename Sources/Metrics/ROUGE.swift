/// ROUGE-L of one text or the mean of many; all parts 0...1.
public struct RougeScore: Sendable, Equatable {
    /// Share of the hypothesis tokens in the longest common subsequence.
    public let precision: Double
    /// Share of the reference tokens in the longest common subsequence.
    public let recall: Double
    /// `2 P R / (P + R)`, or 0.
    public let fMeasure: Double
}

/// ROUGE-L of one text (Lin 2004, equations 2 to 4 with beta 1), as the `rouge-score` package computes
/// it without stemmer: tokens are the runs of ASCII letters and digits of the lower-case text.
///
/// - Parameters:
///   - hypothesis: the text to score.
///   - references: its references; the one with the best F-measure counts. Without any, all is 0.
///
/// Pure; safe from any thread.
public func rougeL(hypothesis: String, references: [String]) -> RougeScore {
    var numbers = WordNumbers()
    let ours = numbers.numbers(of: rougeTokens(of: hypothesis))
    var best = RougeScore(precision: 0, recall: 0, fMeasure: 0)
    for reference in references {
        let theirs = numbers.numbers(of: rougeTokens(of: reference))
        let common = longestCommonSubsequence(ours, theirs)
        guard common > 0 else { continue }
        let precision = Double(common) / Double(ours.count)
        let recall = Double(common) / Double(theirs.count)
        let fMeasure = 2 * precision * recall / (precision + recall)
        if fMeasure > best.fMeasure {
            best = RougeScore(precision: precision, recall: recall, fMeasure: fMeasure)
        }
    }
    return best
}

/// The mean of `rougeL` over a corpus, part by part.
///
/// - Parameters:
///   - hypotheses: texts, 1 or more.
///   - references: for each hypothesis its references, 1 or more.
/// - Throws: `SeamError` (`invalidArgument` or `shape`) that names the argument.
///
/// Pure; safe from any thread.
public func meanRougeL(hypotheses: [String], references: [[String]]) throws -> RougeScore {
    try checkCorpus(hypotheses, references)
    let scores = zip(hypotheses, references).map { rougeL(hypothesis: $0, references: $1) }
    func mean(_ part: (RougeScore) -> Double) -> Double {
        scores.reduce(0) { $0 + part($1) } / Double(scores.count)
    }
    return RougeScore(precision: mean(\.precision), recall: mean(\.recall), fMeasure: mean(\.fMeasure))
}

/// Lower-cases first, so the two other characters whose lower case holds an ASCII letter count: the
/// Kelvin sign is k, and the capital I with dot is i and a combining dot, which ends the token.
private func rougeTokens(of text: String) -> [ArraySlice<UInt32>] {
    var lowered = Scalars()
    for scalar in scalars(of: text) {
        switch scalar {
        case 0x41...0x5A: lowered.append(scalar + 0x20)
        case 0x212A: lowered.append(0x6B)
        case 0x130: lowered += [0x69, 0x307]
        default: lowered.append(scalar)
        }
    }
    return lowered.split { !isDigit($0) && !(0x61...0x7A).contains($0) }
}

/// Length of the longest common subsequence, by rows of the usual table.
func longestCommonSubsequence(_ a: [UInt32], _ b: [UInt32]) -> Int {
    var row = [Int](repeating: 0, count: b.count + 1)
    for symbol in a {
        var diagonal = 0
        for index in b.indices {
            let above = row[index + 1]
            row[index + 1] = symbol == b[index] ? diagonal + 1 : max(above, row[index])
            diagonal = above
        }
    }
    return row[b.count]
}
