/// Each text gets the class whose training examples have the nearest mean, by Euclidean distance: scikit-learn's
/// `NearestCentroid` (metric "euclidean").
public struct NearestClassMean: Sendable {
    /// classes x width, row by row.
    public let means: [Float]
    private let linear: LinearClassifier

    /// Averages the examples of each class.
    ///
    /// - Parameters:
    ///   - features: one row of `width` for each label.
    ///   - labels: in `0..<classes`, each class one or more times.
    /// - Throws: `SeamError`: `.shape` for sizes that do not fit, `.numeric` for NaN or infinity, `.invalidArgument`
    ///   for labels outside the range, fewer than two classes or a class without examples.
    public init(features: [Float], labels: [Int], classes: Int, width: Int) throws {
        let data = try TrainingSet(features: features, labels: labels, classes: classes, width: width)
        var sums = [Double](repeating: 0, count: classes * width)
        var counts = [Double](repeating: 0, count: classes)
        for (row, label) in labels.enumerated() {
            counts[label] += 1
            for column in 0..<width { sums[label * width + column] += Double(features[row * width + column]) }
        }
        let centre = data.means.map { Float($0) }
        var weights: [Float] = []
        var bias: [Float] = []
        // -|x - m|^2 / 2 = x m - |m|^2 / 2 - |x|^2 / 2, of which the last is the same for all classes.
        for label in 0..<classes {
            let mean = (0..<width).map { sums[label * width + $0] / counts[label] - Double(centre[$0]) }
            weights += mean.map { Float($0) }
            bias.append(Float(-mean.reduce(0) { $0 + $1 * $1 } / 2))
        }
        means = sums.enumerated().map { Float($1 / counts[$0 / width]) }
        linear = LinearClassifier(width: width, centre: centre, weights: weights, bias: bias)
    }

    /// Rows of features -> rows of class scores: minus half the squared distance, but for a constant of each row.
    ///
    /// Throws `SeamError`: `.shape` for parts of a row, `.numeric` for NaN or infinity.
    public func scores(_ features: [Float]) throws -> [Float] { try linear.scores(features) }

    /// The nearest class of each row, the first of equally near ones. Throws as `scores`.
    public func predictions(_ features: [Float]) throws -> [Int] {
        try predictedClasses(scores(features), classes: linear.bias.count)
    }
}
