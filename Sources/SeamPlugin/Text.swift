/// A string of the host's or a C library's, valid as long as what it was read from.
///
/// Compared byte by byte, by itself or in a switch. Swift's String compares by Unicode's rules, for which
/// an Embedded Swift library would have to carry Unicode's tables: in a plugin build messages from
/// strings, but compare Texts.
public struct Text: CustomStringConvertible {
    private let bytes: UnsafePointer<CChar>

    /// `bytes` end with a NUL.
    public init(_ bytes: UnsafePointer<CChar>) { self.bytes = bytes }

    public init(_ literal: StaticString) { bytes = literal.cString }

    public static func == (text: Text, literal: StaticString) -> Bool {
        guard let rest = text.dropping(literal) else { return false }
        return rest.bytes.pointee == 0
    }

    /// Lets a literal stand in a `case`.
    public static func ~= (literal: StaticString, text: Text) -> Bool { text == literal }

    /// What follows `prefix`; nil when the text does not start with it.
    public func dropping(_ prefix: StaticString) -> Text? {
        for index in 0..<prefix.utf8CodeUnitCount where bytes[index] != prefix.cString[index] { return nil }
        return Text(bytes + prefix.utf8CodeUnitCount)
    }

    /// The bytes, without the final NUL.
    public var utf8: [UInt8] {
        var copy: [UInt8] = []
        var position = bytes
        while position.pointee != 0 {
            copy.append(UInt8(bitPattern: position.pointee))
            position += 1
        }
        return copy
    }

    /// The bytes as C libraries read them; they live as long as the text.
    public var cString: UnsafePointer<CChar> { bytes }

    public var description: String { String(cString: bytes) }
}
