import Kernels
import Support

/// Memory that outlives a pass: keys and values of a decoding cache. Writes overwrite in place; values written carry
/// no gradient. One thread per session.
public final class Buffer {
    public private(set) var shape: Shape
    public let dtype: DType
    private let pool: MemoryPool
    private var storage: Storage
    /// The other half of a selection's double buffering, so that reordering beams allocates once.
    private var spare: Storage?

    /// Zero-filled; f32 or i32.
    public init(_ dtype: DType, _ shape: Shape, pool: MemoryPool) throws(SeamError) {
        guard dtype == .f32 || dtype == .i32 else {
            throw SeamError(.unsupported, "buffer_create: dtype must be f32 or i32, found \(dtype.name)")
        }
        self.shape = shape
        self.dtype = dtype
        self.pool = pool
        storage = try Storage(byteCount: Swift.max(1, shape.elementCount) * 4, pool: pool)
        storage.pointer.initializeMemory(as: UInt8.self, repeating: 0, count: storage.byteCount)
    }

    /// self[..., start ..< start + n, ...] = x along `axis`.
    public func write(_ x: Tensor, axis requested: Int, start: Int, in context: Context) throws(SeamError) {
        let axis = try self.axis(requested, of: x, "buffer_write")
        guard start >= 0, start <= shape[axis] - x.shape[axis] else {
            throw SeamError(
                .shape,
                "buffer_write: \(x.dtype.name) \(x.shape) at \(start) along axis \(axis) does not fit buffer \(dtype.name) \(shape)"
            )
        }
        let source = try context.contiguous(x)
        let inner = shape.dropFirst(axis + 1).reduce(1, *)
        let run = x.shape[axis] * inner
        let target = storage.pointer.assumingMemoryBound(to: Int32.self)
        for outer in 0..<shape.prefix(axis).reduce(1, *) {
            (target + (outer * shape[axis] + start) * inner).update(from: source.i32 + outer * run, count: run)
        }
    }

    /// self[i, ..., starts[i] ..< starts[i] + n, ...] = x[i] along `axis`, which is not 0: each row has a start of its own.
    public func write(
        _ x: Tensor, axis requested: Int, starts: UnsafeBufferPointer<Int64>, in context: Context
    ) throws(SeamError) {
        let axis = try self.axis(requested, of: x, "buffer_write_rows")
        guard axis > 0, starts.count == shape[0] else {
            throw SeamError(
                .shape,
                axis > 0
                    ? "buffer_write_rows: \(starts.count) starts do not fit buffer \(shape), which has \(shape[0]) rows"
                    : "buffer_write_rows: the axis must not be 0, that of the rows")
        }
        let room = shape[axis] - x.shape[axis]
        if let row = starts.firstIndex(where: { $0 < 0 || $0 > Int64(room) }) {
            throw SeamError(
                .shape,
                "buffer_write_rows: \(x.shape) at \(starts[row]) along axis \(axis), in row \(row), does not fit buffer \(shape)"
            )
        }
        let source = try context.contiguous(x)
        let inner = shape.dropFirst(axis + 1).reduce(1, *)
        let run = x.shape[axis] * inner
        let outer = shape[1..<axis].reduce(1, *)
        let target = storage.pointer.assumingMemoryBound(to: Int32.self)
        for (row, start) in starts.enumerated() {
            for block in row * outer..<(row + 1) * outer {
                (target + (block * shape[axis] + Int(start)) * inner).update(from: source.i32 + block * run, count: run)
            }
        }
    }

    /// The axis along which `x` is written, where all other sizes of it are the buffer's.
    private func axis(_ requested: Int, of x: Tensor, _ operation: String) throws(SeamError) -> Int {
        let axis = requested < 0 ? requested + shape.count : requested
        guard axis >= 0, axis < shape.count, x.rank == shape.count else {
            throw SeamError(.shape, "\(operation): axis \(requested) of \(x.shape) does not fit buffer \(shape)")
        }
        var expected = shape
        expected[axis] = x.shape[axis]
        guard x.shape == expected, x.dtype == dtype else {
            throw SeamError(
                .shape,
                "\(operation): \(x.dtype.name) \(x.shape) along axis \(axis) does not fit buffer \(dtype.name) \(shape)"
            )
        }
        return axis
    }

    /// The first `length` elements along `axis`: a view, valid until the next write or selection.
    public func read(axis requested: Int, length: Int) throws(SeamError) -> Tensor {
        let axis = requested < 0 ? requested + shape.count : requested
        guard axis >= 0, axis < shape.count, length >= 0, length <= shape[axis] else {
            throw SeamError(.shape, "buffer_read: \(length) along axis \(requested) does not fit buffer \(shape)")
        }
        var view = shape
        view[axis] = length
        return Tensor(
            shape: view, strides: shape.contiguousStrides, offset: 0, dtype: dtype, storage: storage)
    }

    /// Row i becomes old row `rows[i]`; afterwards there are `rows.count` rows.
    public func select(_ rows: UnsafeBufferPointer<Int32>) throws(SeamError) {
        guard shape.count > 0 else { throw SeamError(.shape, "buffer_select: the buffer is a scalar") }
        for row in rows where row < 0 || Int(row) >= shape[0] {
            throw SeamError(.invalidArgument, "buffer_select: row \(row) is outside 0 ... \(shape[0] - 1)")
        }
        var selected = shape
        selected[0] = rows.count
        guard selected.isAddressable else {
            throw SeamError(.shape, "buffer_select: \(rows.count) rows of buffer \(shape) are too many elements")
        }
        let rowSize = shape.dropFirst().reduce(1, *)
        // Rows that only leave: the others move up in place, and the room stays for those that come.
        if zip(rows, rows.dropFirst()).allSatisfy({ $0 < $1 }) {
            let memory = storage.pointer.assumingMemoryBound(to: Int32.self)
            for (index, row) in rows.enumerated() where index != Int(row) {
                (memory + index * rowSize).update(from: memory + Int(row) * rowSize, count: rowSize)
            }
            shape = selected
            return
        }
        let needed = Swift.max(1, rows.count * rowSize) * 4
        let target: Storage
        if let spare, spare.byteCount >= needed {
            target = spare
        } else {
            target = try Storage(byteCount: needed, pool: pool)
        }
        let from = storage.pointer.assumingMemoryBound(to: Int32.self)
        let to = target.pointer.assumingMemoryBound(to: Int32.self)
        for (index, row) in rows.enumerated() {
            (to + index * rowSize).update(from: from + Int(row) * rowSize, count: rowSize)
        }
        spare = storage
        storage = target
        shape = selected
    }

    /// The rows of `other` come behind those of the buffer, along axis 0. Along `axis`, which is not 0, the shorter of the
    /// two has 0 where it ends; their other sizes and types are equal. `other` is left as it is.
    public func append(_ other: Buffer, axis requested: Int) throws(SeamError) {
        let axis = requested < 0 ? requested + shape.count : requested
        guard axis > 0, axis < shape.count else {
            throw SeamError(
                .shape, "buffer_append: axis \(requested) of buffer \(shape) is not one behind that of the rows")
        }
        let length = Swift.max(shape[axis], other.shape.count == shape.count ? other.shape[axis] : 0)
        var (joined, fitting) = (shape, other.shape)
        joined[axis] = length
        if fitting.count == shape.count { (fitting[0], fitting[axis]) = (shape[0], length) }
        guard fitting == joined, other.dtype == dtype else {
            throw SeamError(
                .shape,
                "buffer_append: buffer \(other.dtype.name) \(other.shape) does not fit behind buffer \(dtype.name) \(shape) along axis \(axis)"
            )
        }
        // Before anything changes: `other` may be this buffer.
        let (rows, count) = (shape[0], other.shape[0])
        let source = (storage: other.storage, length: other.shape[axis])
        let (total, overflows) = rows.addingReportingOverflow(count)
        joined[0] = total
        guard !overflows, joined.isAddressable else {
            throw SeamError(.shape, "buffer_append: \(count) more rows of buffer \(shape) are too many elements")
        }
        let outer = shape[1..<axis].reduce(1, *)
        let inner = shape.dropFirst(axis + 1).reduce(1, *)
        /// Copies rows into `target`, whose rows have the new length, from row `first` on.
        func copy(_ rows: Int, of length: Int, from: Storage, to target: Storage, at first: Int) {
            let from = from.pointer.assumingMemoryBound(to: Int32.self)
            let to = target.pointer.assumingMemoryBound(to: Int32.self) + first * outer * joined[axis] * inner
            let (run, whole) = (length * inner, joined[axis] * inner)
            if run == whole { return to.update(from: from, count: rows * outer * run) }
            for block in 0..<rows * outer {
                (to + block * whole).update(from: from + block * run, count: run)
                (to + block * whole + run).update(repeating: 0, count: whole - run)
            }
        }
        let rowBytes = outer * length * inner * 4
        if shape[axis] != length || storage.byteCount < total * rowBytes {
            // Room for half as many again where rows come one by one: then few of them have the others copied.
            let room = rows == 0 ? total : Swift.max(total, rows + (rows + 1) / 2)
            let grown = try Storage(byteCount: Swift.max(1, room * rowBytes), pool: pool)
            copy(rows, of: shape[axis], from: storage, to: grown, at: 0)
            storage = grown
            spare = nil
        }
        copy(count, of: source.length, from: source.storage, to: storage, at: rows)
        shape = joined
    }
}
