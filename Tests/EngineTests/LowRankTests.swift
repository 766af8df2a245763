import Engine
import Support
import TestSupport
import Testing

/// The low-rank update against its formula in f64, and its gradients against slopes.
@Suite struct LowRankTests {
    private let pool = MemoryPool()

    private func random(_ context: Context, _ shape: Shape, _ stream: String) throws -> Tensor {
        var generator = SeededGenerator(seed: 5, stream: stream)
        return try context.constant((0..<shape.elementCount).map { _ in Float(generator.normal()) }, shape)
    }

    /// y + scale * x a^T b^T, [rows, out].
    private func reference(_ y: [Float], _ x: [Float], _ a: [Float], _ b: [Float], rank: Int, scale: Double) -> [Float]
    {
        let (inputs, outputs) = (a.count / rank, b.count / rank)
        return y.indices.map { index in
            let (row, column) = (index / outputs, index % outputs)
            let sum = (0..<rank).reduce(0.0) { sum, r in
                let low = (0..<inputs).reduce(0.0) { $0 + Double(x[row * inputs + $1]) * Double(a[r * inputs + $1]) }
                return sum + low * Double(b[column * rank + r])
            }
            return Float(Double(y[index]) + scale * sum)
        }
    }

    /// Values of order 10: f32 rounds each of a few dozen terms by 2^-24.
    @Test(arguments: [1, 3, 9]) func theFormula(rank: Int) throws {
        let context = Context(pool: pool, recordsGradients: false)
        let (y, x) = (try random(context, [2, 3, 7], "y"), try random(context, [2, 3, 5], "x"))
        let (a, b) = (try random(context, [rank, 5], "a"), try random(context, [7, rank], "b"))
        let expected = reference(y.floats, x.floats, a.floats, b.floats, rank: rank, scale: -1.5)
        let before = y.floats
        let result = try context.linearLowRank(y, x, a: a, b: b, scale: -1.5)
        #expect(result.shape == [2, 3, 7] && distance(result.floats, expected) < 2e-5)
        #expect(bitEqual(y.floats, before), "a constant is not a result that may be written")

        // Through views: x and the matrices as permuted ones.
        let turned = try context.permute(try context.copied(try context.permute(x, [2, 0, 1])), [1, 2, 0])
        let (down, up) = (
            try context.permute(try context.copied(try context.permute(a, [1, 0])), [1, 0]),
            try context.permute(try context.copied(try context.permute(b, [1, 0])), [1, 0])
        )
        #expect(!turned.isContiguous)
        #expect(distance(try context.linearLowRank(y, turned, a: down, b: up, scale: -1.5).floats, expected) < 2e-5)
    }

    /// In a pass without gradients the sum is made in y's memory, where nothing else is on it.
    @Test func resultsAreWrittenInPlace() throws {
        let context = Context(pool: pool, recordsGradients: false)
        let (x, a, b) = (
            try random(context, [4, 5], "x"), try random(context, [2, 5], "a"), try random(context, [7, 2], "b")
        )
        let weight = try random(context, [7, 5], "w")
        func projected() throws -> Tensor { context.retain(try context.linear(x, weight: weight, bias: nil)) }
        let y = try projected()
        let values = y.floats
        #expect(try context.linearLowRank(y, x, a: a, b: b, scale: 1) === y)
        #expect(distance(y.floats, reference(values, x.floats, a.floats, b.floats, rank: 2, scale: 1)) < 2e-5)

        // A view of y would change with it.
        let seen = try projected()
        let view = try context.reshape(seen, [28])
        #expect(try context.linearLowRank(seen, x, a: a, b: b, scale: 1) !== seen)
        #expect(bitEqual(view.floats, values))
        // So would another handle of y: as a constant without history, and as what it is already.
        for twin in [{ context.stopGradient($0) }, { try context.cast($0, to: .f32) }] as [(Tensor) throws -> Tensor] {
            let result = try projected()
            let same = context.retain(try twin(result))
            #expect(try context.linearLowRank(result, x, a: a, b: b, scale: 1) !== result)
            #expect(bitEqual(same.floats, values))
        }
        // An input of a plugin's that the host reads later.
        let needed = try projected()
        needed.keepValues()
        #expect(try context.linearLowRank(needed, x, a: a, b: b, scale: 1) !== needed)
        #expect(bitEqual(needed.floats, values))
        // What another pass made, what a parameter is, and what has history.
        let other = Context(pool: pool, recordsGradients: false)
        let older = try projected()
        #expect(try other.linearLowRank(older, x, a: a, b: b, scale: 1) !== older)
        let recording = Context(pool: pool, recordsGradients: true)
        let kept = recording.retain(try recording.linear(x, weight: weight, bias: nil))
        #expect(try recording.linearLowRank(kept, x, a: a, b: b, scale: 1) !== kept)
        #expect(bitEqual(older.floats, values) && bitEqual(kept.floats, values))
    }

    /// Matrices in half precision are read as f32, exactly.
    @Test func halfPrecision() throws {
        let context = Context(pool: pool, recordsGradients: false)
        let (y, x) = (try random(context, [3, 2], "y"), try random(context, [3, 4], "x"))
        let halves: [UInt16] = [0x3f80, 0xbf80, 0x4000, 0x3f00, 0x3e80, 0x4040, 0xc000, 0x0000]  // bf16
        let values: [Float] = [1, -1, 2, 0.5, 0.25, 3, -2, 0]
        let a = try halves.withUnsafeBytes { bytes in
            Tensor(shape: [2, 4], dtype: .bf16, storage: try Storage(copying: bytes))
        }
        let b = try context.constant([1, 2, 3, 4] as [Float], [2, 2])
        let wide = try context.constant(values, [2, 4])
        let (narrow, expected) = (
            try context.linearLowRank(y, x, a: a, b: b, scale: 2),
            try context.linearLowRank(y, x, a: wide, b: b, scale: 2)
        )
        #expect(bitEqual(narrow.floats, expected.floats))
    }

    /// Central differences: the loss is a sum of squares, of fourth order in the matrices, so that with a step of 0.02
    /// the extrapolated slope has no error of its own but the rounding of a loss of some hundreds, 1e-3 of it.
    @Test func gradients() throws {
        let names = ["y", "x", "a", "b"]
        let shapes: [Shape] = [[2, 3, 4], [2, 3, 5], [2, 5], [4, 2]]
        let start = Context(pool: pool, recordsGradients: false)
        let leaves = try zip(names, shapes).map { name, shape in
            Variable(name: name, values: try start.affine(random(start, shape, name), scale: 0.5, shift: 0))
        }
        func loss(_ context: Context) throws -> Tensor {
            let operands = leaves.map(\.tensor)
            let result = try context.linearLowRank(operands[0], operands[1], a: operands[2], b: operands[3], scale: 0.7)
            return try context.sum(try context.reshape(try context.unary(.square, result), [-1]), axis: 0, keep: false)
        }
        let context = Context(pool: pool, recordsGradients: true)
        try context.backward(try loss(context))
        for leaf in leaves {
            let found = try context.contiguous(try #require(leaf.tensor.gradient?.value)).floats
            let expected = try found.indices.map { index in
                try slope(leaf, index) { Double(try loss(Context(pool: pool, recordsGradients: false)).floats[0]) }
            }
            let largest = expected.map(abs).max()!
            #expect(largest > 0.5 && distance(found, expected) < 2e-3 * largest, "\(leaf.name)")
        }
        for leaf in leaves { leaf.tensor.gradient?.clear() }

        // Each alone, so that a slot that is not there is not asked for.
        for trained in leaves.indices {
            let pass = Context(pool: pool, recordsGradients: true)
            let operands = leaves.indices.map { $0 == trained ? leaves[$0].tensor : leaves[$0].tensor.detached }
            let result = try pass.linearLowRank(operands[0], operands[1], a: operands[2], b: operands[3], scale: 0.7)
            try pass.backward(result, seed: try pass.full(1, .f32, result.shape))
            #expect(leaves[trained].tensor.gradient?.value != nil)
            for leaf in leaves { leaf.tensor.gradient?.clear() }
        }
    }

    @Test func misfits() throws {
        let context = Context(pool: pool, recordsGradients: false)
        func f32(_ shape: Shape) throws -> Tensor { try context.full(0, .f32, shape) }
        expectError(.shape, "linear_low_rank: a [rank, in] and b [out, rank] do not fit each other", "[2, 5]", "[4, 3]")
        {
            try context.linearLowRank(f32([3, 4]), f32([3, 5]), a: f32([2, 5]), b: f32([4, 3]), scale: 1)
        }
        for (y, x) in [([3, 4], [3, 6]), ([3, 5], [3, 5]), ([2, 4], [3, 5]), ([4], [3, 5])] as [(Shape, Shape)] {
            expectError(.shape, "linear_low_rank: y \(y) and x \(x) do not fit a [2, 5] and b [4, 2]") {
                try context.linearLowRank(f32(y), f32(x), a: f32([2, 5]), b: f32([4, 2]), scale: 1)
            }
        }
        expectError(.shape, "linear_low_rank: dtype must be f32, found i32") {
            try context.linearLowRank(
                context.full(0, .i32, [3, 4]), f32([3, 5]), a: f32([2, 5]), b: f32([4, 2]), scale: 1)
        }
    }
}
