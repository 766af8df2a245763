import CSeam
import Glibc
import SeamHost
import Support

// What every function of client.h has in common: a thrown error becomes a status and an error object, and arguments are
// checked before they are touched. Structs.swift has what is common to the structs.

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

/// Throws `.invalidArgument` where an array that is filled has too little room.
/// - Parameters:
///   - capacity: what the caller says of the array; nil where it gives none and wants nothing written.
///   - what: what is written there ("the scores of 3 examples").
func requireRoom(_ capacity: Int?, _ name: String, for needed: Int, _ what: String) throws {
    guard let capacity else { return }
    let found = try count(capacity, name, atMost: 1 << 62)
    guard found >= needed else {
        throw SeamError(.invalidArgument, "argument \(name) must be at least \(needed), for \(what), found \(found)")
    }
}

/// The thing at an index that the caller gives.
/// - Parameter what: what they are, in the plural.
func entry<Element>(_ all: [Element], at index: Int, _ what: String) throws -> Element {
    guard all.indices.contains(index) else {
        throw SeamError(
            .notFound,
            "argument index must be below \(all.count), the number of \(what), found \(UInt(bitPattern: index))")
    }
    return all[index]
}

/// A setting that is 0 or 1.
func flag(_ value: some BinaryInteger, _ name: String) throws -> Bool {
    guard value == 0 || value == 1 else {
        throw SeamError(.invalidArgument, "\(name) must be 0 or 1, found \(value)")
    }
    return value == 1
}
