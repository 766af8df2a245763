import Support

/// chrF of a corpus (Popović 2015), and with `wordOrder` 2 chrF++ (Popović 2017), with the details of
/// sacrebleu: white space is left out of character n-grams, and of several references the one with
/// the best score of the sentence counts.
///
/// `chrF = 100 (1 + beta^2) P R / (beta^2 P + R)`; `P` and `R` are the means of the n-gram precisions
/// and recalls over all orders that both sides have.
///
/// - Parameters:
///   - hypotheses: output lines, 1 or more.
///   - references: for each hypothesis its references, 1 or more. (sacrebleu wants the transpose.)
///   - characterOrder: largest character n-gram order, 1 or more.
///   - wordOrder: largest word n-gram order, 0 or more.
///   - beta: weight of recall against precision, above 0.
/// - Returns: the score, 0...100.
/// - Throws: `SeamError` (`invalidArgument` or `shape`) that names the argument.
///
/// Pure; safe from any thread.
public func corpusChrF(
    hypotheses: [String], references: [[String]], characterOrder: Int = 6, wordOrder: Int = 0, beta: Double = 2
) throws -> Double {
    try checkCorpus(hypotheses, references)
    guard characterOrder >= 1 else {
        throw SeamError(.invalidArgument, "argument characterOrder: expected 1 or more, found \(characterOrder)")
    }
    guard wordOrder >= 0 else {
        throw SeamError(.invalidArgument, "argument wordOrder: expected 0 or more, found \(wordOrder)")
    }
    guard beta > 0, beta.isFinite else {
        throw SeamError(.invalidArgument, "argument beta: expected above 0 and finite, found \(beta)")
    }
    var counter = ChrFCounter(characterOrder: characterOrder, wordOrder: wordOrder)
    var sums = [OrderCounts](repeating: OrderCounts(), count: characterOrder + wordOrder)
    for (hypothesis, itsReferences) in zip(hypotheses, references) {
        var best: [OrderCounts] = []
        var bestScore = -1.0
        for counts in counter.counts(scalars(of: hypothesis), itsReferences.map(scalars)) {
            let score = fScore(counts, beta: beta)
            if score > bestScore { (best, bestScore) = (counts, score) }
        }
        for (order, counts) in best.enumerated() {
            sums[order].hypothesis += counts.hypothesis
            sums[order].reference += counts.reference
            sums[order].matches += counts.matches
        }
    }
    return fScore(sums, beta: beta)
}

/// N-grams of one order.
private struct OrderCounts {
    /// N-grams of the hypothesis; 0 if the reference has none, so that no recall is asked of it.
    var hypothesis = 0
    var reference = 0
    var matches = 0
}

private func fScore(_ counts: [OrderCounts], beta: Double) -> Double {
    var precision = 0.0
    var recall = 0.0
    var orders = 0
    for order in counts where order.hypothesis > 0 && order.reference > 0 {
        precision += Double(order.matches) / Double(order.hypothesis)
        recall += Double(order.matches) / Double(order.reference)
        orders += 1
    }
    guard precision + recall > 0 else { return 0 }
    precision /= Double(orders)
    recall /= Double(orders)
    let factor = beta * beta
    return 100 * ((1 + factor) * precision * recall / (factor * precision + recall))
}

private struct ChrFCounter {
    let characterOrder: Int
    let wordOrder: Int
    private var numbers = WordNumbers()
    private var tree = SequenceTree()

    init(characterOrder: Int, wordOrder: Int) {
        self.characterOrder = characterOrder
        self.wordOrder = wordOrder
    }

    /// The counts of a hypothesis against each reference, characters first.
    mutating func counts(_ hypothesis: Scalars, _ references: [Scalars]) -> [[OrderCounts]] {
        let characters = counts(
            hypothesis.filter { !isSpace($0) }, references.map { $0.filter { !isSpace($0) } }, characterOrder)
        guard wordOrder > 0 else { return characters }
        let hypothesisWords = numbers.numbers(of: splitPunctuation(hypothesis))
        let referenceWords = references.map { numbers.numbers(of: splitPunctuation($0)) }
        return zip(characters, counts(hypothesisWords, referenceWords, wordOrder)).map { $0 + $1 }
    }

    private mutating func counts(
        _ hypothesis: [UInt32], _ references: [[UInt32]], _ maxOrder: Int
    ) -> [[OrderCounts]] {
        tree.removeAll()
        let ours = tree.countNgrams(of: hypothesis, maxOrder: maxOrder)
        return references.map { reference in
            let theirs = tree.countNgrams(of: reference, maxOrder: maxOrder)
            var result = [OrderCounts](repeating: OrderCounts(), count: maxOrder)
            for (node, count) in ours.enumerated().dropFirst() where node < theirs.count {
                result[tree.depths[node] - 1].matches += min(count, theirs[node])
            }
            for order in 1...maxOrder {
                result[order - 1].reference = max(0, reference.count - order + 1)
                result[order - 1].hypothesis =
                    result[order - 1].reference > 0 ? max(0, hypothesis.count - order + 1) : 0
            }
            return result
        }
    }
}

/// Words with one sign of ASCII punctuation cut off: the last character if it is one, otherwise the
/// first. `(hi)` becomes `(hi` and `)`, as in the author's program.
private func splitPunctuation(_ text: Scalars) -> [ArraySlice<UInt32>] {
    var result: [ArraySlice<UInt32>] = []
    for word in words(of: text) {
        if word.count > 1, isPunctuation(word[word.endIndex - 1]) {
            result += [word.dropLast(), word.suffix(1)]
        } else if word.count > 1, isPunctuation(word[word.startIndex]) {
            result += [word.prefix(1), word.dropFirst()]
        } else {
            result.append(word)
        }
    }
    return result
}

private func isPunctuation(_ scalar: UInt32) -> Bool {
    switch scalar {
    case 0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E: true
    default: false
    }
}
