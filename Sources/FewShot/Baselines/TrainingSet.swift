import Support

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
