import Glibc
import Kernels
import Testing

private typealias Unary = (
    op: sk_unary_op, name: String, low: Float, high: Float, function: @Sendable (Double) -> Double
)

private let unaries: [Unary] = [
    (SK_NEG, "neg", -3, 3, { -$0 }),
    (SK_EXP, "exp", -90, 88, { exp($0) }),
    (SK_LOG, "log", 1e-6, 50, { log($0) }),
    (SK_SQRT, "sqrt", 0.01, 50, { $0.squareRoot() }),
    (SK_RSQRT, "rsqrt", 0.01, 50, { 1 / $0.squareRoot() }),
    (SK_SQUARE, "square", -3, 3, { $0 * $0 }),
    (SK_ABS, "abs", -3, 3, { abs($0) }),
    (SK_TANH, "tanh", -12, 12, { tanh($0) }),
    (SK_SIGMOID, "sigmoid", -30, 30, { 1 / (1 + exp(-$0)) }),
    (SK_RELU, "relu", -3, 3, { max($0, 0) }),
    (SK_GELU, "gelu", -7, 7, { $0 / 2 * (1 + erf($0 / 2.0.squareRoot())) }),
    (
        SK_GELU_TANH, "gelu_tanh", -7, 7,
        {
            $0 / 2 * (1 + tanh((2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0)))
        }
    ),
    (SK_SILU, "silu", -30, 30, { $0 / (1 + exp(-$0)) }),
    (SK_RECIPROCAL, "reciprocal", 0.1, 5, { 1 / $0 }),
]

private func unary(_ op: sk_unary_op, _ x: [Float]) -> [Float] {
    var y = x
    sk_unary(op, &y, x, Int64(x.count))
    return y
}

@Suite struct ElementwiseTests {
    /// 4e-7 is three units in the last place relative to the result, the bound for exp; for functions that
    /// subtract (gelu, tanh) the same is allowed absolutely.
    @Test(arguments: oddSizes) func unaryFunctions(size: Int) {
        for (op, name, low, high, function) in unaries {
            let x = noise(size, from: low, to: high)
            expectClose(
                unary(op, x), x.map { function(Double($0)) }, absolute: 4e-7 * (op == SK_EXP ? 1e-37 : 1),
                relative: 4e-7, name)
        }
    }

    /// x == y is allowed.
    @Test func inPlace() {
        var x = noise(1000)
        let expected = unary(SK_GELU, x)
        x.withUnsafeMutableBufferPointer { sk_unary(SK_GELU, $0.baseAddress!, $0.baseAddress!, 1000) }
        #expect(x == expected)
    }

    @Test(arguments: oddSizes) func unaryGradients(size: Int) {
        for (op, name, low, high, function) in unaries where size < 5000 || op == SK_GELU {
            let x = noise(size, from: op == SK_EXP ? -5 : low, to: op == SK_EXP ? 5 : high).map {
                abs($0) < 1e-3 ? 0.5 : $0
            }
            let dy = noise(size, seed: 2)
            let start = noise(size, seed: 3)
            var dx = start
            sk_unary_gradient(op, &dx, dy, x, unary(op, x), Int64(size))
            let expected = (0..<size).map { i -> Double in
                let at = Double(x[i])
                let step = 1e-5 * max(abs(at), 1e-2)
                return Double(start[i]) + Double(dy[i]) * (function(at + step) - function(at - step)) / (2 * step)
            }
            // Slopes are made from f32 results; a few roundings of terms of the size of x and of the slope.
            expectClose(dx, expected, absolute: 4e-6, relative: 2e-6, name)
        }
    }

    @Test func gradientsAtTheKinks() {
        var dx: [Float] = [0, 0, 0]
        sk_unary_gradient(SK_RELU, &dx, [1, 1, 1], [-1, 0, 1], [0, 0, 1], 3)
        #expect(dx == [0, 0, 1])
        dx = [0, 0, 0]
        sk_unary_gradient(SK_ABS, &dx, [1, 1, 1], [-2, 0, 2], [2, 0, 2], 3)
        #expect(dx == [-1, 0, 1])
        dx = [0, 0]
        sk_unary_gradient(SK_GELU_TANH, &dx, [1, 1], [-1e30, 1e30], [0, 1e30], 2)
        #expect(dx == [0, 1])
    }

    @Test func specialValues() {
        let inf = Float.infinity
        // Seventeen copies: the vector loop and the tail.
        func check(_ op: sk_unary_op, _ x: Float, _ expected: Float) {
            let y = unary(op, [Float](repeating: x, count: 17))
            #expect(y.every { $0 == expected || ($0.isNaN && expected.isNaN) }, "\(op) of \(x) is \(y)")
        }
        check(SK_EXP, -inf, 0)
        check(SK_EXP, inf, inf)
        check(SK_EXP, 89, inf)
        check(SK_EXP, -1e30, 0)
        check(SK_EXP, 0, 1)
        check(SK_LOG, 0, -inf)
        check(SK_LOG, inf, inf)
        check(SK_LOG, -1, .nan)
        check(SK_LOG, 1, 0)
        check(SK_TANH, inf, 1)
        check(SK_TANH, -inf, -1)
        check(SK_TANH, 1e30, 1)
        check(SK_SIGMOID, inf, 1)
        check(SK_SIGMOID, -inf, 0)
        check(SK_GELU, inf, inf)
        check(SK_GELU, -1e30, 0)
        check(SK_GELU_TANH, 1e30, 1e30)
        check(SK_RELU, -inf, 0)
        for (op, _, _, _, _) in unaries { check(op, .nan, .nan) }
        // Subnormal results and arguments.
        let tiny = unary(SK_EXP, [-100, -103, -88, -95])
        expectClose(tiny, [-100, -103, -88, -95].map { exp($0) }, absolute: 1.5e-45, relative: 3e-7)
        let small = [Float(bitPattern: 2), Float(bitPattern: 70_000), Float.leastNormalMagnitude, 1e38]
        expectClose(unary(SK_LOG, small), small.map { log(Double($0)) }, absolute: 0, relative: 2e-7)
    }

    @Test func binaryBroadcasts() {
        let operations: [(sk_binary_op, (Double, Double) -> Double)] = [
            (SK_ADD, { $0 + $1 }), (SK_SUB, { $0 - $1 }), (SK_MUL, { $0 * $1 }), (SK_DIV, { $0 / $1 }),
            (SK_MAXIMUM, { max($0, $1) }), (SK_MINIMUM, { min($0, $1) }),
        ]
        let cases: [(shape: [Int], a: [Int], b: [Int])] = [
            ([1], [1], [1]), ([7], [1], [0]), ([33], [0], [1]), ([33], [0], [0]), ([100_003], [1], [1]),
            ([5, 7], [7, 1], [0, 1]), ([5, 7], [7, 1], [1, 0]), ([300, 333], [333, 1], [1, 0]),
            ([5, 7], [1, 5], [7, 1]),
            ([3, 1, 4, 5], [20, 20, 5, 1], [0, 9, 1, 0]), ([2, 3, 4, 5], [60, 20, 5, 1], [20, 0, 5, 1]),
            ([1, 1], [1, 1], [5, 5]),
            ([40, 50, 60], [3000, 60, 1], [0, 1, 0]), ([], [], []), ([3, 0], [1, 1], [1, 1]), ([1000], [3], [1]),
        ]
        for (shape, aStrides, bStrides) in cases {
            let count = shape.reduce(1, *)
            let a = noise(count * 3 + 1, from: 0.5, to: 2, seed: 1)
            let b = noise(count * 3 + 1, from: 0.5, to: 2, seed: 2)
            for (op, function) in operations {
                var out = [Float](repeating: .nan, count: count)
                sk_binary(
                    op, &out, a, aStrides.map(Int64.init), b, bStrides.map(Int64.init), shape.map(Int64.init),
                    Int32(shape.count))
                let expected = walk(shape, aStrides, bStrides).map { function(Double(a[$0]), Double(b[$1])) }
                expectClose(out, expected, absolute: 0, relative: 6e-8, "\(op) \(shape)")
            }
        }
        for (op, a, b) in [(SK_MAXIMUM, .nan, 1), (SK_MAXIMUM, 1, .nan), (SK_MINIMUM, .nan, 1), (SK_MINIMUM, 1, .nan)]
            as [(sk_binary_op, Float, Float)]
        {
            var out = [Float](repeating: 0, count: 17)
            sk_binary(op, &out, [a], [0], [b], [0], [17], 1)
            #expect(out.every(\.isNaN))
            sk_binary(op, &out, [Float](repeating: a, count: 17), [1], [Float](repeating: b, count: 17), [1], [17], 1)
            #expect(out.every(\.isNaN))
        }
    }

    @Test(arguments: oddSizes) func scalingAndChoosing(size: Int) {
        let x = noise(size, seed: 1)
        let y = noise(size, seed: 2)
        var out = y
        sk_affine(&out, x, 2, -0.5, Int64(size))
        expectClose(out, x.map { Double($0) * 2 - 0.5 }, absolute: 4e-7)
        out = y
        sk_axpy(&out, x, 0.75, Int64(size))
        expectClose(out, zip(x, y).map { Double($0) * 0.75 + Double($1) }, absolute: 4e-7)
        let condition = (0..<size).map { Int32($0 % 3 - 1) }
        sk_select(&out, condition, x, y, Int64(size))
        #expect(out == (0..<size).map { condition[$0] != 0 ? x[$0] : y[$0] })
        sk_fill(&out, 4.5, Int64(size))
        #expect(out.every { $0 == 4.5 })
        out = y
        sk_add_bias(&out, x, 1, Int64(size))
        expectClose(out, zip(x, y).map { Double($0) + Double($1) }, absolute: 4e-7)
    }

    @Test func addBiasToRows() {
        let bias = noise(37, seed: 1)
        let y = noise(2003 * 37, seed: 2)
        var out = y
        sk_add_bias(&out, bias, 2003, 37)
        expectClose(out, y.indices.map { Double(y[$0]) + Double(bias[$0 % 37]) }, absolute: 4e-7)
    }

    @Test func stridedCopies() {
        let cases: [(shape: [Int], strides: [Int])] = [
            ([1], [1]), ([7], [3]), ([5, 7], [1, 5]), ([33, 100], [1, 33]), ([401, 333], [1, 401]),
            ([3, 17, 40], [680, 1, 17]),
            ([2, 4, 30, 8], [960, 8, 32, 1]), ([2, 30, 4, 8], [960, 8, 240, 1]), ([4, 33, 21], [1, 84, 4]),
            ([5, 6], [0, 1]),
            ([6, 5], [1, 0]), ([16, 16, 48], [1, 768, 16]), ([3, 0, 2], [1, 1, 1]), ([], []),
            ([20, 3, 50], [150, 1, 3]),
            ([9, 1, 1000, 11], [11000, 5, 1, 1000]),
        ]
        for (shape, strides) in cases {
            let count = shape.reduce(1, *)
            let last = zip(shape, strides).map { max(0, $0 - 1) * $1 }.reduce(0, +)
            let x = noise(last + 1)
            let places = walk(shape, strides, strides).map(\.0)
            var out = [Float](repeating: .nan, count: count)
            sk_copy_strided(&out, x, strides.map(Int64.init), shape.map(Int64.init), Int32(shape.count))
            #expect(out == places.map { x[$0] }, "\(shape) \(strides)")
            if strides.contains(0) { continue }
            var sum = x
            var expected = doubles(x)
            let added = noise(count, seed: 9)
            sk_accumulate_strided(&sum, strides.map(Int64.init), added, shape.map(Int64.init), Int32(shape.count))
            for (i, place) in places.enumerated() { expected[place] += Double(added[i]) }
            expectClose(sum, expected, absolute: 4e-7, "\(shape) \(strides)")
        }
    }

    /// Offsets of both operands in row-major order.
    private func walk(_ shape: [Int], _ a: [Int], _ b: [Int]) -> [(Int, Int)] {
        (0..<shape.reduce(1, *)).map { position in
            var rest = position
            var place = (0, 0)
            for d in shape.indices.reversed() {
                place.0 += rest % shape[d] * a[d]
                place.1 += rest % shape[d] * b[d]
                rest /= shape[d]
            }
            return place
        }
    }

    /// Every f16 and bf16 value there and back, and rounding against Swift's Float16.
    @Test func storageKinds() {
        let every = (0...UInt16.max).map { $0 }
        var wide = [Float](repeating: 0, count: every.count)
        var back = every
        sk_widen(&wide, every, Int32(SK_F16.rawValue), Int64(every.count))
        for (bits, value) in zip(every, wide) {
            let expected = Float(Float16(bitPattern: bits))
            if !(value == expected || (value.isNaN && expected.isNaN)) { Issue.record("f16 \(bits) read as \(value)") }
        }
        sk_narrow(&back, wide, Int32(SK_F16.rawValue), Int64(every.count))
        #expect((0..<every.count).every { back[$0] == every[$0] || wide[$0].isNaN })
        #expect((0..<every.count).every { !wide[$0].isNaN || Float16(bitPattern: back[$0]).isNaN })
        sk_widen(&wide, every, Int32(SK_BF16.rawValue), Int64(every.count))
        #expect((0..<every.count).every { wide[$0].bitPattern == UInt32(every[$0]) << 16 })
        sk_narrow(&back, wide, Int32(SK_BF16.rawValue), Int64(every.count))
        #expect((0..<every.count).every { back[$0] == every[$0] || wide[$0].isNaN })

        var source = Noise(5)
        let x =
            (0..<100_003).map { _ in Float(bitPattern: UInt32(truncatingIfNeeded: source.bits())) } + [
                65519.9, 65520, -65536, 2.98e-8, 2.99e-8,
            ]
        var half = [UInt16](repeating: 0, count: x.count)
        var brain = half
        sk_narrow(&half, x, Int32(SK_F16.rawValue), Int64(x.count))
        sk_narrow(&brain, x, Int32(SK_BF16.rawValue), Int64(x.count))
        for i in x.indices {
            if x[i].isNaN {
                if !Float16(bitPattern: half[i]).isNaN || !Float(bitPattern: UInt32(brain[i]) << 16).isNaN {
                    Issue.record("NaN lost")
                }
                continue
            }
            if half[i] != Float16(x[i]).bitPattern { Issue.record("\(x[i]) as f16 is \(half[i])") }
            let bits = x[i].bitPattern
            let low = bits & 0xffff
            let up = low > 0x8000 || (low == 0x8000 && bits >> 16 & 1 == 1)
            if brain[i] != UInt16(bits >> 16) + (up ? 1 : 0) { Issue.record("\(x[i]) as bf16 is \(brain[i])") }
        }
    }
}
