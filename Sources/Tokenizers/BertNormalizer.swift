import Files

/// What BERT does to a text: cleans it, puts spaces around Chinese characters, strips accents, lowercases.
struct BertNormalizer: CharacterNormalizer {
    private let cleansText: Bool
    private let handlesChinese: Bool
    private let stripsAccents: Bool
    private let lowercases: Bool

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
        cleansText = try part.bool("clean_text")
        handlesChinese = try part.bool("handle_chinese_chars")
        lowercases = try part.bool("lowercase")
        // As in the first BERT, lowercasing goes with stripping unless the file says otherwise.
        stripsAccents = (part.member("strip_accents") ?? .null) == .null ? lowercases : try part.bool("strip_accents")
    }

    init(lowercases: Bool) {
        cleansText = true
        handlesChinese = true
        stripsAccents = lowercases
        self.lowercases = lowercases
    }

    func rewrite(_ text: [UInt8]) throws -> [UInt8] {
        var (result, isASCII) = cleaned(text)
        if stripsAccents && !isASCII {
            result = filtered(try UnicodeForm.nfd.apply(to: result)) { !$0.isNonspacingMark }
        }
        return lowercases ? lowercased(result) : result
    }

    private func cleaned(_ text: [UInt8]) -> (text: [UInt8], isASCII: Bool) {
        var result: [UInt8] = []
        result.reserveCapacity(text.count)
        var isASCII = true
        var position = 0
        while position < text.count {
            let byte = text[position]
            if byte < 0x80 {
                position += 1
                if cleansText {
                    if byte == 0x09 || byte == 0x0A || byte == 0x0D {
                        result.append(0x20)
                    } else if byte >= 0x20 && byte != 0x7F {
                        result.append(byte)
                    }
                } else {
                    result.append(byte)
                }
                continue
            }
            isASCII = false
            let scalar = scalar(in: text, at: position)
            let range = position..<position + lengthOfScalar(byte)
            position = range.upperBound
            if cleansText {
                if scalar.value == 0xFFFD || scalar.isOther { continue }
                if scalar.isWhiteSpace {
                    result.append(0x20)
                    continue
                }
            }
            let isChinese = handlesChinese && scalar.isChinese
            if isChinese { result.append(0x20) }
            result += text[range]
            if isChinese { result.append(0x20) }
        }
        return (result, isASCII)
    }
}

extension Unicode.Scalar {
    /// Whether this is in a block of ideographs as BERT lists them: the sixth starts at 2B920, 256 behind its true start.
    fileprivate var isChinese: Bool {
        switch value {
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F,
            0x2B920...0x2CEAF, 0xF900...0xFAFF, 0x2F800...0x2FA1F:
            true
        default: false
        }
    }
}
