import Engine
import Support
import TestSupport
import Testing

@Suite struct DropoutTests {
    let pool = MemoryPool()

    private func training(seed: UInt64) -> Context {
        let context = Context(pool: pool, recordsGradients: true)
        (context.isTraining, context.random) = (true, SeededGenerator(seed: seed))
        return context
    }

    /// Of 40,000 elements a share of p is left out, within four standard deviations, sqrt(p (1 - p) / n) each; the rest
    /// and their gradients are scaled by 1 / (1 - p).
    @Test(arguments: [0.1, 0.5, 0.9]) func whatIsLeftIsScaled(_ p: Double) throws {
        let leaf = Variable(name: "x", values: try training(seed: 0).full(3, .f32, [200, 200]))
        let context = training(seed: 1)
        let result = try context.dropout(leaf.tensor, p: p)
        let kept = Float(1 / (1 - p))
        #expect(result.floats.allSatisfy { $0 == 0 || $0 == 3 * kept })
        let share = Double(result.floats.count { $0 == 0 }) / 40_000
        #expect(abs(share - p) < 4 * (p * (1 - p) / 40_000).squareRoot())
        let values = result.floats
        try context.backward(result, seed: try context.full(2, .f32, [200, 200]))
        let gradient = try #require(leaf.tensor.gradient?.value)
        #expect(zip(values, try context.contiguous(gradient).floats).allSatisfy { $0 / 3 == $1 / 2 })
    }

    @Test func whatIsDrawnFollowsFromTheSeed() throws {
        func drawn(_ seed: UInt64) throws -> [[Float]] {
            let context = training(seed: seed)
            let x = try context.full(1, .f32, [100])
            return try (0..<2).map { _ in try context.dropout(x, p: 0.5).floats }
        }
        let (one, same, other) = (try drawn(1), try drawn(1), try drawn(2))
        #expect(one == same && one != other && one[0] != one[1])
    }

    @Test func whereNothingIsDropped() throws {
        let context = training(seed: 1)
        let x = try context.full(1, .f32, [100])
        #expect(try context.dropout(x, p: 0) === x)
        #expect(try context.dropout(x, p: 1).floats.allSatisfy { $0 == 0 })
        context.isTraining = false
        #expect(try context.dropout(x, p: 0.5) === x)
    }

    @Test func misfits() throws {
        let context = training(seed: 1)
        for p in [-0.1, 1.1, .nan, .infinity] {
            expectError(.invalidArgument, "dropout: p must be 0 ... 1, found \(p)") {
                try context.dropout(context.full(0, .f32, [3]), p: p)
            }
        }
        expectError(.shape, "dropout: dtype must be f32, found i32") {
            try context.dropout(context.full(0, .i32, [3]), p: 0.5)
        }
    }
}
