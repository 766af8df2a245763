/// The escape `\u0000` in JSON, with another character of the same length in its place.
enum NulEscapes {
    /// A character for private use that the text does not hold, as itself or escaped; nil where the first ones all stand in
    /// it.
    static func standIn(for bytes: UnsafeRawBufferPointer) -> Unicode.Scalar? {
        var isUsed = [Bool](repeating: false, count: 16)
        for start in bytes.indices.dropLast(2) {
            // U+E000 to U+E00F are EE 80 80 to EE 80 8F, or \uE000 to \uE00F.
            if bytes[start] == 0xEE, bytes[start + 1] == 0x80, bytes[start + 2] < 0x90 {
                isUsed[Int(bytes[start + 2] & 0x0F)] = true
            } else if let value = escape(at: start, in: bytes), value & 0xFFF0 == 0xE000 {
                isUsed[Int(value & 0x0F)] = true
            }
        }
        return isUsed.firstIndex(of: false).flatMap { Unicode.Scalar(0xE000 + UInt32($0)) }
    }

    /// `other` is one of `standIn`.
    static func replaced(in bytes: UnsafeRawBufferPointer, by other: Unicode.Scalar) -> [UInt8] {
        var result = Array(bytes)
        var start = 0
        while start < bytes.count {
            guard bytes[start] == UInt8(ascii: "\\") else {
                start += 1
                continue
            }
            if escape(at: start, in: bytes) == 0 {
                result.replaceSubrange(start + 2..<start + 6, with: String(other.value, radix: 16).utf8)
            }
            // A backslash that is escaped begins no escape.
            start += 2
        }
        return result
    }

    /// A text that was read, with U+0000 where the character stood in for it.
    static func restored(_ text: String, _ standIn: Unicode.Scalar?) -> String {
        guard let standIn, text.unicodeScalars.contains(standIn) else { return text }
        return String(String.UnicodeScalarView(text.unicodeScalars.map { $0 == standIn ? "\0" : $0 }))
    }

    /// The value of `\uXXXX` at a place; nil for anything else.
    private static func escape(at start: Int, in bytes: UnsafeRawBufferPointer) -> UInt32? {
        guard start + 6 <= bytes.count, bytes[start] == UInt8(ascii: "\\"), bytes[start + 1] == UInt8(ascii: "u") else {
            return nil
        }
        return UInt32(String(decoding: bytes[start + 2..<start + 6], as: UTF8.self), radix: 16)
    }
}
