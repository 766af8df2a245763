import CSeam
import Glibc
import Support

/// A member of a plugin's that is 0 or 1.
/// - Parameters:
///   - name: "has_head of the backbone", for a sentence.
///   - origin: the plugin's id.
/// - Throws: `.plugin` for any other value.
func pluginFlag(_ value: Int32, _ name: String, origin: String) throws(SeamError) -> Bool {
    guard value == 0 || value == 1 else {
        throw SeamError(.plugin, "\(name) must be 0 or 1, found \(value)", origin: origin)
    }
    return value == 1
}

/// A copy of a struct that the other side of the border made, read as far as its `struct_size` says and no further:
/// what lies beyond it is zero, so that a function that is not there is nil.
/// - Parameters:
///   - pointer: of a struct of C, whose bytes are its value.
///   - needed: the size that version 1.0 gives it, of include/seam/sizes.h.
///   - name: "seam_batch", for a sentence.
///   - code: what a struct that is shorter is refused with.
/// - Throws: one sentence with both sizes for a struct that is shorter than version 1.0 makes it.
public func bounded<Struct>(
    _ pointer: UnsafePointer<Struct>, atLeast needed: UInt32, _ name: String, code: ErrorCode = .plugin,
    origin: String = ""
) throws(SeamError) -> Struct {
    let found = UnsafeRawPointer(pointer).load(as: UInt32.self)
    guard found >= needed else {
        throw SeamError(code, "struct_size of \(name) must be at least \(needed), found \(found)", origin: origin)
    }
    return withUnsafeTemporaryAllocation(of: Struct.self, capacity: 1) { place in
        let size = MemoryLayout<Struct>.size
        memset(place.baseAddress!, 0, size)
        memcpy(place.baseAddress!, pointer, min(Int(found), size))
        return place[0]
    }
}
