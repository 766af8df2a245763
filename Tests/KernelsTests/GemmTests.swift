import Kernels
import Testing

private struct Matrix {
    var rows: Int, columns: Int, leading: Int
    var values: [Float]

    /// Columns beyond `columns` hold NaN: reading or writing them shows.
    init(_ rows: Int, _ columns: Int, pad: Int, seed: UInt64) {
        (self.rows, self.columns, leading) = (rows, columns, columns + pad)
        values = noise(rows * leading, from: -1, to: 1, seed: seed)
        for i in values.indices where i % leading >= columns { values[i] = .nan }
    }

    func at(_ i: Int, _ j: Int, transposed: Bool = false) -> Double {
        Double(transposed ? values[j * leading + i] : values[i * leading + j])
    }
}

/// f32 sums of k products of numbers below one, in any order.
private func tolerance(_ k: Int) -> Double { 1e-6 * Double(max(k, 4)).squareRoot() * 2 }

@Suite struct GemmTests {
    @Test func loads() {
        var message = [CChar](repeating: 0, count: 256)
        let result = sk_blas_load(&message, message.count)
        #expect(result == 0)
        #expect(String(cString: sk_blas_core_name()) != "none")
    }

    @Test(arguments: [
        (1, 1, 1), (1, 33, 7), (33, 1, 7), (1, 1000, 333), (1000, 1, 333), (2, 100, 50), (5, 33, 17), (8, 1003, 65),
        (9, 40, 40), (33, 7, 100), (130, 70, 129), (300, 257, 96), (1, 5003, 40), (70, 400, 111), (3, 2500, 77),
        (4, 5, 0), (0, 5, 3),
    ])
    func products(m: Int, n: Int, k: Int) {
        for transposeA in [false, true] {
            for transposeB in [false, true] {
                for (alpha, beta) in [(1, 0), (0.5, 1), (-2, 0.25), (0, 0.5)] as [(Float, Float)] {
                    let a = transposeA ? Matrix(k, m, pad: 3, seed: 1) : Matrix(m, k, pad: 3, seed: 1)
                    let b = transposeB ? Matrix(n, k, pad: 2, seed: 2) : Matrix(k, n, pad: 2, seed: 2)
                    var c = Matrix(m, n, pad: 1, seed: 3)
                    let before = c
                    if beta == 0 { c.values = c.values.map { _ in .nan } }
                    sk_gemm(
                        transposeA ? 1 : 0, transposeB ? 1 : 0, Int64(m), Int64(n), Int64(k), alpha, a.values,
                        Int64(a.leading), b.values, Int64(b.leading), beta, &c.values, Int64(c.leading))
                    var expected = [Double](repeating: .nan, count: c.values.count)
                    for i in 0..<m {
                        for j in 0..<n {
                            var sum = 0.0
                            for l in 0..<k {
                                sum += a.at(i, l, transposed: transposeA) * b.at(l, j, transposed: transposeB)
                            }
                            sum *= Double(alpha)
                            if beta != 0 { sum += Double(beta) * before.at(i, j) }
                            expected[i * c.leading + j] = sum
                        }
                    }
                    expectClose(
                        c.values, expected, absolute: 2 * tolerance(k),
                        "\(m)x\(n)x\(k) \(transposeA) \(transposeB) \(alpha) \(beta)")
                }
            }
        }
    }

    @Test(arguments: [(1, 3, 40, 16), (5, 33, 7, 12), (40, 48, 16, 3), (1, 5, 64, 200)])
    func batches(m: Int, n: Int, k: Int, count: Int) {
        let a = noise(m * k * count, from: -1, to: 1, seed: 4)
        let b = noise(n * k * count, from: -1, to: 1, seed: 5)
        var c = [Float](repeating: .nan, count: m * n * count)
        // Products in reverse order, so that offsets matter.
        let order = Array((0..<count).reversed())
        sk_gemm_batch(
            0, 1, Int64(m), Int64(n), Int64(k), 0.5, a, order.map { Int64($0 * m * k) }, Int64(k), b,
            order.map { Int64($0 * n * k) }, Int64(k), 0, &c, (0..<count).map { Int64($0 * m * n) }, Int64(n),
            Int64(count))
        var expected: [Double] = []
        for p in order {
            for i in 0..<m {
                for j in 0..<n {
                    var sum = 0.0
                    for l in 0..<k { sum += Double(a[(p * m + i) * k + l]) * Double(b[(p * n + j) * k + l]) }
                    expected.append(0.5 * sum)
                }
            }
        }
        expectClose(c, expected, absolute: tolerance(k))
    }

    @Test(arguments: [(1, 33, 70), (3, 7, 5), (8, 300, 600), (20, 300, 600), (65, 530, 33)], [SK_BF16, SK_F16])
    func halfWeights(size: (Int, Int, Int), kind: sk_storage) {
        let (m, n, k) = size
        let a = noise(m * k, from: -1, to: 1, seed: 6)
        let d = noise(m * n, from: -1, to: 1, seed: 7)
        var w = [UInt16](repeating: 0, count: n * k)
        sk_narrow(&w, noise(n * k, from: -1, to: 1, seed: 8), Int32(kind.rawValue), Int64(n * k))
        var wide = [Float](repeating: 0, count: n * k)
        sk_widen(&wide, w, Int32(kind.rawValue), Int64(n * k))
        var c = [Float](repeating: .nan, count: m * n)
        var back = [Float](repeating: .nan, count: m * k)
        sk_gemm_half(Int64(m), Int64(n), Int64(k), a, Int64(k), Int32(kind.rawValue), w, Int64(k), &c, Int64(n))
        sk_gemm_half_nn(Int64(m), Int64(k), Int64(n), d, Int64(n), Int32(kind.rawValue), w, Int64(k), &back, Int64(k))
        var expected = [Double](repeating: 0, count: m * n)
        var expectedBack = [Double](repeating: 0, count: m * k)
        for i in 0..<m {
            for j in 0..<n {
                for l in 0..<k {
                    expected[i * n + j] += Double(a[i * k + l]) * Double(wide[j * k + l])
                    expectedBack[i * k + l] += Double(d[i * n + j]) * Double(wide[j * k + l])
                }
            }
        }
        expectClose(c, expected, absolute: tolerance(k))
        expectClose(back, expectedBack, absolute: tolerance(n))
    }

    @Test func nanPropagates() {
        for m in [1, 4, 20] {
            var a = noise(m * 40)
            var c = [Float](repeating: 0, count: m * 50)
            a[m * 40 - 5] = .nan
            sk_gemm(0, 1, Int64(m), 50, 40, 1, a, 40, noise(50 * 40, seed: 2), 40, 0, &c, 50)
            #expect(c[(m - 1) * 50..<m * 50].every(\.isNaN))
            #expect(c[..<((m - 1) * 50)].every(\.isFinite))
        }
    }
}
