import Kernels
import Testing

private func layerNorm(_ x: [Double], _ weight: [Double]?, _ bias: [Double]?) -> [Double] {
    let mean = x.reduce(0, +) / Double(x.count)
    let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(x.count)
    let scale = 1 / (variance + 1e-5).squareRoot()
    return x.indices.map { (x[$0] - mean) * scale * (weight?[$0] ?? 1) + (bias?[$0] ?? 0) }
}

private func rmsNorm(_ x: [Double], _ weight: [Double]) -> [Double] {
    let scale = 1 / (x.reduce(0) { $0 + $1 * $1 } / Double(x.count) + 1e-6).squareRoot()
    return x.indices.map { x[$0] * scale * weight[$0] }
}

private func l2Normalize(_ x: [Double]) -> [Double] {
    let norm = x.reduce(0) { $0 + $1 * $1 }.squareRoot()
    return x.map { $0 / max(norm, 1e-3) }
}

private func row(_ x: [Float], _ index: Int, _ cols: Int) -> [Double] {
    doubles(Array(x[index * cols..<(index + 1) * cols]))
}

/// Rows with a mean of half their spread: the normalised values carry a few roundings of order one, and sums
/// over all rows as many as there are rows, in random directions.
@Suite struct NormTests {
    private static let shapes = [(3, 7), (5, 33), (7, 1000), (2, 100_003), (1003, 65)]

    @Test(arguments: shapes, [0, 1, 2, 3]) func layer(shape: (Int, Int), present: Int) {
        let (rows, cols) = shape
        let x = noise(rows * cols, from: -2, to: 4)
        let dy = noise(rows * cols, seed: 2)
        let start = noise(rows * cols, from: -0.1, to: 0.1, seed: 3)
        let weight: [Float]? = present & 1 != 0 ? noise(cols, from: 0.5, to: 2, seed: 4) : nil
        let bias: [Float]? = present & 2 != 0 ? noise(cols, seed: 5) : nil
        var y = x
        var mean = [Float](repeating: .nan, count: rows)
        var rstd = mean
        sk_layer_norm(&y, &mean, &rstd, x, weight, bias, 1e-5, Int64(rows), Int64(cols))
        let forward = { layerNorm($0, weight.map(doubles), bias.map(doubles)) }
        expectClose(y, (0..<rows).flatMap { forward(row(x, $0, cols)) }, absolute: 3e-6, relative: 1e-6)

        var dx = start
        var dweight = [Float](repeating: 0.5, count: cols)
        var dbias = dweight
        sk_layer_norm_gradient(&dx, &dweight, &dbias, dy, x, mean, rstd, weight, Int64(rows), Int64(cols))
        expectGradient(dx, start: start, x: x, dy: dy, cols: cols, absolute: 6e-6, forward: forward)
        var expectedWeight = [Double](repeating: 0.5, count: cols)
        var expectedBias = expectedWeight
        for r in 0..<rows {
            let normal = layerNorm(row(x, r, cols), nil, nil)
            for c in 0..<cols {
                expectedWeight[c] += Double(dy[r * cols + c]) * normal[c]
                expectedBias[c] += Double(dy[r * cols + c])
            }
        }
        expectClose(dweight, expectedWeight, absolute: 6e-6 * Double(rows).squareRoot(), relative: 1e-6)
        expectClose(dbias, expectedBias, absolute: 3e-6 * Double(rows).squareRoot(), relative: 1e-6)

        // Each result alone, the others not wanted.
        var alone = start
        var weightAlone = [Float](repeating: 0.5, count: cols)
        var biasAlone = weightAlone
        sk_layer_norm_gradient(&alone, nil, nil, dy, x, mean, rstd, weight, Int64(rows), Int64(cols))
        sk_layer_norm_gradient(nil, &weightAlone, nil, dy, x, mean, rstd, weight, Int64(rows), Int64(cols))
        sk_layer_norm_gradient(nil, nil, &biasAlone, dy, x, mean, rstd, weight, Int64(rows), Int64(cols))
        #expect(alone == dx && weightAlone == dweight && biasAlone == dbias)
    }

    /// The sums of so many columns would be more than an address space holds; rows there are none.
    @Test func withoutMemoryNothingIsAdded() {
        #expect(!sk_layer_norm_gradient(nil, nil, nil, [], [], [], [], nil, 0, 1 << 44))
        #expect(!sk_rms_norm_gradient(nil, nil, [], [], [], nil, 0, 1 << 44))
        #expect(sk_layer_norm_gradient(nil, nil, nil, [], [], [], [], nil, 0, 4))
    }

    @Test func layerNormFarFromZero() {
        // A mean a thousand times the spread: moments would cancel, the second pass must not.
        let x = noise(64 * 50, from: 999, to: 1001)
        var y = x
        var mean = [Float](repeating: 0, count: 50)
        var rstd = mean
        sk_layer_norm(&y, &mean, &rstd, x, nil, nil, 1e-5, 50, 64)
        // The rounding of x - mean at 1000 is 6e-5 of a spread of one half.
        expectClose(y, (0..<50).flatMap { layerNorm(row(x, $0, 64), nil, nil) }, absolute: 3e-4)
    }

    @Test(arguments: shapes) func rms(rows: Int, cols: Int) {
        let x = noise(rows * cols)
        let dy = noise(rows * cols, seed: 2)
        let start = noise(rows * cols, from: -0.1, to: 0.1, seed: 3)
        let weight = noise(cols, from: 0.5, to: 2, seed: 4)
        var y = x
        var rstd = [Float](repeating: .nan, count: rows)
        sk_rms_norm(&y, &rstd, x, weight, 1e-6, Int64(rows), Int64(cols))
        expectClose(
            y, (0..<rows).flatMap { rmsNorm(row(x, $0, cols), doubles(weight)) }, absolute: 2e-6, relative: 1e-6)
        var dx = start
        var dweight = [Float](repeating: 0.5, count: cols)
        sk_rms_norm_gradient(&dx, &dweight, dy, x, rstd, weight, Int64(rows), Int64(cols))
        expectGradient(dx, start: start, x: x, dy: dy, cols: cols, absolute: 5e-6) { rmsNorm($0, doubles(weight)) }
        var expected = [Double](repeating: 0.5, count: cols)
        let ones = [Double](repeating: 1, count: cols)
        for r in 0..<rows {
            let normal = rmsNorm(row(x, r, cols), ones)
            for c in 0..<cols { expected[c] += Double(dy[r * cols + c]) * normal[c] }
        }
        expectClose(dweight, expected, absolute: 5e-6 * Double(rows).squareRoot(), relative: 1e-6)
    }

    @Test(arguments: shapes) func l2(rows: Int, cols: Int) {
        let dy = noise(rows * cols, seed: 2)
        let start = noise(rows * cols, from: -0.1, to: 0.1, seed: 3)
        // The first row is shorter than epsilon.
        let x = noise(rows * cols).enumerated().map { $0.offset < cols ? $0.element * 1e-7 : $0.element }
        var y = x
        var norm = [Float](repeating: .nan, count: rows)
        sk_l2_normalize(&y, &norm, x, 1e-3, Int64(rows), Int64(cols))
        expectClose(y, (0..<rows).flatMap { l2Normalize(row(x, $0, cols)) }, absolute: 1e-9, relative: 2e-6)
        expectClose(
            norm, (0..<rows).map { row(x, $0, cols).reduce(0) { $0 + $1 * $1 }.squareRoot() }, absolute: 0,
            relative: 2e-6)
        var dx = start
        sk_l2_normalize_gradient(&dx, dy, y, norm, 1e-3, Int64(rows), Int64(cols))
        expectClose(
            Array(dx[..<cols]), (0..<cols).map { Double(start[$0]) + Double(dy[$0]) / 1e-3 }, absolute: 1e-6,
            relative: 1e-6)
        let rest = cols..<rows * cols
        expectGradient(
            Array(dx[rest]), start: Array(start[rest]), x: Array(x[rest]), dy: Array(dy[rest]), cols: cols,
            absolute: 2e-6,
            forward: l2Normalize)
    }

    @Test func nanPropagates() {
        var x = noise(40)
        x[23] = .nan
        var y = x
        var a: [Float] = [0, 0]
        var b = a
        sk_layer_norm(&y, &a, &b, x, nil, nil, 1e-5, 2, 20)
        #expect(y[..<20].every(\.isFinite) && y[20...].every(\.isNaN))
        sk_rms_norm(&y, &a, x, [Float](repeating: 1, count: 20), 1e-5, 2, 20)
        #expect(y[..<20].every(\.isFinite) && y[20...].every(\.isNaN))
        sk_l2_normalize(&y, &a, x, 1e-5, 2, 20)
        #expect(y[..<20].every(\.isFinite) && y[20...].every(\.isNaN))
    }
}
