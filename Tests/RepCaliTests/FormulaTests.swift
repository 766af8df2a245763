import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// The block's output against its formula in f64, for every option.
@Suite struct FormulaTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var isPaper = false
        var lambda = 1.0
        var positions: Int?
        var hasNorm = true
        var epsilon = 1e-5

        var options: JSON {
            var members: [(key: String, value: JSON)] = [
                ("initialization", isPaper ? "paper" : "identity"), ("lambda", .double(lambda)),
                ("norm", hasNorm ? "layer" : "none"), ("epsilon", .double(epsilon)),
            ]
            if let positions { members += [("seed", "positions"), ("max_positions", .int(Int64(positions)))] }
            return .object(members)
        }

        var testDescription: String { (try? options.serialized()) ?? "" }
    }

    static let cases = [
        Case(), Case(lambda: 0.25), Case(lambda: -2), Case(lambda: 0), Case(positions: 32), Case(positions: 3),
        Case(hasNorm: false), Case(lambda: 3, positions: 2, hasNorm: false), Case(epsilon: 0.5), Case(isPaper: true),
        Case(isPaper: true, lambda: 0.5, positions: 4), Case(isPaper: true, epsilon: 1),
    ]

    private func normalised(_ x: [Double], _ epsilon: Double) -> (values: [Double], mean: Double, deviation: Double) {
        let mean = x.reduce(0, +) / Double(x.count)
        let variance = x.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(x.count)
        let deviation = (variance + epsilon).squareRoot()
        return (x.map { ($0 - mean) / deviation }, mean, deviation)
    }

    /// p for one state h, with the vector d of its position.
    private func expected(_ h: [Double], _ d: [Double], _ gain: [Double], _ bias: [Double], _ options: Case) -> [Double]
    {
        let moved = zip(h, d).map { $0 + options.lambda * $1 }
        guard options.hasNorm else { return moved }
        let norm = normalised(moved, options.epsilon)
        if options.isPaper { return h.indices.map { gain[$0] * norm.values[$0] + bias[$0] } }
        let own = normalised(h, options.epsilon)
        return h.indices.map {
            h[$0] + own.deviation * (gain[$0] * norm.values[$0] - own.values[$0]) + bias[$0]
        }
    }

    @Test(arguments: cases) func outputFollowsTheFormula(_ options: Case) throws {
        let model = try OpenModel(TinyModel(.bart))
        let pairs = makePairs(3)
        let batch = try Batch(sources: pairs.sources, info: model.info)
        let context = model.session.makeContext(recordsGradients: false)
        let hidden = try context.contiguous(try model.session.encode(context, batch)).floats.map(Double.init)

        let adapter = try model.attach("repcali", options.options)
        for (index, entry) in adapter.parameters.entries.enumerated() {
            randomise(entry.tensor, mean: entry.name == "norm.weight" ? 1 : 0, deviation: 0.5, seed: UInt64(index))
        }
        func values(_ name: String) -> [Double] { (adapter.parameters[name]?.floats ?? []).map(Double.init) }
        let (table, gain, bias) = (values("embedding.weight"), values("norm.weight"), values("norm.bias"))

        let found = try context.contiguous(try model.session.encodeAdapted(context, batch)).floats
        let width = model.info.dModel
        for row in 0..<batch.count * batch.sourceLength {
            let position = row % batch.sourceLength
            let vector: [Double]
            if let rows = options.positions {
                // Positions beyond the table are not moved.
                vector =
                    position < rows
                    ? Array(table[position * width..<(position + 1) * width]) : [Double](repeating: 0, count: width)
            } else {
                vector = table
            }
            let state = Array(hidden[row * width..<(row + 1) * width])
            let wanted = expected(state, vector, gain, bias, options).map { Float($0) }
            // Some twenty f32 roundings of numbers below 4: 20 x 2^-24 x 4 = 5e-6.
            #expect(distance(Array(found[row * width..<(row + 1) * width]), wanted) < 5e-6, "row \(row)")
        }
    }
}
