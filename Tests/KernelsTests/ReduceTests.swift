import Kernels
import Testing

@Suite struct ReduceTests {
    /// f32 within blocks, f64 over them: a few units in the last place of the sum of magnitudes of a block.
    @Test(arguments: [
        (1, 1, 1), (1, 100_003, 1), (7, 33, 1), (3, 5000, 1), (1000, 65, 1), (1, 7, 33), (5, 33, 7), (2, 1003, 300),
        (1, 100_003, 3),
        (300, 4, 500), (4, 0, 3), (4, 0, 1),
    ])
    func reductions(outer: Int, axis: Int, inner: Int) {
        let x = noise(outer * axis * inner)
        var sums: [Double] = []
        var maxima: [Double] = []
        var indices: [Int32] = []
        for o in 0..<outer {
            for i in 0..<inner {
                var sum = 0.0
                var highest = -Double.infinity
                var index = 0
                for a in 0..<axis {
                    let value = Double(x[(o * axis + a) * inner + i])
                    sum += value
                    if value > highest { (highest, index) = (value, a) }
                }
                sums.append(sum)
                maxima.append(highest)
                indices.append(Int32(index))
            }
        }
        let sizes = (Int64(outer), Int64(axis), Int64(inner))
        var out = [Float](repeating: .nan, count: outer * inner)
        var index = [Int32](repeating: -1, count: outer * inner)
        let scale = Double(max(axis, 1)).squareRoot()
        sk_reduce(SK_SUM, &out, nil, x, sizes.0, sizes.1, sizes.2)
        expectClose(out, sums, absolute: 2e-6 * scale, relative: 1e-7)
        sk_reduce(SK_MEAN, &out, nil, x, sizes.0, sizes.1, sizes.2)
        expectClose(out, sums.map { $0 / Double(axis) }, absolute: 2e-6)
        sk_reduce(SK_MAX, &out, &index, x, sizes.0, sizes.1, sizes.2)
        expectClose(out, maxima, absolute: 0)
        if axis > 0 { #expect(index == indices) }
        sk_reduce(SK_MAX, &out, nil, x, sizes.0, sizes.1, sizes.2)
        expectClose(out, maxima, absolute: 0)
    }

    @Test func maximaOfSpecialValues() {
        let inf = Float.infinity
        for inner in [1, 20] {
            for (column, value, position) in [
                ([1, 5, 5, 2], 5, 1), ([-inf, -inf, -inf, -inf], -inf, 0), ([1, .nan, 7, .nan], .nan, 1),
                ([-3, -1, -2, -inf], -1, 1),
                ([0, inf, 3, inf], inf, 1), ([-0.0, 0, 0, -1], 0, 0),
            ] as [([Float], Float, Int32)] {
                let x = column.flatMap { [Float](repeating: $0, count: inner) }
                var out = [Float](repeating: 0, count: inner)
                var index = [Int32](repeating: -1, count: inner)
                sk_reduce(SK_MAX, &out, &index, x, 1, 4, Int64(inner))
                #expect(out.every { $0 == value || ($0.isNaN && value.isNaN) }, "\(column): \(out)")
                #expect(index.every { $0 == position }, "\(column): \(index)")
            }
        }
    }

    @Test(arguments: oddRows) func rowSums(rows: Int, cols: Int) {
        let x = noise(rows * cols)
        let start = noise(cols, seed: 2)
        var out = start
        var expected = doubles(start)
        sk_sum_rows(&out, x, Int64(rows), Int64(cols))
        for i in x.indices { expected[i % cols] += Double(x[i]) }
        expectClose(out, expected, absolute: 2e-6 * Double(rows).squareRoot(), relative: 1e-7)
    }

    @Test(arguments: oddSizes + [3_000_001]) func wholeArrays(size: Int) {
        let x = noise(size)
        let sum = x.reduce(0.0) { $0 + Double($1) }
        let squares = x.reduce(0.0) { $0 + Double($1) * Double($1) }
        #expect(abs(sk_sum_f64(x, Int64(size)) - sum) <= 1e-6 * Double(size).squareRoot() + 1e-9)
        #expect(abs(sk_sum_squares(x, Int64(size)) - squares) <= 1e-11 * squares)
        #expect(sk_sum_squares([1e30, 1e30], 2) == 2 * Double(Float(1e30)) * Double(Float(1e30)))
    }

    @Test(arguments: oddSizes) func nonfinite(size: Int) {
        var x = noise(size)
        var half = [UInt16](repeating: 0x1234, count: size)
        #expect(sk_first_nonfinite(x, Int32(SK_F32.rawValue), Int64(size)) == -1)
        #expect(sk_first_nonfinite(half, Int32(SK_F16.rawValue), Int64(size)) == -1)
        for place in [size - 1, size * 2 / 3, size / 5] {
            x[place] = place % 2 == 0 ? .nan : -.infinity
            #expect(sk_first_nonfinite(x, Int32(SK_F32.rawValue), Int64(size)) == Int64(place))
            half[place] = 0x7c00
            #expect(sk_first_nonfinite(half, Int32(SK_F16.rawValue), Int64(size)) == Int64(place))
            #expect(sk_first_nonfinite(half, Int32(SK_BF16.rawValue), Int64(size)) == -1)
        }
        half[0] = 0xff81
        #expect(sk_first_nonfinite(half, Int32(SK_BF16.rawValue), Int64(size)) == 0)
    }
}
