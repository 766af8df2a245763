import CXXHash

/// A 64-bit hash of content that stays the same across runs, machines and versions: XXH64, seed 0, by libxxhash.
///
/// For cache keys and for telling base models apart, where Swift's `Hasher` will not do as it changes
/// with every run. It is not cryptographic: the question is whether a file changed by accident, not
/// whether somebody forged it, and a cryptographic hash would take several times as long over gigabytes
/// of weights.
///
/// A value type: a copy goes on by itself.
public struct ContentHash: Sendable {
    private var state = cxxhash_state()

    /// A hash to which nothing was added yet.
    public init() { cxxhash_reset(&state) }

    /// The hash of one piece of memory.
    public static func of(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var hash = ContentHash()
        hash.update(bytes)
        return hash.value
    }

    /// The hash of a text's UTF-8 bytes.
    public static func of(_ text: String) -> UInt64 {
        var text = text
        return text.withUTF8 { of(UnsafeRawBufferPointer($0)) }
    }

    /// The hash of a whole file's bytes; throws as `FileSystem.readBytes` does.
    public static func ofFile(_ path: String) throws -> UInt64 {
        try FileSystem.readBytes(path).withUnsafeBytes { of($0) }
    }

    /// Adds bytes. Pieces are not told apart: adding "ab" equals adding "a", then "b".
    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        cxxhash_update(&state, bytes.baseAddress, bytes.count)
    }

    /// Adds a text together with its length, so that ("ab", "c") and ("a", "bc") differ.
    public mutating func update(_ text: String) {
        var text = text
        text.withUTF8 {
            update($0.count)
            update(UnsafeRawBufferPointer($0))
        }
    }

    /// Adds an integer as 8 bytes.
    public mutating func update(_ number: Int) {
        withUnsafeBytes(of: Int64(number).littleEndian) { update($0) }
    }

    /// The hash of all that was added so far.
    public var value: UInt64 { withUnsafePointer(to: state) { cxxhash_value($0) } }

    /// `value` as 16 hexadecimal digits, as it goes into file names and adapter configurations.
    public var hex: String { Self.hex(value) }

    /// A hash as 16 hexadecimal digits.
    public static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
