import CSeam
import Glibc
import Session
import Support

// What every function of client.h has in common: a thrown error becomes a status and an error object, arguments are
// checked before they are touched, and structs of a caller compiled with an older header are read no further than it
// knows them.

public typealias ErrorSlot = UnsafeMutablePointer<OpaquePointer?>?

/// Runs the body of a function; what it throws goes to the caller's error slot.
func attempt(_ slot: ErrorSlot, _ body: () throws -> Void) -> seam_status {
    do {
        try body()
        return seam_status(SEAM_OK)
    } catch {
        let failure = error as? SeamError ?? SeamError(.internal, "\(error)")
        ErrorObject.set(slot, failure)
        return failure.code.rawValue
    }
}

// MARK: Arguments

func required<Value>(_ value: Value?, _ name: String) throws -> Value {
    guard let value else { throw SeamError(.invalidArgument, "argument \(name) is NULL") }
    return value
}

func text(_ pointer: UnsafePointer<CChar>?, _ name: String) throws -> String {
    guard let text = String(validatingCString: try required(pointer, name)) else {
        throw SeamError(.invalidArgument, "argument \(name) is not valid UTF-8")
    }
    return text
}

func optionalText(_ pointer: UnsafePointer<CChar>?, _ name: String) throws -> String? {
    try pointer.map { try text($0, name) }
}

/// How many things the caller gives, where SIZE_MAX arrives as -1.
/// - Parameter limit: more cannot be what the caller meant, and would be read from anywhere.
func count(_ value: Int, _ name: String, atMost limit: Int = 1 << 26) throws -> Int {
    try checkedCount(value, atMost: limit, "argument \(name)")
}

// MARK: Structs that grow

/// A caller's struct. Members that its header did not have yet are those of `defaults`.
/// - Parameter size: what version 1.0 gives the struct; less is refused.
func read<Value>(
    _ pointer: UnsafePointer<Value>?, _ name: String, atLeast size: Int, defaults: Value
) throws -> Value {
    let source = UnsafeRawPointer(try required(pointer, name))
    let given = Int(source.load(as: UInt32.self))
    try check(given, atLeast: size, name)
    var value = defaults
    withUnsafeMutableBytes(of: &value) { target in
        target.copyMemory(from: UnsafeRawBufferPointer(start: source, count: min(given, target.count)))
    }
    return value
}

/// Fills a caller's struct as far as its header knows it, keeping its struct_size.
func write<Value>(_ value: Value, to target: UnsafeMutablePointer<Value>) {
    let raw = UnsafeMutableRawPointer(target)
    let given = raw.load(as: UInt32.self)
    withUnsafeBytes(of: value) { source in
        raw.copyMemory(from: source.baseAddress!, byteCount: min(Int(given), source.count))
    }
    if given >= MemoryLayout<UInt32>.size { raw.storeBytes(of: given, as: UInt32.self) }
}

func check(_ given: Int, atLeast size: Int, _ name: String) throws {
    guard given >= size else {
        throw SeamError(
            .invalidArgument, "struct_size of argument \(name) must be at least \(size), found \(given)")
    }
}

/// Where a struct ends whose last member is `member`, as C's SEAM_HAS counts.
func extent<Root, Member>(through member: KeyPath<Root, Member>) -> Int {
    MemoryLayout<Root>.offset(of: member)! + MemoryLayout<Member>.size
}
