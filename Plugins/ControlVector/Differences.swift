/// States of two classes of texts, rows of `width` numbers.
struct ClassStates {
    let width: Int
    private(set) var ofClass1: [[Double]] = []
    private(set) var ofClass0: [[Double]] = []

    /// - Parameters:
    ///   - numbers: row-major, a row for each label.
    ///   - labels: 1 or 0 of each row.
    init(_ numbers: [Float], _ labels: [Float], width: Int) {
        self.width = width
        for (row, label) in labels.enumerated() {
            let state = numbers[row * width..<(row + 1) * width].map { Double($0) }
            if label == 1 { ofClass1.append(state) } else { ofClass0.append(state) }
        }
    }

    /// The mean of class 1 less that of class 0.
    var meanDifference: [Double] {
        let (wanted, others) = (meanRow(ofClass1, width), meanRow(ofClass0, width))
        return (0..<width).map { wanted[$0] - others[$0] }
    }
}

/// The differences of pairs, the first state of class 1 and the first of class 0 and so on, around their mean.
struct PairDifferences {
    let mean: [Double]
    /// With the mean taken off.
    let centred: [[Double]]
    private let differences: [[Double]]

    init(_ states: ClassStates) {
        let width = states.width
        let own = states.ofClass1.indices.map { pair in
            (0..<width).map { states.ofClass1[pair][$0] - states.ofClass0[pair][$0] }
        }
        let mean = meanRow(own, width)
        self.mean = mean
        differences = own
        centred = own.map { row in (0..<width).map { row[$0] - mean[$0] } }
    }

    /// The first principal direction of the differences, of length 1, with the sign in which more pairs have their state
    /// of class 1 ahead: `pca_diff` of the package repeng, whose PCA takes the mean off, too. Where as many have it behind,
    /// which is left to chance there, the mean difference decides.
    var direction: [Double] {
        let width = mean.count
        let axis: [Double]
        if centred.count <= width {
            axis = normalised(combined(leadingVector(products(of: centred)), centred, width))
        } else {
            let columns = (0..<width).map { column in centred.map { $0[column] } }
            axis = leadingVector(products(of: columns))
        }
        let ahead = differences.reduce(0) { sum, row in
            let place = dot(row, axis)
            return sum + (place > 0 ? 1 : place < 0 ? -1 : 0)
        }
        return ahead < 0 || ahead == 0 && dot(mean, axis) < 0 ? axis.map { -$0 } : axis
    }
}

/// The differences of the same pairs at several points, taken as one vector of each pair.
struct JointDifferences {
    private var points: [PairDifferences] = []

    mutating func add(_ pairs: PairDifferences) { points.append(pairs) }

    /// For each point its part of the mean difference plus its part of the first principal direction, which is of length 1
    /// over all points and points where the mean does: the direction of the code that is published with Liu et al. 2023,
    /// whose sign is that of its decomposition.
    var vectors: [[Double]] {
        guard let first = points.first else { return [] }
        var sum = [[Double]](repeating: [Double](repeating: 0, count: first.centred.count), count: first.centred.count)
        for point in points {
            let own = products(of: point.centred)
            for row in sum.indices { for column in sum.indices { sum[row][column] += own[row][column] } }
        }
        let weights = leadingVector(sum)
        let parts = points.map { combined(weights, $0.centred, $0.mean.count) }
        let length = parts.reduce(0) { $0 + dot($1, $1) }.squareRoot()
        let towards = zip(parts, points).reduce(0) { $0 + dot($1.0, $1.1.mean) }
        let scale = length > 0 ? (towards < 0 ? -1 : 1) / length : 0
        return zip(parts, points).map { part, point in part.indices.map { point.mean[$0] + scale * part[$0] } }
    }
}

private func meanRow(_ rows: [[Double]], _ width: Int) -> [Double] {
    let sums = combined([Double](repeating: 1, count: rows.count), rows, width)
    return sums.map { $0 / Double(max(rows.count, 1)) }
}

private func dot(_ a: [Double], _ b: [Double]) -> Double {
    var sum = 0.0
    for index in a.indices { sum += a[index] * b[index] }
    return sum
}

/// The sum of the rows, each times its weight.
private func combined(_ weights: [Double], _ rows: [[Double]], _ width: Int) -> [Double] {
    var sum = [Double](repeating: 0, count: width)
    for (weight, row) in zip(weights, rows) { for index in 0..<width { sum[index] += weight * row[index] } }
    return sum
}

/// Of length 1; zeros stay zeros.
func normalised(_ x: [Double]) -> [Double] {
    let length = dot(x, x).squareRoot()
    return length > 0 ? x.map { $0 / length } : x
}

/// The product of each row with each.
private func products(of rows: [[Double]]) -> [[Double]] { rows.map { row in rows.map { dot(row, $0) } } }

/// The eigenvector, of length 1, of the largest eigenvalue of a symmetric matrix without negative ones: by power
/// iteration, up to differences of 1e-12.
private func leadingVector(_ matrix: [[Double]]) -> [Double] {
    let size = matrix.count
    // The largest of a matrix's columns points where the eigenvector does, more or less.
    let first = (0..<size).max { matrix[$0][$0] < matrix[$1][$1] } ?? 0
    var vector = size > 0 ? normalised(matrix[first]) : []
    for _ in 0..<10_000 {
        let next = normalised(matrix.map { dot($0, vector) })
        var distance = 0.0
        for index in next.indices { distance = max(distance, (next[index] - vector[index]).magnitude) }
        vector = next
        if distance < 1e-12 { break }
    }
    return vector
}
