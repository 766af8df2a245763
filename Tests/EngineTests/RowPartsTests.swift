import Engine
import TestSupport
import Testing

/// Rows of a tensor that are changed apart and joined again.
@Suite struct RowPartsTests {
    private let context = Context(pool: MemoryPool(), recordsGradients: false)

    /// A sum, which nothing else can see: [4, 3] of 0 ... 11.
    private func result(in context: Context) throws -> Tensor {
        let values = try context.constant((0..<12).map(Float.init), [4, 3])
        return context.retain(try context.add(values, try context.full(0, .f32, [4, 3])))
    }

    private func lowRank(_ y: Tensor, in context: Context) throws -> Tensor {
        let x = try context.full(1, .f32, [y.shape[0], 2])
        let (a, b) = (try context.full(1, .f32, [1, 2]), try context.full(1, .f32, [3, 1]))
        return try context.linearLowRank(y, x, a: a, b: b, scale: 10)
    }

    @Test func whatIsWrittenInPlaceIsNotJoined() throws {
        let y = try result(in: context)
        let parts = try context.takenApart(y, rows: [1, 3])
        let changed = try lowRank(parts.tensors[1], in: context)
        #expect(changed === parts.tensors[1], "in the memory of y")
        let joined = try context.joined(parts, as: [parts.tensors[0], changed])
        #expect(joined === y)
        #expect(y.floats == [0, 1, 2] + (3..<12).map { Float($0) + 20 })
    }

    @Test func aNewTensorIsCopiedToItsPlace() throws {
        let y = try result(in: context)
        let parts = try context.takenApart(y, rows: [2, 2])
        let turned = try context.permute(
            try context.contiguous(try context.permute(parts.tensors[0], [1, 0])), [1, 0])
        let doubled = try context.add(turned, turned)
        let joined = try context.joined(parts, as: [doubled, parts.tensors[1]])
        #expect(joined === y && y.floats == [0, 2, 4, 6, 8, 10, 6, 7, 8, 9, 10, 11])
    }

    @Test func whatOthersSeeIsNotWritten() throws {
        let y = try result(in: context)
        let view = try context.slice(y, axis: 0, start: 0, length: 4)
        let before = view.floats
        let parts = try context.takenApart(y, rows: [2, 2])
        let changed = try parts.tensors.map { try lowRank($0, in: context) }
        let joined = try context.joined(parts, as: changed)
        #expect(joined !== y && view.floats == before && joined.floats == before.map { $0 + 20 })
        y.keepValues()
        let same = try context.takenApart(y, rows: [4])
        #expect(try context.joined(same, as: same.tensors) === y, "nothing has changed")
    }

    @Test func gradientsFlowThroughTheParts() throws {
        let context = Context(pool: MemoryPool(), recordsGradients: true)
        let x = try context.constant((0..<6).map(Float.init), [3, 2]).asLeaf
        let parts = try context.takenApart(x, rows: [1, 2])
        let tripled = try context.add(parts.tensors[1], try context.add(parts.tensors[1], parts.tensors[1]))
        let joined = try context.joined(parts, as: [parts.tensors[0], tripled])
        #expect(joined.floats == [0, 1, 6, 9, 12, 15])
        try context.backward(joined, seed: try context.full(1, .f32, [3, 2]))
        #expect(x.gradient?.value?.floats == [1, 1, 3, 3, 3, 3])
    }

    @Test func rowsMustBeAllOfThem() throws {
        let y = try result(in: context)
        for rows in [[1, 2], [4, 1], [0, 4], []] {
            expectError(.shape, "do not make up the shape") { try context.takenApart(y, rows: rows) }
        }
    }
}
