import Glibc
import Kernels
import Testing

@Suite struct GatherTests {
    @Test(arguments: [(1, 1, 1), (7, 10, 33), (1000, 50, 7), (333, 900, 300)]) func gatherAndScatter(
        n: Int, vocabulary: Int, cols: Int
    ) {
        var source = Noise(3)
        let ids = (0..<n).map { _ in Int32(source.index(below: vocabulary)) }
        let table = noise(vocabulary * cols)
        var y = [Float](repeating: .nan, count: n * cols)
        sk_gather_rows(&y, table, Int32(SK_F32.rawValue), ids, Int64(n), Int64(cols))
        #expect(y == ids.flatMap { table[Int($0) * cols..<(Int($0) + 1) * cols] })
        for kind in [SK_BF16, SK_F16] {
            var half = [UInt16](repeating: 0, count: table.count)
            var wide = table
            sk_narrow(&half, table, Int32(kind.rawValue), Int64(table.count))
            sk_widen(&wide, half, Int32(kind.rawValue), Int64(table.count))
            sk_gather_rows(&y, half, Int32(kind.rawValue), ids, Int64(n), Int64(cols))
            #expect(y == ids.flatMap { wide[Int($0) * cols..<(Int($0) + 1) * cols] })
        }

        let dy = noise(n * cols, seed: 4)
        var sums = table
        var expected = table
        sk_scatter_add_rows(&sums, dy, ids, Int64(n), Int64(cols))
        for i in 0..<n {
            for c in 0..<cols { expected[Int(ids[i]) * cols + c] += dy[i * cols + c] }
        }
        // The order of addition is the order of the ids: the same bits.
        #expect(sums == expected)
    }
}

@Suite struct AdamTests {
    /// PyTorch's formulas in f64, but for the factor of AdamW's decay: PyTorch multiplies f32 parameters, so it
    /// is rounded to f32. The bound is the f32 rounding of parameters of order one over 100 steps.
    @Test(arguments: oddSizes, [0, 1] as [Int32]) func hundredSteps(size: Int, decoupled: Int32) {
        let steps = size > 50_000 ? 5 : 100
        let (lr, beta1, beta2, epsilon, decay, scale) = (
            1e-3 as Float, 0.9 as Float, 0.999 as Float, 1e-8 as Float, 0.1 as Float, 0.5 as Float
        )
        let keep = Double(Float(1 - 1e-3 * 0.1))
        var parameter = noise(size, from: -1, to: 1)
        var m = [Float](repeating: 0, count: size)
        var v = m
        var p = doubles(parameter)
        var dm = [Double](repeating: 0, count: size)
        var dv = dm
        for step in 1...steps {
            let gradient = noise(size, seed: UInt64(step) + 10)
            sk_adam(
                &parameter, &m, &v, gradient, scale, lr, beta1, beta2, epsilon, decay, decoupled, Int64(step),
                Int64(size))
            let correction1 = 1 - pow(0.9, Double(step))
            let correction2 = 1 - pow(0.999, Double(step))
            for i in 0..<size {
                var g = Double(gradient[i]) * 0.5
                if decoupled == 1 { p[i] *= keep } else { g += 0.1 * p[i] }
                dm[i] = 0.9 * dm[i] + 0.1 * g
                dv[i] = 0.999 * dv[i] + 0.001 * g * g
                p[i] -= 1e-3 * (dm[i] / correction1) / ((dv[i] / correction2).squareRoot() + 1e-8)
            }
        }
        expectClose(parameter, p, absolute: 1e-6)
    }

    @Test func nanPropagates() {
        var parameter: [Float] = [1, 1]
        var m: [Float] = [0, 0]
        var v: [Float] = [0, 0]
        sk_adam(&parameter, &m, &v, [.nan, 1], 1, 1e-3, 0.9, 0.999, 1e-8, 0, 1, 1, 2)
        #expect(parameter[0].isNaN && parameter[1].isFinite)
    }
}
