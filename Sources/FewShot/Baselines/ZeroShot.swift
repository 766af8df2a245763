import Support

/// Classification by the model's scores alone, without training.
public enum ZeroShot {
    /// Scores with the model's liking for a class divided out: s / (s0 / mean(s0)), where s0 are the scores of an empty
    /// input (Zhao et al. 2021; DecT, Cui et al. 2023, section 3.1).
    ///
    /// - Parameters:
    ///   - scores: rows of as many probabilities as `empty` has.
    ///   - empty: the scores for the empty input, each above 0.
    /// - Throws: `SeamError`: `.shape` for parts of a row, `.numeric` for a score of the empty input that is not a
    ///   positive number and for scores that are not finite.
    public static func calibrated(_ scores: [Float], empty: [Float]) throws -> [Float] {
        guard !empty.isEmpty else { throw SeamError(.shape, "argument empty: expected 1 score or more, found none") }
        try checkCount(scores.count, "scores", rows: scores.count / empty.count, columns: empty.count)
        try checkFinite(scores, "scores", columns: empty.count)
        try checkFinite(empty, "empty", columns: empty.count)
        if let column = empty.firstIndex(where: { $0 <= 0 }) {
            throw SeamError(
                .numeric,
                "argument empty: expected scores above 0, found \(empty[column]) in column \(column), which nothing can"
                    + " be divided by")
        }
        let mean = empty.reduce(0) { $0 + Double($1) } / Double(empty.count)
        let divisors = empty.map { Double($0) / mean }
        return scores.enumerated().map { Float(Double($1) / divisors[$0 % empty.count]) }
    }

    /// The class of the greatest score in each row, the first of equal ones. Throws as `predictedClasses`.
    public static func predictions(_ classScores: [Float], classes: Int) throws -> [Int] {
        try predictedClasses(classScores, classes: classes)
    }
}
