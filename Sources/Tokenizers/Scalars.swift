/// The number of bytes of the UTF-8 sequence that starts with `byte`.
func lengthOfScalar(_ byte: UInt8) -> Int {
    switch byte {
    case ..<0x80: 1
    case ..<0xE0: 2
    case ..<0xF0: 3
    default: 4
    }
}

/// The scalar at `position`, which must be the start of one in valid UTF-8.
func scalar(in text: [UInt8], at position: Int) -> Unicode.Scalar {
    let length = lengthOfScalar(text[position])
    if length == 1 { return Unicode.Scalar(text[position]) }
    var value = UInt32(text[position]) & (0x7F >> UInt32(length))
    for offset in 1..<length { value = value << 6 | UInt32(text[position + offset] & 0x3F) }
    return Unicode.Scalar(value)!
}

/// The start of the scalar before `position`; `position` must be above 0.
func startOfScalar(in text: [UInt8], before position: Int) -> Int {
    var start = position - 1
    while text[start] & 0xC0 == 0x80 { start -= 1 }
    return start
}

extension Unicode.Scalar {
    /// White_Space of Unicode: `\s` and `char::is_whitespace` of Rust.
    var isWhiteSpace: Bool {
        if value < 0x80 { return value == 0x20 || (0x09...0x0D).contains(value) }
        return properties.isWhitespace
    }

    /// `\w` of Rust's regular expressions: Alphabetic, Mark, Decimal_Number, Connector_Punctuation or Join_Control.
    var isWord: Bool {
        if value < 0x80 {
            return (0x61...0x7A).contains(value) || (0x41...0x5A).contains(value)
                || (0x30...0x39).contains(value) || value == 0x5F
        }
        if properties.isAlphabetic || properties.isJoinControl { return true }
        switch properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: return true
        default: return false
        }
    }
}

/// Calls `body` with each scalar of `text[piece]` and its range.
func forEachScalar(
    in text: [UInt8], _ piece: Range<Int>, _ body: (Unicode.Scalar, Range<Int>) throws -> Void
) rethrows {
    var position = piece.lowerBound
    while position < piece.upperBound {
        let end = position + lengthOfScalar(text[position])
        try body(scalar(in: text, at: position), position..<end)
        position = end
    }
}

/// The end of the white space that starts at `start`.
func endOfSpace(in text: [UInt8], from start: Int) -> Int {
    var end = start
    while end < text.count, scalar(in: text, at: end).isWhiteSpace { end += lengthOfScalar(text[end]) }
    return end
}

/// The start of the white space that ends at `end`.
func startOfSpace(in text: [UInt8], to end: Int) -> Int {
    var start = end
    while start > 0 {
        let previous = startOfScalar(in: text, before: start)
        guard scalar(in: text, at: previous).isWhiteSpace else { break }
        start = previous
    }
    return start
}
