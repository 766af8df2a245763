import Support

/// Share of hypotheses that equal one of their references, Unicode scalar by scalar, 0...1.
///
/// - Parameters:
///   - hypotheses: texts, 1 or more.
///   - references: for each hypothesis its references, 1 or more.
/// - Throws: `SeamError` (`invalidArgument` or `shape`) that names the argument.
///
/// Pure; safe from any thread.
public func exactMatch(hypotheses: [String], references: [[String]]) throws -> Double {
    try checkCorpus(hypotheses, references)
    // String equality would take composed and decomposed accents for the same text.
    let matches = zip(hypotheses, references).count { hypothesis, references in
        references.contains { $0.utf8.elementsEqual(hypothesis.utf8) }
    }
    return Double(matches) / Double(hypotheses.count)
}

/// Counts of right tokens, which add up over batches.
public struct TokenAccuracy: Sendable, Equatable {
    /// Predictions equal to their label.
    public private(set) var correct = 0
    /// Labels that count.
    public private(set) var total = 0

    /// No tokens yet.
    public init() {}

    /// `correct / total`, 0...1; 0 without tokens.
    public var value: Double { total == 0 ? 0 : Double(correct) / Double(total) }

    /// Adds a batch.
    ///
    /// - Parameters:
    ///   - predictions: predicted tokens, in any shape.
    ///   - labels: right tokens, in the same shape.
    ///   - ignoredLabel: label of positions that do not count.
    /// - Throws: `SeamError` (`shape`) if the counts differ.
    public mutating func add(predictions: [Int32], labels: [Int32], ignoredLabel: Int32 = -100) throws {
        guard predictions.count == labels.count else {
            throw SeamError(
                .shape,
                "argument predictions: expected \(labels.count) tokens, one per label, found \(predictions.count)")
        }
        for (prediction, label) in zip(predictions, labels) where label != ignoredLabel {
            total += 1
            if prediction == label { correct += 1 }
        }
    }
}
