import CUTF8Proc
import Glibc

/// A normal form of Unicode (Unicode Standard Annex 15), by utf8proc: NFC, NFD, NFKC or NFKD of UTF-8 text.
/// - Parameters:
///   - composes: composed (C), else decomposed (D).
///   - compatibly: compatibility characters are replaced (K).
/// - Throws: `SeamError(.outOfMemory)`.
public func unicodeNormalized(_ text: ArraySlice<UInt8>, composes: Bool, compatibly: Bool) throws -> [UInt8] {
    guard !text.isEmpty else { return [] }
    var normalized: UnsafeMutablePointer<UInt8>?
    defer { free(normalized) }
    let count = text.withUnsafeBufferPointer {
        cutf8proc_normalize($0.baseAddress, $0.count, composes ? 1 : 0, compatibly ? 1 : 0, &normalized)
    }
    guard count >= 0, let normalized else {
        throw SeamError(.outOfMemory, "no memory to normalize a text of \(text.count) bytes")
    }
    return Array(UnsafeBufferPointer(start: normalized, count: count))
}
