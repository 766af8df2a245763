import CSeam
import Engine
import Support

// How the objects of the core travel as the ABI's opaque pointers. A handle is an unretained reference; who keeps the
// object alive is said by the header: the context keeps its tensors, the session its contexts.

extension Tensor {
    public var handle: OpaquePointer { OpaquePointer(Unmanaged.passUnretained(self).toOpaque()) }

    public static func from(_ handle: OpaquePointer) -> Tensor {
        Unmanaged<Tensor>.fromOpaque(UnsafeRawPointer(handle)).takeUnretainedValue()
    }
}

extension Context {
    public var handle: OpaquePointer { OpaquePointer(Unmanaged.passUnretained(self).toOpaque()) }

    public static func from(_ handle: OpaquePointer) -> Context {
        Unmanaged<Context>.fromOpaque(UnsafeRawPointer(handle)).takeUnretainedValue()
    }

    /// Latches a failure, unless one came before.
    func latch(_ error: SeamError) {
        if failure == nil { failure = error }
    }

    /// Throws what a plugin's calls latched.
    package func check(origin: String) throws {
        guard let failure else { return }
        throw failure.origin.isEmpty ? SeamError(failure.code, failure.message, origin: origin) : failure
    }
}

extension Buffer {
    /// The plugin owns buffers: a retained reference, given back by `buffer_release`.
    var retainedHandle: OpaquePointer { OpaquePointer(Unmanaged.passRetained(self).toOpaque()) }

    static func from(_ handle: OpaquePointer) -> Buffer {
        Unmanaged<Buffer>.fromOpaque(UnsafeRawPointer(handle)).takeUnretainedValue()
    }

    static func release(_ handle: OpaquePointer) {
        Unmanaged<Buffer>.fromOpaque(UnsafeRawPointer(handle)).release()
    }
}

/// A count of things given over the C border, where SIZE_MAX arrives as -1.
/// - Throws: `.invalidArgument` with `name` in front for one above `limit`.
public func checkedCount(_ count: Int, atMost limit: Int, _ name: String) throws(SeamError) -> Int {
    guard count >= 0, count <= limit else {
        throw SeamError(.invalidArgument, "\(name) must be at most \(limit), found \(UInt(bitPattern: count))")
    }
    return count
}

/// A shape given by a plugin: rank and pointer checked.
func readShape(_ sizes: UnsafePointer<Int64>?, _ rank: Int32, _ operation: String) throws(SeamError) -> Shape {
    guard rank >= 0, rank <= Int32(maxRank), let sizes = rank == 0 ? UnsafePointer(bitPattern: 8) : sizes else {
        throw SeamError(.shape, "\(operation): rank must be 0 ... \(maxRank) with a shape, found rank \(rank)")
    }
    var result = Shape()
    for axis in 0..<Int(rank) { result.append(Int(sizes[axis])) }
    return result
}

/// A shape whose sizes must be non-negative and whose element count must fit memory.
func checkedSizes(_ values: UnsafePointer<Int64>?, _ rank: Int32, _ operation: String) throws(SeamError) -> Shape {
    let result = try readShape(values, rank, operation)
    guard result.isAddressable else {
        throw SeamError(.shape, "\(operation): shape \(result) has a negative size or too many elements")
    }
    return result
}
