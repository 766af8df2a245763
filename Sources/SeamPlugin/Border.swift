import CExit
import CSeam

// What every struct and string needs on its way through the C border.

/// A copy of a struct of the host's, as far as both sides know it: at most struct_size bytes of it, and zeros behind
/// them. Nil where there is none or less than `least`, what version 1.0 has (sizes.h): built with later headers, whose
/// structs are larger, a plugin must go on working in a host of version 1.0.
func bounded<Struct: BitwiseCopyable>(_ source: UnsafePointer<Struct>?, _ least: UInt32) -> Struct? {
    guard let bytes = UnsafeRawPointer(source) else { return nil }
    let size = bytes.load(as: UInt32.self)
    guard size >= least else { return nil }
    let layout = MemoryLayout<Struct>.self
    return withUnsafeTemporaryAllocation(byteCount: layout.size, alignment: layout.alignment) { copy in
        copy.initializeMemory(as: UInt8.self, repeating: 0)
        copy.copyMemory(from: UnsafeRawBufferPointer(start: bytes, count: min(Int(size), layout.size)))
        return copy.load(as: Struct.self)
    }
}

/// Fills a struct of the caller's, who may have been built with headers that know fewer or more members:
/// only what both know is written, and the caller's struct_size stays.
func fill<Struct>(_ out: UnsafeMutablePointer<Struct>, _ callerSize: UInt32, with value: inout Struct) {
    let count = min(Int(callerSize), MemoryLayout<Struct>.size)
    withUnsafeBytes(of: &value) { bytes in
        UnsafeMutableRawPointer(out).advanced(by: 4).copyMemory(
            from: bytes.baseAddress!.advanced(by: 4), byteCount: max(count, 4) - 4)
    }
}

/// Sizes into a C array of int64_t, as far as it goes.
func store<Array>(_ sizes: [Int], in array: inout Array) {
    withUnsafeMutableBytes(of: &array) { bytes in
        for (size, place) in zip(sizes, stride(from: 0, to: bytes.count, by: 8)) {
            bytes.storeBytes(of: Int64(size), toByteOffset: place, as: Int64.self)
        }
    }
}

/// The numbers of a C array of int64_t.
func sizes<Array>(_ array: Array) -> [Int] {
    withUnsafeBytes(of: array) { bytes in
        stride(from: 0, to: bytes.count, by: 8).map { Int(bytes.loadUnaligned(fromByteOffset: $0, as: Int64.self)) }
    }
}

extension StaticString {
    /// The literal itself: NUL-terminated, in the library's constants.
    var cString: UnsafePointer<CChar> { UnsafeRawPointer(utf8Start).assumingMemoryBound(to: CChar.self) }
}

/// A NUL-terminated copy; the caller deallocates it.
func copyCString(_ string: String) -> UnsafeMutablePointer<CChar> {
    string.withCString { source in
        let count = string.utf8.count + 1
        let copy = UnsafeMutablePointer<CChar>.allocate(capacity: count)
        copy.initialize(from: source, count: count)
        return copy
    }
}

/// A C array for a table. The host may read it until it unloads the library, which frees it.
func permanent<Element>(_ elements: [Element]) -> UnsafePointer<Element> {
    let size = MemoryLayout<UnsafeMutableRawPointer?>.size
    let offset = max(size, MemoryLayout<Element>.alignment)
    let block = UnsafeMutableRawPointer.allocate(
        byteCount: offset + max(elements.count, 1) * MemoryLayout<Element>.stride, alignment: offset)
    if tables == nil { _ = atexit { freeTables() } }
    // Each block holds the one before it: a list that needs no memory of its own.
    block.storeBytes(of: tables, as: UnsafeMutableRawPointer?.self)
    tables = block
    let array = (block + offset).bindMemory(to: Element.self, capacity: max(elements.count, 1))
    array.initialize(from: elements, count: elements.count)
    return UnsafePointer(array)
}

/// The newest block of tables. `nonisolated(unsafe)` is safe: tables are made inside the initialiser of the plugin's
/// global, which runs once, and freed when the library is unloaded, after its last call.
nonisolated(unsafe) private var tables: UnsafeMutableRawPointer? = nil

private func freeTables() {
    while let block = tables {
        tables = block.load(as: UnsafeMutableRawPointer?.self)
        block.deallocate()
    }
}

/// One struct for a table, likewise.
func permanent<Struct>(_ value: Struct) -> UnsafePointer<Struct>? { permanent([value]) }

/// Hands an error to the host.
func report(
    _ error: PluginError, _ host: UnsafePointer<seam_host>, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> seam_status {
    error.message.withCString { host.pointee.set_error(out, error.code.rawValue, $0) }
}

/// The host's services, unless they are another major version's or incomplete.
func compatible(_ host: UnsafePointer<seam_host>?) -> UnsafePointer<seam_host>? {
    guard let host, host.pointee.struct_size >= SEAM_HOST_SIZE_1_0, host.pointee.abi_major == SEAM_ABI_MAJOR else {
        return nil
    }
    return host
}

/// Swift seeds its hashing with this function, which glibc has only since 2.36. With one of its own, hidden
/// like every symbol but the entry, a plugin loads on older systems too; and since nothing in a plugin may
/// depend on chance (parameters are drawn by the host), its seeds are constant.
@c(arc4random_buf)
public func fixedHashingSeed(_ bytes: UnsafeMutableRawPointer, _ count: Int) {
    bytes.initializeMemory(as: UInt8.self, repeating: 0x5a, count: count)
}
