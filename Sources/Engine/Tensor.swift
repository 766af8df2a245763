import Kernels
import Support

/// Element types, numbered as in the C ABI (`seam_dtype`).
public enum DType: Int32, Sendable {
    case f32 = 0
    case bf16 = 1
    case f16 = 2
    case i32 = 3

    public var byteCount: Int { self == .bf16 || self == .f16 ? 2 : 4 }
    public var name: String {
        switch self {
        case .f32: "f32"
        case .bf16: "bf16"
        case .f16: "f16"
        case .i32: "i32"
        }
    }

    /// The kernels' name for the storage of a floating-point table.
    var storageKind: Int32 {
        switch self {
        case .bf16: Int32(SK_BF16.rawValue)
        case .f16: Int32(SK_F16.rawValue)
        case .f32, .i32: Int32(SK_F32.rawValue)
        }
    }
}

/// The slot in which the gradient of one tensor gathers during a backward pass. Separate from the tensor, so that an
/// operation that needs its operand's gradient but not its values does not keep the values alive.
public final class GradientSlot {
    let shape: Shape
    /// The gradient so far; nil before the first part of it.
    public package(set) var value: Tensor?
    /// The value is also some other slot's or operation's: it must be replaced, never written.
    private var isShared = false

    init(shape: Shape) { self.shape = shape }

    /// Adds a gradient that others may hold too.
    func add(shared gradient: Tensor, in context: Context) throws(SeamError) {
        guard let current = value else {
            value = gradient
            isShared = true
            return
        }
        if isShared || !current.isContiguous {
            let sum = try context.makeTensor(shape)
            binary(SK_ADD, into: sum, current, gradient)
            value = sum
            isShared = false
        } else {
            let contiguous = try context.contiguous(gradient)
            sk_axpy(current.f32, contiguous.f32, 1, Int64(shape.elementCount))
        }
    }

    /// A contiguous gradient that the caller may add into; `isFresh` tells that it holds garbage and must be
    /// overwritten instead.
    func accumulator(in context: Context) throws(SeamError) -> (tensor: Tensor, isFresh: Bool) {
        if let current = value, !isShared, current.isContiguous { return (current, false) }
        let buffer = try context.makeTensor(shape)
        if let current = value {
            context.copy(current, into: buffer)
            value = buffer
            isShared = false
            return (buffer, false)
        }
        value = buffer
        isShared = false
        return (buffer, true)
    }

    /// The `accumulator`, zero-filled when fresh.
    func zeroedAccumulator(in context: Context) throws(SeamError) -> Tensor {
        let (tensor, isFresh) = try accumulator(in: context)
        if isFresh { sk_fill(tensor.f32, 0, Int64(shape.elementCount)) }
        return tensor
    }

    public func clear() {
        value = nil
        isShared = false
    }
}

/// A view of a block of memory: shape, strides and dtype over a `Storage`, and, when a gradient is wanted,
/// the slot where it gathers. Immutable metadata; not thread-safe (one thread per session).
public final class Tensor {
    public let shape: Shape
    let strides: Shape
    let offset: Int
    public let dtype: DType
    private(set) final var storage: Storage
    public let gradient: GradientSlot?
    /// Made by an operation, for its result alone: not a parameter, nor a view of other memory.
    var isResult = false

    init(
        shape: Shape, strides: Shape, offset: Int, dtype: DType, storage: Storage, gradient: GradientSlot? = nil
    ) {
        self.shape = shape
        self.strides = strides
        self.offset = offset
        self.dtype = dtype
        self.storage = storage
        self.gradient = gradient
    }

    /// A contiguous tensor over the whole of `storage`, which must be large enough.
    public convenience init(shape: Shape, dtype: DType, storage: Storage, requiresGradient: Bool = false) {
        precondition(storage.byteCount >= shape.elementCount * dtype.byteCount)
        self.init(
            shape: shape, strides: shape.contiguousStrides, offset: 0, dtype: dtype, storage: storage,
            gradient: requiresGradient ? GradientSlot(shape: shape) : nil)
    }

    /// A tensor over `storage`, read through strides, none negative, in elements.
    public convenience init(shape: Shape, strides: Shape, dtype: DType, storage: Storage) {
        precondition(storage.byteCount >= Self.extent(shape, strides) * dtype.byteCount)
        self.init(shape: shape, strides: strides, offset: 0, dtype: dtype, storage: storage)
    }

    /// The number of elements from the first to the last, gaps included.
    public static func extent(_ shape: Shape, _ strides: Shape) -> Int {
        if shape.elementCount == 0 { return 0 }
        return zip(shape, strides).reduce(1) { $0 + ($1.0 - 1) * $1.1 }
    }

    /// Whether no other tensor, and no buffer, is on its memory.
    func ownsStorageAlone() -> Bool { isKnownUniquelyReferenced(&storage) }

    /// Says that its values are read later, by somebody who holds the tensor itself and no view of it: no operation may
    /// write its result there (`Context.isScratch`). Parameters, which threads share, are not touched.
    public func keepValues() { if isResult { isResult = false } }

    /// The memory must not be written: it is a mapped file.
    public var isReadOnly: Bool { storage.isReadOnly }
    public var rank: Int { shape.count }
    public var elementCount: Int { shape.elementCount }
    public var requiresGradient: Bool { gradient != nil }

    /// Row-major without gaps. Strides of axes of size 1 do not matter.
    public var isContiguous: Bool {
        var expected = 1
        for axis in stride(from: rank - 1, through: 0, by: -1) {
            if shape[axis] != 1 && strides[axis] != expected { return false }
            expected *= shape[axis]
        }
        return true
    }

    /// A tensor over the same memory with other metadata, without history.
    func view(shape: Shape, strides: Shape, offset: Int, gradient: GradientSlot? = nil) -> Tensor {
        Tensor(shape: shape, strides: strides, offset: offset, dtype: dtype, storage: storage, gradient: gradient)
    }

    /// A tensor of the same values without history.
    public var detached: Tensor {
        gradient == nil ? self : view(shape: shape, strides: strides, offset: offset)
    }

    /// A tensor of the same values that is a new leaf of the gradient.
    public var asLeaf: Tensor {
        view(shape: shape, strides: strides, offset: offset, gradient: GradientSlot(shape: shape))
    }

    // Raw access for kernel calls. Valid while the tensor is alive, so never taken from a temporary: a variable lives to
    // the end of its scope, beyond the call. The caller has checked dtype and layout.
    var f32: UnsafeMutablePointer<Float> {
        storage.pointer.assumingMemoryBound(to: Float.self) + offset
    }
    var i32: UnsafeMutablePointer<Int32> {
        storage.pointer.assumingMemoryBound(to: Int32.self) + offset
    }
    var u16: UnsafeMutablePointer<UInt16> {
        storage.pointer.assumingMemoryBound(to: UInt16.self) + offset
    }
    /// The first element, whatever the dtype.
    public var baseAddress: UnsafeMutableRawPointer { storage.pointer + offset * dtype.byteCount }
}

extension Tensor {
    /// The values of a contiguous f32 tensor, copied out.
    public var floats: [Float] {
        precondition(dtype == .f32 && isContiguous)
        return Array(UnsafeBufferPointer(start: f32, count: elementCount))
    }

    /// The values of a contiguous i32 tensor, copied out.
    public var integers: [Int32] {
        precondition(dtype == .i32 && isContiguous)
        return Array(UnsafeBufferPointer(start: i32, count: elementCount))
    }

    /// Overwrites a contiguous f32 tensor.
    public func assign(_ values: [Float]) {
        precondition(dtype == .f32 && isContiguous && values.count == elementCount)
        f32.update(from: values, count: values.count)
    }

    /// Copies a contiguous f32 tensor into the caller's array, which keeps its memory from call to call.
    public func copy(into array: inout [Float]) {
        precondition(dtype == .f32 && isContiguous)
        if array.count != elementCount { array = [Float](repeating: 0, count: elementCount) }
        array.withUnsafeMutableBufferPointer {
            _ = $0.update(fromContentsOf: UnsafeBufferPointer(start: f32, count: elementCount))
        }
    }
}

extension Array where Element == Float {
    /// Reads this array as a tensor, without a copy; the tensor is valid in `body` only, and nothing writes to it.
    /// - Parameter shape: of the array's element count.
    public func withTensor<R>(_ shape: Shape, _ body: (Tensor) throws -> R) rethrows -> R {
        try withUnsafeBufferPointer { try body(.borrowing($0.baseAddress, shape, .f32)) }
    }
}

extension Array where Element == Int32 {
    /// Lends the integers as an i32 tensor, as the function above does floats.
    public func withTensor<R>(_ shape: Shape, _ body: (Tensor) throws -> R) rethrows -> R {
        try withUnsafeBufferPointer { try body(.borrowing($0.baseAddress, shape, .i32)) }
    }
}

extension Tensor {
    /// Row-major values of the caller's, which outlive the tensor and every view of it, and which nothing writes to.
    public static func borrowing(_ values: UnsafeRawPointer?, _ shape: Shape, _ dtype: DType) -> Tensor {
        // Of a tensor without elements the address does not matter, but there has to be one.
        let address = values ?? UnsafeRawPointer(bitPattern: 64)!
        let storage = Storage(
            borrowing: UnsafeMutableRawPointer(mutating: address), byteCount: shape.elementCount * dtype.byteCount,
            isReadOnly: true, release: {})
        return Tensor(shape: shape, dtype: dtype, storage: storage)
    }
}
