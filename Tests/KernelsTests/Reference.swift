import Testing

/// The lengths every kernel is tried with: one element, less than a vector, tails after full vectors, and
/// enough to be divided over threads.
let oddSizes = [1, 7, 33, 1000, 100_003]

/// Shapes for kernels over rows.
let oddRows = [(1, 1), (3, 7), (5, 33), (7, 1000), (2, 100_003), (1003, 65)]

/// A small repeatable generator (SplitMix64), so that a failure can be repeated.
struct Noise {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func bits() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func uniform(_ low: Float, _ high: Float) -> Float {
        low + (high - low) * Float(bits() >> 40) / Float(1 << 24)
    }

    mutating func index(below bound: Int) -> Int { Int(bits() % UInt64(bound)) }
}

func noise(_ count: Int, from low: Float = -3, to high: Float = 3, seed: UInt64 = 1) -> [Float] {
    var noise = Noise(seed)
    return (0..<count).map { _ in noise.uniform(low, high) }
}

/// Fails unless every element is within absolute + relative * |expected|; non-finite values must be equal.
func expectClose(
    _ actual: [Float], _ expected: [Double], absolute: Double, relative: Double = 0, _ what: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    guard actual.count == expected.count else {
        Issue.record("\(what): \(actual.count) elements, expected \(expected.count)", sourceLocation: sourceLocation)
        return
    }
    var worst = (excess: 0.0, index: -1)
    for i in 0..<actual.count {
        let a = Double(actual[i])
        let e = expected[i]
        if a == e || (a.isNaN && e.isNaN) { continue }
        let excess = abs(a - e) / (absolute + relative * abs(e))
        if !(excess <= 1) && !(excess <= worst.excess) { worst = (excess, i) }
    }
    if worst.index >= 0 {
        Issue.record(
            "\(what)[\(worst.index)] is \(actual[worst.index]), expected \(expected[worst.index]), \(worst.excess) times the tolerance",
            sourceLocation: sourceLocation)
    }
}

/// The gradient of sum(weights * forward(x)) by central differences in f64, at the given positions.
func numericGradient(
    of forward: ([Double]) -> [Double], at x: [Double], weights: [Double], positions: [Int]
) -> [Double] {
    positions.map { position in
        let step = 1e-5 * max(1, abs(x[position]))
        var moved = x
        moved[position] = x[position] + step
        let above = forward(moved)
        moved[position] = x[position] - step
        let below = forward(moved)
        var sum = 0.0
        for i in above.indices where weights[i] != 0 { sum += weights[i] * (above[i] - below[i]) }
        return sum / (2 * step)
    }
}

func doubles(_ values: [Float]) -> [Double] { values.map(Double.init) }

extension Sequence {
    /// As allSatisfy, which #expect cannot take because it may rethrow.
    func every(_ test: (Element) -> Bool) -> Bool { allSatisfy(test) }
}
