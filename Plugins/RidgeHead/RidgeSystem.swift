/// The equations of a ridge regression in f64, solved for one penalty:
///
///     minimise over W   sum_i (t_i - x_i W)^2 + penalty ||W||^2
///
/// By the smaller of the two systems: of the d features, or of the n examples (the dual form).
struct RidgeSystem {
    private let n, d: Int
    private let penalty: Double
    /// Row-major [n, d].
    private let x: [Double]
    /// Whether the system is that of the examples.
    private let isDual: Bool
    /// L with L L^T the system's matrix, row-major, [n, n] or [d, d].
    private let factor: [Double]
    /// L^-1, its columns as rows [n, n], or L^-1 X^T, likewise [n, d].
    private let halves: [Double]

    /// Everything that is the same for all penalties.
    struct Products {
        let n, d: Int
        /// Row-major [n, d].
        let x: [Double]
        let isDual: Bool
        /// X X^T or X^T X.
        let matrix: [Double]

        init(_ x: [Double], n: Int, d: Int) {
            (self.x, self.n, self.d) = (x, n, d)
            isDual = n <= d
            let (rows, columns) = isDual ? (n, d) : (d, n)
            let source = isDual ? x : transposed(x, rows: n, columns: d)
            var matrix = [Double](repeating: 0, count: rows * rows)
            source.withUnsafeBufferPointer { source in
                for i in 0..<rows {
                    for j in 0...i {
                        let product = dot(source, i * columns, source, j * columns, columns)
                        matrix[i * rows + j] = product
                        matrix[j * rows + i] = product
                    }
                }
            }
            self.matrix = matrix
        }

        /// The mean squared length of an example.
        var meanSquare: Double {
            let size = isDual ? n : d
            var sum = 0.0
            for i in 0..<size { sum += matrix[i * size + i] }
            return sum / Double(n)
        }
    }

    /// Nil where the penalty is too small beside rounding.
    init?(_ products: Products, penalty: Double) {
        (n, d, x, isDual) = (products.n, products.d, products.x, products.isDual)
        self.penalty = penalty
        let size = isDual ? n : d
        var factor = products.matrix
        for i in 0..<size { factor[i * size + i] += penalty }
        guard Self.factorise(&factor, size) else { return nil }
        self.factor = factor
        var halves = isDual ? [Double](repeating: 0, count: n * n) : x
        if isDual { for i in 0..<n { halves[i * n + i] = 1 } }
        for i in 0..<n { Self.forward(factor, size, &halves, at: i * size, from: isDual ? i : 0) }
        self.halves = halves
    }

    /// What each example's target differs from its prediction by when weights and intercept are fitted to the other n - 1:
    /// for columns of targets [columns, n] whose mean is 0, as that of each feature is, likewise.
    func leftOutResiduals(_ targets: [Double], columns: Int) -> [Double] {
        let coefficients = solved(targets, columns: columns)
        var result = [Double](repeating: 0, count: columns * n)
        let size = isDual ? n : d
        halves.withUnsafeBufferPointer { halves in
            coefficients.withUnsafeBufferPointer { coefficients in
                for i in 0..<n {
                    let own = dot(halves, i * size, halves, i * size, size)
                    // 1 - H_ii, of which 1/n is the intercept's.
                    let rest = (isDual ? penalty * own : 1 - own) - 1 / Double(n)
                    for column in 0..<columns {
                        let product = dot(halves, i * size, coefficients, column * size, size)
                        let residual = isDual ? penalty * product : targets[column * n + i] - product
                        result[column * n + i] = residual / rest
                    }
                }
            }
        }
        return result
    }

    /// W^T, row-major [columns, d], for columns of targets [columns, n].
    func weights(_ targets: [Double], columns: Int) -> [Double] {
        var coefficients = solved(targets, columns: columns)
        guard isDual else {
            for column in 0..<columns { Self.backward(factor, d, &coefficients, at: column * d) }
            return coefficients
        }
        var result = [Double](repeating: 0, count: columns * d)
        for column in 0..<columns {
            for i in 0..<n {
                // (A^-1 t)_i = (column i of L^-1) . (L^-1 t)
                let coefficient = halves.withUnsafeBufferPointer { halves in
                    coefficients.withUnsafeBufferPointer { dot(halves, i * n, $0, column * n, n) }
                }
                for j in 0..<d { result[column * d + j] += coefficient * x[i * d + j] }
            }
        }
        return result
    }

    /// L^-1 t, or L^-1 X^T t, for each column.
    private func solved(_ targets: [Double], columns: Int) -> [Double] {
        if isDual {
            var result = targets
            for column in 0..<columns { Self.forward(factor, n, &result, at: column * n, from: 0) }
            return result
        }
        var result = [Double](repeating: 0, count: columns * d)
        for column in 0..<columns {
            for i in 0..<n {
                let target = targets[column * n + i]
                for j in 0..<d { result[column * d + j] += target * halves[i * d + j] }
            }
        }
        return result
    }

    /// Cholesky's factorisation, in the lower triangle. False for a matrix that is not positive definite.
    private static func factorise(_ a: inout [Double], _ size: Int) -> Bool {
        a.withUnsafeMutableBufferPointer { a in
            let read = UnsafeBufferPointer(a)
            for i in 0..<size {
                for j in 0..<i {
                    a[i * size + j] =
                        (a[i * size + j] - dot(read, i * size, read, j * size, j)) / a[j * size + j]
                }
                let rest = a[i * size + i] - dot(read, i * size, read, i * size, i)
                guard rest > 0, rest.isFinite else { return false }
                a[i * size + i] = rest.squareRoot()
            }
            return true
        }
    }

    /// Solves L z = b in place, for b at `start` of which the first `first` numbers are 0.
    private static func forward(_ l: [Double], _ size: Int, _ b: inout [Double], at start: Int, from first: Int) {
        l.withUnsafeBufferPointer { l in
            b.withUnsafeMutableBufferPointer { b in
                for j in first..<size {
                    let known = dot(l, j * size + first, UnsafeBufferPointer(b), start + first, j - first)
                    b[start + j] = (b[start + j] - known) / l[j * size + j]
                }
            }
        }
    }

    /// Solves L^T w = z in place.
    private static func backward(_ l: [Double], _ size: Int, _ z: inout [Double], at start: Int) {
        l.withUnsafeBufferPointer { l in
            z.withUnsafeMutableBufferPointer { z in
                for i in stride(from: size - 1, through: 0, by: -1) {
                    let value = z[start + i] / l[i * size + i]
                    z[start + i] = value
                    for j in 0..<i { z[start + j] -= value * l[i * size + j] }
                }
            }
        }
    }
}

/// The product of two rows of `count` numbers that begin at the given places.
func dot(
    _ a: UnsafeBufferPointer<Double>, _ i: Int, _ b: UnsafeBufferPointer<Double>, _ j: Int, _ count: Int
) -> Double {
    // Four sums, which the processor can add at once.
    var (first, second, third, fourth) = (0.0, 0.0, 0.0, 0.0)
    var place = 0
    while place + 4 <= count {
        first += a[i + place] * b[j + place]
        second += a[i + place + 1] * b[j + place + 1]
        third += a[i + place + 2] * b[j + place + 2]
        fourth += a[i + place + 3] * b[j + place + 3]
        place += 4
    }
    while place < count {
        first += a[i + place] * b[j + place]
        place += 1
    }
    return (first + second) + (third + fourth)
}

/// A matrix with its axes exchanged.
func transposed(_ x: [Double], rows: Int, columns: Int) -> [Double] {
    var result = [Double](repeating: 0, count: x.count)
    for i in 0..<rows {
        for j in 0..<columns { result[j * rows + i] = x[i * columns + j] }
    }
    return result
}
