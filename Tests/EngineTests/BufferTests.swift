import Support
import TestSupport
import Testing

@testable import Engine

@Suite struct BufferTests {
    let pool = MemoryPool()
    let context = Context(pool: MemoryPool(), recordsGradients: false)

    private func select(_ buffer: Buffer, _ rows: [Int32]) throws {
        try rows.withUnsafeBufferPointer { try buffer.select($0) }
    }
    private func values(_ x: Tensor) throws -> [Float] { try context.contiguous(x).floats }

    @Test func positionsAreWrittenAndReadAlongAnAxis() throws {
        let buffer = try Buffer(.f32, [2, 3, 2], pool: pool)
        #expect(try values(try buffer.read(axis: 1, length: 3)) == [Float](repeating: 0, count: 12))
        try buffer.write(try context.constant([1, 2, 3, 4] as [Float], [2, 1, 2]), axis: 1, start: 0, in: context)
        // A view with strides of its own: [2, 2, 2] with the last two axes exchanged.
        let turned = try context.permute(try context.constant((5...12).map { Float($0) }, [2, 2, 2]), [0, 2, 1])
        try buffer.write(turned, axis: 1, start: 1, in: context)
        #expect(try values(try buffer.read(axis: 1, length: 1)) == [1, 2, 3, 4])
        #expect(try values(try buffer.read(axis: 1, length: 3)) == [1, 2, 5, 7, 6, 8, 3, 4, 9, 11, 10, 12])
        #expect(try buffer.read(axis: 1, length: 0).shape == [2, 0, 2])
    }

    @Test func selectionsCopyDropAndMultiplyRows() throws {
        let buffer = try Buffer(.f32, [3, 2], pool: pool)
        try buffer.write(try context.constant([1, 2, 3, 4, 5, 6] as [Float], [3, 2]), axis: 0, start: 0, in: context)
        for (rows, expected) in [
            ([2, 0, 1], [5, 6, 1, 2, 3, 4]), ([0, 0], [5, 6, 5, 6]),
            ([1, 0, 1, 0, 1], [5, 6, 5, 6, 5, 6, 5, 6, 5, 6]), ([4], [5, 6]),
        ] as [([Int32], [Float])] {
            try select(buffer, rows)
            #expect(buffer.shape == [rows.count, 2])
            #expect(try values(try buffer.read(axis: 0, length: rows.count)) == expected)
        }
    }

    /// Reordering beams back and forth takes two blocks and no more.
    @Test func selectionsReuseTheirMemory() throws {
        let buffer = try Buffer(.f32, [4, 100], pool: pool)
        try select(buffer, [1, 0, 3, 2])
        let usage = pool.usage
        for _ in 0..<10 { try select(buffer, [3, 2, 1, 0]) }
        #expect(pool.usage == usage)
    }

    @Test func misfitsAreRefused() throws {
        let buffer = try Buffer(.f32, [2, 3], pool: pool)
        let column = try context.constant([1, 2] as [Float], [2, 1])
        expectError(.shape, "buffer_write", "does not fit buffer f32 [2, 3]") {
            try buffer.write(column, axis: 1, start: 3, in: context)
        }
        expectError(.shape, "buffer_write", "at -1") { try buffer.write(column, axis: 1, start: -1, in: context) }
        expectError(.shape, "buffer_write", "axis 2") { try buffer.write(column, axis: 2, start: 0, in: context) }
        expectError(.shape, "buffer_write", "axis 0 of [1]") {
            try buffer.write(try context.constant([1] as [Float], [1]), axis: 0, start: 0, in: context)
        }
        expectError(.shape, "i32 [2, 1]") {
            try buffer.write(try context.constant([1, 2] as [Int32], [2, 1]), axis: 1, start: 0, in: context)
        }
        expectError(.shape, "buffer_read: 4 along axis 1") { try buffer.read(axis: 1, length: 4) }
        expectError(.invalidArgument, "buffer_select: row 2 is outside 0 ... 1") { try select(buffer, [0, 2]) }
        expectError(.invalidArgument, "buffer_select: row -1") { try select(buffer, [-1]) }
        expectError(.unsupported, "dtype must be f32 or i32, found bf16") { try Buffer(.bf16, [1], pool: pool) }
    }
}
