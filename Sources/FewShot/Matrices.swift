import Engine
import Kernels
import Support

/// Throws `SeamError(.shape)` unless a matrix of `rows` x `columns` has `found` values; `argument` names it.
func checkCount(_ found: Int, _ argument: String, rows: Int, columns: Int) throws {
    let (expected, overflow) = rows.multipliedReportingOverflow(by: columns)
    guard rows >= 0, columns >= 0, !overflow, found == expected else {
        throw SeamError(.shape, "argument \(argument): expected \(rows) x \(columns) values, found \(found)")
    }
}

/// Throws `SeamError(.numeric)` naming the row and column of the first NaN or infinity.
func checkFinite(_ values: [Float], _ argument: String, columns: Int) throws {
    let place = Int(sk_first_nonfinite(values, Int32(SK_F32.rawValue), Int64(values.count)))
    guard place >= 0 else { return }
    throw SeamError(
        .numeric,
        "argument \(argument): expected finite numbers, found \(values[place]) in row \(place / columns), column"
            + " \(place % columns)")
}

/// The column of each row's greatest value, the first of equal ones.
///
/// - Parameters:
///   - scores: rows of `classes` finite values.
///   - classes: 1 or more.
/// - Throws: `SeamError(.shape)` when the values are no whole rows, `.numeric` for NaN or infinity.
public func predictedClasses(_ scores: [Float], classes: Int) throws -> [Int] {
    guard classes > 0 else { throw SeamError(.shape, "argument classes: expected 1 or more, found \(classes)") }
    try checkCount(scores.count, "scores", rows: scores.count / classes, columns: classes)
    try checkFinite(scores, "scores", columns: classes)
    return stride(from: 0, to: scores.count, by: classes).map { start in
        var best = start
        for place in start..<start + classes where scores[place] > scores[best] { best = place }
        return best - start
    }
}

/// The checks that every classifier on features makes of its training set, and the sizes that come out.
struct TrainingSet {
    let features: [Float]
    let labels: [Int]
    let classes: Int
    let width: Int
    var count: Int { labels.count }

    /// Throws `SeamError`: `.shape` for sizes that do not fit, `.numeric` for features that are not finite,
    /// `.invalidArgument` for a label outside `0..<classes`, fewer than two classes and a class without examples.
    init(features: [Float], labels: [Int], classes: Int, width: Int) throws {
        guard classes >= 2 else {
            throw SeamError(.invalidArgument, "argument classes: expected 2 or more, found \(classes)")
        }
        guard width > 0 else { throw SeamError(.shape, "argument width: expected 1 or more, found \(width)") }
        try checkCount(features.count, "features", rows: labels.count, columns: width)
        try checkFinite(features, "features", columns: width)
        var counts = [Int](repeating: 0, count: classes)
        for (row, label) in labels.enumerated() {
            guard counts.indices.contains(label) else {
                throw SeamError(
                    .invalidArgument,
                    "argument labels: expected classes 0 to \(classes - 1), found \(label) in row \(row)")
            }
            counts[label] += 1
        }
        if let absent = counts.firstIndex(of: 0) {
            throw SeamError(.invalidArgument, "argument labels: class \(absent) has no examples")
        }
        self.features = features
        self.labels = labels
        self.classes = classes
        self.width = width
    }

    /// The mean of each feature.
    var means: [Double] {
        var sums = [Double](repeating: 0, count: width)
        for row in 0..<count { for column in 0..<width { sums[column] += Double(features[row * width + column]) } }
        return sums.map { $0 / Double(count) }
    }

    /// The variance of each feature, divided by the number of rows.
    func variances(around means: [Double]) -> [Double] {
        var sums = [Double](repeating: 0, count: width)
        for row in 0..<count {
            for column in 0..<width {
                let difference = Double(features[row * width + column]) - means[column]
                sums[column] += difference * difference
            }
        }
        return sums.map { $0 / Double(count) }
    }
}

/// A classifier whose scores are linear in the features: `(x - centre) weights^T + bias`.
///
/// Centring loses nothing and keeps f32 exact enough where features share a large offset, as hidden states do.
struct LinearClassifier: Sendable {
    let width: Int
    /// `width` values.
    let centre: [Float]
    /// classes x `width`.
    let weights: [Float]
    /// One a class.
    let bias: [Float]

    /// Rows of features -> rows of class scores. Throws `SeamError`: `.shape` for parts of a row, `.numeric` for NaN or
    /// infinity.
    func scores(_ features: [Float]) throws -> [Float] {
        let (count, classes) = (features.count / width, bias.count)
        try checkCount(features.count, "features", rows: count, columns: width)
        try checkFinite(features, "features", columns: width)
        try NativeEngine.start()
        let block = 1024
        var result: [Float] = []
        result.reserveCapacity(count * classes)
        for start in stride(from: 0, to: count, by: block) {
            let rows = min(block, count - start)
            var centred = [Float](repeating: 0, count: rows * width)
            for row in 0..<rows {
                for column in 0..<width {
                    centred[row * width + column] = features[(start + row) * width + column] - centre[column]
                }
            }
            var scores = [Float](repeating: 0, count: rows * classes)
            sk_gemm(
                0, 1, Int64(rows), Int64(classes), Int64(width), 1, centred, Int64(width), weights, Int64(width), 0,
                &scores, Int64(classes))
            sk_add_bias(&scores, bias, Int64(rows), Int64(classes))
            result += scores
        }
        return result
    }
}
