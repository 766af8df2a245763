import Files
import Support

/// The replacements that a SentencePiece model was trained with, as it stores them: a double array of the texts to
/// replace (S. Yata's Darts-clone) and the texts that replace them.
struct PrecompiledNormalizer: Normalizer {
    private let units: [UInt32]
    /// Each ends with a zero.
    private let replacements: [UInt8]

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "precompiled_charsmap")
        let key = "precompiled_charsmap"
        guard let bytes = decodedBase64(try part.string(key)) else {
            throw part.error(.format, "must have text in base64 as \"\(key)\"")
        }
        try self.init(bytes) {
            part.error(.format, "has a \"\(key)\" of \($0) bytes that is none of SentencePiece")
        }
    }

    /// `error` is thrown for bytes that are none of SentencePiece, and gets their number.
    init(_ bytes: [UInt8], _ error: (Int) -> SeamError) throws {
        let size = bytes.count < 4 ? 0 : (0..<4).reduce(0) { $0 | Int(bytes[$1]) << (8 * $1) }
        guard size > 0, size % 4 == 0, 4 + size <= bytes.count,
            String(validating: bytes[(4 + size)...], as: UTF8.self) != nil
        else { throw error(bytes.count) }
        units = stride(from: 4, to: 4 + size, by: 4).map { place in
            (0..<4).reduce(0) { $0 | UInt32(bytes[place + $1]) << (8 * UInt32($1)) }
        }
        replacements = Array(bytes[(4 + size)...])
    }

    func normalize(_ text: [UInt8], lead: inout Int) -> [UInt8] {
        let string = String(decoding: text, as: UTF8.self)
        var result: [UInt8] = []
        result.reserveCapacity(text.count)
        var newLead = 0
        func append(_ part: ArraySlice<UInt8>, of range: Range<Int>) {
            result += part
            guard newLead == 0, !result.isEmpty else { return }
            // `tokenizers` forgets what went away before it, so what is left first counts as the first character. Of
            // several characters that are replaced together the others keep their places.
            newLead = range.count == lengthOfScalar(text[range.lowerBound]) ? result.count : lengthOfScalar(result[0])
        }
        var position = 0
        while position < text.count {
            let grapheme = position..<endOfGrapheme(text, string, position)
            position = grapheme.upperBound
            // The rule of `tokenizers`: a short grapheme is replaced as a whole, else each of its scalars.
            if grapheme.count < 6, let replacement = replacement(of: text, grapheme) {
                append(replacement, of: grapheme)
                continue
            }
            forEachScalar(in: text, grapheme) { _, range in
                append(replacement(of: text, range) ?? text[range], of: range)
            }
        }
        if lead > 0, result != text { lead = newLead }
        return result
    }

    private func endOfGrapheme(_ text: [UInt8], _ string: String, _ start: Int) -> Int {
        let next = start + 1
        // Nothing joins two characters of ASCII but a line break of two.
        if text[start] < 0x80, text[start] != 0x0D, next == text.count || text[next] < 0x80 { return next }
        let index = string.utf8.index(string.startIndex, offsetBy: start)
        return string.utf8.distance(from: string.startIndex, to: string.index(after: index))
    }

    /// What replaces the shortest text to replace that `text[range]` starts with.
    private func replacement(of text: [UInt8], _ range: Range<Int>) -> ArraySlice<UInt8>? {
        var node = Self.offset(of: units[0])
        for byte in text[range] {
            if byte == 0 { return nil }
            node ^= Int(byte)
            guard node < units.count else { return nil }
            let unit = units[node]
            guard unit & 0x8000_00FF == UInt32(byte) else { return nil }
            node ^= Self.offset(of: unit)
            guard unit >> 8 & 1 == 1 else { continue }
            guard node < units.count else { return nil }
            let start = Int(units[node] & 0x7FFF_FFFF)
            guard start < replacements.count, replacements[start] & 0xC0 != 0x80 else { return nil }
            return replacements[start...].prefix { $0 != 0 }
        }
        return nil
    }

    private static func offset(of unit: UInt32) -> Int { Int(unit >> 10) << Int((unit & 0x200) >> 6) }
}

/// The bytes that a text in base64 (RFC 4648, section 4) stands for, nil where it is none.
private func decodedBase64(_ text: String) -> [UInt8]? {
    var result: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    let digits = Array(text.utf8)
    guard digits.count % 4 == 0 else { return nil }
    let end = digits.count - digits.reversed().prefix(2).prefix { $0 == UInt8(ascii: "=") }.count
    for digit in digits[..<end] {
        let value: UInt8
        switch digit {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = digit - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): value = digit - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): value = digit - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+"): value = 62
        case UInt8(ascii: "/"): value = 63
        default: return nil
        }
        bits = bits << 6 | UInt32(value)
        count += 6
        if count >= 8 {
            count -= 8
            result.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
        }
    }
    return result
}
