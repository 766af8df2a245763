import Engine
import Support
import TestSupport
import Testing

@Suite struct BufferTests {
    let pool = MemoryPool()
    let context = Context(pool: MemoryPool(), recordsGradients: false)

    private func select(_ buffer: Buffer, _ rows: [Int32]) throws {
        try rows.withUnsafeBufferPointer { try buffer.select($0) }
    }
    private func write(_ buffer: Buffer, _ x: [Float], _ shape: Shape, _ starts: [Int64], axis: Int = 1) throws {
        let x = try context.constant(x, shape)
        try starts.withUnsafeBufferPointer { try buffer.write(x, axis: axis, starts: $0, in: context) }
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

    @Test func rowsAreWrittenAtStartsOfTheirOwn() throws {
        let buffer = try Buffer(.f32, [3, 2, 4, 1], pool: pool)
        try write(buffer, (1...12).map { Float($0) }, [3, 2, 2, 1], [2, 0, 1], axis: -2)
        #expect(
            try values(try buffer.read(axis: 2, length: 4)) == [
                0, 0, 1, 2, 0, 0, 3, 4, 5, 6, 0, 0, 7, 8, 0, 0, 0, 9, 10, 0, 0, 11, 12, 0,
            ])
        // A view with strides of its own.
        let turned = try context.permute(
            try context.constant([1, 2, 3, 4, 5, 6] as [Float], [1, 2, 3, 1]), [2, 1, 0, 3])
        try ([3, 3, 3] as [Int64]).withUnsafeBufferPointer {
            try buffer.write(turned, axis: 2, starts: $0, in: context)
        }
        #expect(
            try values(try buffer.read(axis: 2, length: 4)) == [
                0, 0, 1, 1, 0, 0, 3, 4, 5, 6, 0, 2, 7, 8, 0, 5, 0, 9, 10, 3, 0, 11, 12, 6,
            ])
    }

    @Test func rowsAreAppended() throws {
        for (own, other) in [(2, 2), (3, 1), (1, 3)] {
            let (first, second) = (
                try Buffer(.f32, [1, own, 2], pool: pool), try Buffer(.f32, [2, other, 2], pool: pool)
            )
            let long = max(own, other)
            func row(_ first: Int, _ length: Int) -> [Float] { (0..<2 * length).map { Float(first + $0) } }
            func filled(_ x: [Float]) -> [Float] { x + [Float](repeating: 0, count: 2 * long - x.count) }
            try first.write(try context.constant(row(1, own), [1, own, 2]), axis: 1, start: 0, in: context)
            let rows = row(11, other) + row(21, other)
            try second.write(try context.constant(rows, [2, other, 2]), axis: 1, start: 0, in: context)
            try first.append(second, axis: 1)
            #expect(first.shape == [3, long, 2])
            var expected = filled(row(1, own)) + filled(row(11, other)) + filled(row(21, other))
            #expect(try values(try first.read(axis: 1, length: long)) == expected)
            #expect(try values(try second.read(axis: 1, length: other)) == rows, "left as it is")
            try first.append(first, axis: -2)
            expected += expected
            #expect(try values(try first.read(axis: 1, length: long)) == expected)
        }
    }

    /// Rows that come one by one are copied a few times, and room that leaving rows gave up is used again.
    @Test func rowsThatJoinHaveRoom() throws {
        let (buffer, row) = (try Buffer(.f32, [0, 10], pool: pool), try Buffer(.f32, [1, 10], pool: pool))
        var sizes: Set<Int> = []
        for count in 1...100 {
            try row.write(try context.constant([Float(count)], [1, 1]), axis: 1, start: 0, in: context)
            try buffer.append(row, axis: 1)
            sizes.insert(pool.usage.live)
        }
        #expect(sizes.count < 15)
        #expect(try values(try buffer.read(axis: 1, length: 1)) == (1...100).map { Float($0) })
        let usage = pool.usage
        for _ in 0..<10 {
            try select(buffer, (0..<100).filter { $0 % 3 > 0 })
            #expect(buffer.shape == [66, 10])
            while buffer.shape[0] < 100 { try buffer.append(row, axis: 1) }
        }
        #expect(pool.usage == usage)
        try select(buffer, [])
        #expect(buffer.shape == [0, 10])
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
        expectError(.shape, "buffer_write_rows: the axis must not be 0") {
            try write(buffer, [1, 2, 3], [1, 3], [0, 0], axis: 0)
        }
        expectError(.shape, "buffer_write_rows: 3 starts do not fit buffer [2, 3], which has 2 rows") {
            try write(buffer, [1, 2], [2, 1], [0, 0, 0])
        }
        expectError(.shape, "buffer_write_rows: [2, 1] at 3 along axis 1, in row 1, does not fit buffer [2, 3]") {
            try write(buffer, [1, 2], [2, 1], [0, 3])
        }
        for start in [-1, .max, .min] as [Int64] {
            expectError(.shape, "at \(start) along axis 1, in row 0") {
                try write(buffer, [1, 2], [2, 1], [start, 0])
            }
        }
        expectError(.shape, "buffer_write_rows: f32 [1, 1] along axis 1") { try write(buffer, [1], [1, 1], [0, 0]) }
        let other = try Buffer(.f32, [2, 3, 1], pool: pool)
        expectError(.shape, "buffer_append: axis 0 of buffer [2, 3]") { try buffer.append(buffer, axis: 0) }
        expectError(.shape, "buffer_append: axis 2 of buffer [2, 3]") { try buffer.append(buffer, axis: 2) }
        expectError(.shape, "buffer f32 [2, 3, 1] does not fit behind buffer f32 [2, 3] along axis 1") {
            try buffer.append(other, axis: 1)
        }
        expectError(.shape, "buffer f32 [2, 3] does not fit behind buffer f32 [2, 3, 1]") {
            try other.append(buffer, axis: 1)
        }
        expectError(.shape, "buffer f32 [2, 4, 2] does not fit") {
            try other.append(try Buffer(.f32, [2, 4, 2], pool: pool), axis: 1)
        }
        expectError(.shape, "buffer i32 [2, 3] does not fit") {
            try buffer.append(try Buffer(.i32, [2, 3], pool: pool), axis: 1)
        }
        expectError(.unsupported, "dtype must be f32 or i32, found bf16") { try Buffer(.bf16, [1], pool: pool) }
    }
}
