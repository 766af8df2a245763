import Support

/// What predictions of classes are worth.
public struct ClassificationMetrics: Sendable, Equatable {
    /// Counts, a row for each true class, a column for each predicted one.
    public let confusion: [[Int]]

    /// Counts predictions.
    ///
    /// - Parameters:
    ///   - predictions: classes in `0..<classes`.
    ///   - labels: the true classes, as many, 1 or more.
    /// - Throws: `SeamError`: `.shape` for no predictions or other counts, `.invalidArgument` for a class outside the
    ///   range.
    public init(predictions: [Int], labels: [Int], classes: Int) throws {
        guard predictions.count == labels.count, !labels.isEmpty, classes > 0 else {
            throw SeamError(
                .shape,
                "argument predictions: expected one for each of 1 or more labels of 1 or more classes, found"
                    + " \(predictions.count) for \(labels.count) labels of \(classes) classes")
        }
        var confusion = [[Int]](repeating: [Int](repeating: 0, count: classes), count: classes)
        for (row, (prediction, label)) in zip(predictions, labels).enumerated() {
            guard (0..<classes).contains(prediction), (0..<classes).contains(label) else {
                throw SeamError(
                    .invalidArgument,
                    "row \(row): expected classes 0 to \(classes - 1), found prediction \(prediction) and label"
                        + " \(label)")
            }
            confusion[label][prediction] += 1
        }
        self.confusion = confusion
    }

    /// The share of right predictions, 0...1.
    public var accuracy: Double {
        let right = confusion.indices.reduce(0) { $0 + confusion[$1][$1] }
        return Double(right) / Double(confusion.joined().reduce(0, +))
    }

    /// The mean over classes of F1 = 2 tp / (2 tp + fp + fn), 0...1, as scikit-learn's
    /// `f1_score(average="macro", zero_division=0)`: over the classes that occur among labels or predictions.
    public var macroF1: Double {
        let scores = confusion.indices.compactMap { place -> Double? in
            let actual = confusion[place].reduce(0, +)
            let predicted = confusion.reduce(0) { $0 + $1[place] }
            return actual + predicted == 0 ? nil : 2 * Double(confusion[place][place]) / Double(actual + predicted)
        }
        return scores.reduce(0, +) / Double(scores.count)
    }
}
