import Files

/// The characters that stand for the 256 bytes in byte-level vocabularies: printable ones for themselves, the
/// others for U+0100 and up (as in GPT-2).
private struct ByteAlphabet: Sendable {
    /// The UTF-8 of the character of each byte: one byte and 0, or two.
    let encoded: [(UInt8, UInt8)]
    /// The byte that a scalar stands for, by its value; -1 for none.
    let bytes: [Int16]

    static let shared = ByteAlphabet()

    private init() {
        var encoded: [(UInt8, UInt8)] = []
        var bytes = [Int16](repeating: -1, count: 0x144)
        var others: UInt16 = 0x100
        for byte in UInt16(0)...255 {
            let isPrintable = (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE
            let value = isPrintable ? byte : others
            if !isPrintable { others += 1 }
            bytes[Int(value)] = Int16(byte)
            encoded.append(
                value < 0x80 ? (UInt8(value), 0) : (UInt8(0xC0 | value >> 6), UInt8(0x80 | value & 0x3F)))
        }
        self.encoded = encoded
        self.bytes = bytes
    }

    /// Appends the characters of bytes.
    func write(_ text: ArraySlice<UInt8>, to result: inout [UInt8]) {
        for byte in text {
            let (first, second) = encoded[Int(byte)]
            result.append(first)
            if second != 0 { result.append(second) }
        }
    }
}

/// Cuts words by the pattern of GPT-2, if it is to, and writes each byte as its character.
struct ByteLevelPreTokenizer: PreTokenizer {
    private let addsPrefixSpace: Bool
    private let cutsWords: Bool

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "add_prefix_space", "trim_offsets", "use_regex")
        addsPrefixSpace = try part.bool("add_prefix_space")
        cutsWords = try part.bool("use_regex", default: true)
    }

    init(addsPrefixSpace: Bool, cutsWords: Bool) {
        self.addsPrefixSpace = addsPrefixSpace
        self.cutsWords = cutsWords
    }

    func apply(to pieces: inout Pieces) {
        if addsPrefixSpace {
            pieces.rewrite { text, piece, result in
                if text[piece.lowerBound] != 0x20 { result.append(0x20) }
                result += text[piece]
            }
        }
        if cutsWords {
            let text = pieces.text
            pieces.replaceEach { piece, result in
                BytePattern.gpt2.forEachWord(in: text, piece) { result.append($0) }
            }
        }
        pieces.rewrite { text, piece, result in ByteAlphabet.shared.write(text[piece], to: &result) }
    }
}

/// Writes each byte as its character.
struct ByteLevelNormalizer: CharacterNormalizer {
    init(_ part: TokenizerPart) throws { try part.allow("type") }

    func rewrite(_ text: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(2 * text.count)
        ByteAlphabet.shared.write(text[...], to: &result)
        return result
    }
}

/// Makes bytes of the characters; a token with a character that stands for none is taken as it is.
struct ByteLevelDecoder: TokenDecoder {
    init(_ part: TokenizerPart) throws {
        try part.allow("type", "add_prefix_space", "trim_offsets", "use_regex")
    }

    init() {}

    func decode(_ tokens: [String]) -> [String] {
        let bytes = ByteAlphabet.shared.bytes
        var result: [UInt8] = []
        for token in tokens {
            let start = result.count
            for scalar in token.unicodeScalars {
                guard scalar.value < bytes.count, bytes[Int(scalar.value)] >= 0 else {
                    result.removeSubrange(start...)
                    result += token.utf8
                    break
                }
                result.append(UInt8(bytes[Int(scalar.value)]))
            }
        }
        return [String(decoding: result, as: UTF8.self)]
    }
}
