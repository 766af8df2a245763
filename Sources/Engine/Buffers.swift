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
        var expected = shape
        let axis = requested < 0 ? requested + shape.count : requested
        guard axis >= 0, axis < shape.count, x.rank == shape.count else {
            throw SeamError(.shape, "buffer_write: axis \(requested) of \(x.shape) does not fit buffer \(shape)")
        }
        expected[axis] = x.shape[axis]
        guard x.shape == expected, x.dtype == dtype, start >= 0, start <= shape[axis] - x.shape[axis] else {
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
}
