import Engine
import Glibc
import Support
import TestSupport
import Testing

@Suite struct RandomTests {
    /// The first numbers of xoshiro256** from SplitMix64's state of seed 42, from the authors' C code
    /// (prng.di.unimi.it: splitmix64.c fills s[0...3], xoshiro256starstar.c).
    @Test func theStreamIsThePublishedOne() {
        var random = SeededGenerator(seed: 42)
        #expect(
            (0..<4).map { _ in random.next() } == [
                1_546_998_764_402_558_742, 6_990_951_692_964_543_102, 12_544_586_762_248_559_009,
                17_057_574_109_182_124_193,
            ])
    }

    @Test func equalSeedsAndStreamsRepeat() {
        var (a, b) = (SeededGenerator(seed: 9, stream: "norm.weight"), SeededGenerator(seed: 9, stream: "norm.weight"))
        for _ in 0..<100 { #expect(a.normal() == b.normal()) }
    }

    /// Numbers of two streams, or of two seeds, agree no more than chance: the correlation of 10,000 pairs has a standard
    /// error of 0.01.
    @Test func streamsAndSeedsAreIndependent() {
        func numbers(_ seed: UInt64, _ stream: String) -> [Double] {
            var random = SeededGenerator(seed: seed, stream: stream)
            return (0..<10_000).map { _ in random.normal() }
        }
        let samples = [
            numbers(0, "a.weight"), numbers(0, "b.weight"), numbers(1, "a.weight"), numbers(2, "a.weight"),
            numbers(0, "order of epoch 0"), numbers(0, "order of epoch 1"), numbers(0, ""), numbers(1, ""),
        ]
        for (index, one) in samples.enumerated() {
            for other in samples[..<index] {
                #expect(abs(zip(one, other).map(*).reduce(0, +) / 10_000) < 0.05)
            }
        }
    }

    @Test func distributions() {
        var random = SeededGenerator(seed: 3, stream: "moments")
        let count = 100_000.0
        let uniform = (0..<Int(count)).map { _ in random.uniform() }
        #expect(uniform.allSatisfy { $0 >= 0 && $0 < 1 })
        // Standard errors: 0.0009 and 0.0003.
        #expect(abs(uniform.reduce(0, +) / count - 0.5) < 0.004)
        #expect(abs(uniform.map { $0 * $0 }.reduce(0, +) / count - 1.0 / 3) < 0.004)
        let normal = (0..<Int(count)).map { _ in random.normal() }
        // Standard errors of the first four moments: 0.0032, 0.0045, 0.012, 0.031.
        for (power, expected, tolerance) in [(1.0, 0.0, 0.013), (2, 1, 0.018), (3, 0, 0.05), (4, 3, 0.13)] {
            #expect(abs(normal.map { pow($0, power) }.reduce(0, +) / count - expected) < tolerance, "moment \(power)")
        }
    }
}

@Suite struct AdamTests {
    /// PyTorch's formulas in f64, but for AdamW's factor, by which PyTorch multiplies f32 weights. 100 roundings of
    /// numbers below 1 to f32 are at most 100 x 2^-25 = 3e-6 and, being of both signs, about 10 x 2^-25 = 3e-7.
    @Test(arguments: [true, false], [0, 0.1]) func hundredStepsAsTorch(isDecoupled: Bool, decay: Double) throws {
        let pool = MemoryPool()
        let context = Context(pool: pool, recordsGradients: true)
        var random = SeededGenerator(seed: 1, stream: "adam")
        let shapes: [Shape] = [[7, 5], [3]]
        let start = shapes.map { shape in (0..<shape.elementCount).map { _ in Float(0.3 * random.normal()) } }
        let variables = try zip(start, shapes).enumerated().map { index, pair in
            Variable(name: "v\(index)", values: try context.constant(pair.0, pair.1))
        }
        var adam = Adam()
        adam.isDecoupled = isDecoupled
        adam.weightDecay = decay
        let (rate, scale) = (2e-3, 0.25)
        var p = start.map { $0.map(Double.init) }
        var m = p.map { $0.map { _ in 0.0 } }
        var v = m
        for step in 1...100 {
            for (index, variable) in variables.enumerated() {
                let gradient = (0..<variable.tensor.elementCount).map { _ in Float(random.normal()) }
                variable.tensor.gradient!.value = try context.constant(gradient, variable.tensor.shape)
                for i in gradient.indices {
                    var g = Double(gradient[i]) * scale
                    if isDecoupled { p[index][i] *= Double(Float(1 - rate * decay)) } else { g += decay * p[index][i] }
                    m[index][i] = 0.9 * m[index][i] + 0.1 * g
                    v[index][i] = 0.999 * v[index][i] + 0.001 * g * g
                    let (first, second) = (
                        m[index][i] / (1 - pow(0.9, Double(step))), v[index][i] / (1 - pow(0.999, Double(step)))
                    )
                    p[index][i] -= rate * first / (second.squareRoot() + 1e-8)
                }
            }
            try adam.step(variables, learningRate: rate, gradientScale: scale, number: step, pool: pool)
        }
        for (variable, expected) in zip(variables, p) {
            #expect(distance(variable.tensor.floats, expected.map { Float($0) }) < 1e-6)
        }
    }

    @Test func withoutAGradientNothingMoves() throws {
        let pool = MemoryPool()
        let context = Context(pool: pool, recordsGradients: false)
        let variable = Variable(name: "v", values: try context.constant([1, 2] as [Float], [2]))
        var adam = Adam()
        adam.weightDecay = 0.5
        try adam.step([variable], learningRate: 1, gradientScale: 1, number: 1, pool: pool)
        #expect(variable.tensor.floats == [1, 2])
        #expect(variable.moments == nil)
        #expect(try gradientNorm([variable], pool: pool) == 0)
    }

    @Test func theNormIsOverAllGradientsTogether() throws {
        let pool = MemoryPool()
        let context = Context(pool: pool, recordsGradients: false)
        let variables = try [[3, 0], [0, 4]].map { (gradient: [Float]) in
            let variable = Variable(name: "v", values: try context.constant([0, 0] as [Float], [2]))
            variable.tensor.gradient!.value = try context.constant(gradient, [2])
            return variable
        }
        #expect(try gradientNorm(variables, pool: pool) == 5)
        variables[0].tensor.gradient!.value!.assign([.infinity, 1])
        #expect(try gradientNorm(variables, pool: pool) == .infinity)
        variables[0].tensor.gradient!.value!.assign([.nan, 1])
        #expect(try gradientNorm(variables, pool: pool).isNaN)
        clearGradients(variables)
        #expect(try gradientNorm(variables, pool: pool) == 0)
    }

    @Test func gradientsThatAreViewsCount() throws {
        let context = Context(pool: MemoryPool(), recordsGradients: false)
        let variable = Variable(name: "v", values: try context.constant([0, 0, 0, 0] as [Float], [2, 2]))
        let turned = try context.permute(try context.constant([1, 2, 3, 4] as [Float], [2, 2]), [1, 0])
        variable.tensor.gradient!.value = turned
        #expect(try gradientNorm([variable], pool: context.pool) == 30.0.squareRoot())
        try Adam().step([variable], learningRate: 1, gradientScale: 1, number: 1, pool: context.pool)
        #expect(variable.moments!.first.floats.map { ($0 * 10).rounded() } == [1, 3, 2, 4])
    }
}
