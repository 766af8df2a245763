import Support

/// The `normalizer` of a `tokenizer.json`: rewrites a text before it is cut into pieces. Texts are valid
/// UTF-8, going in and coming out.
protocol Normalizer: Sendable {
    /// `lead` is how many bytes at the start of `text` come from the first character of the input, and becomes that of
    /// the result: 0 where that character was taken away. `Metaspace` asks for it.
    func normalize(_ text: [UInt8], lead: inout Int) throws -> [UInt8]
}

extension Normalizer {
    func normalize(_ text: [UInt8]) throws -> [UInt8] {
        var lead = 0
        return try normalize(text, lead: &lead)
    }
}

/// A normalizer that makes of each character what it makes of it alone.
protocol CharacterNormalizer: Normalizer {
    func rewrite(_ text: [UInt8]) throws -> [UInt8]
}

extension CharacterNormalizer {
    func normalize(_ text: [UInt8], lead: inout Int) throws -> [UInt8] {
        lead = try rewrite(Array(text[..<lead])).count
        return try rewrite(text)
    }
}

func normalizer(_ part: TokenizerPart) throws -> any Normalizer {
    try part.typed([
        "Sequence": NormalizerSequence.init,
        "Strip": StripNormalizer.init,
        "Lowercase": LowercaseNormalizer.init,
        "Replace": ReplaceNormalizer.init,
        "Prepend": PrependNormalizer.init,
        "NFC": FormNormalizer.make(.nfc),
        "NFD": FormNormalizer.make(.nfd),
        "NFKC": FormNormalizer.make(.nfkc),
        "NFKD": FormNormalizer.make(.nfkd),
        "StripAccents": StripAccents.init,
        "BertNormalizer": BertNormalizer.init,
        "Precompiled": PrecompiledNormalizer.init,
        "Nmt": NmtNormalizer.init,
        "ByteLevel": ByteLevelNormalizer.init,
    ])
}

struct NormalizerSequence: Normalizer {
    private let steps: [any Normalizer]

    init(_ steps: [any Normalizer]) { self.steps = steps }

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "normalizers")
        steps = try part.parts("normalizers").map(normalizer)
    }

    func normalize(_ text: [UInt8], lead: inout Int) throws -> [UInt8] {
        var text = text
        for step in steps { text = try step.normalize(text, lead: &lead) }
        return text
    }
}

/// Removes white space at the ends.
struct StripNormalizer: Normalizer {
    private let left: Bool
    private let right: Bool

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "strip_left", "strip_right")
        left = try part.bool("strip_left")
        right = try part.bool("strip_right")
    }

    func normalize(_ text: [UInt8], lead: inout Int) -> [UInt8] {
        let start = left ? endOfSpace(in: text, from: 0) : 0
        let end = right ? startOfSpace(in: text, to: text.count) : text.count
        lead = max(0, min(lead, end) - start)
        return start < end ? Array(text[start..<end]) : []
    }
}

/// Lowercases each scalar by itself, without regard to its neighbours.
struct LowercaseNormalizer: CharacterNormalizer {
    init(_ part: TokenizerPart) throws { try part.allow("type") }

    func rewrite(_ text: [UInt8]) -> [UInt8] { lowercased(text) }
}

func lowercased(_ text: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(text.count)
    forEachScalar(in: text, text.indices) { scalar, _ in
        if scalar.value < 0x80 {
            let byte = UInt8(scalar.value)
            result.append((0x41...0x5A).contains(byte) ? byte | 0x20 : byte)
        } else {
            result += scalar.properties.lowercaseMapping.utf8
        }
    }
    return result
}

struct ReplaceNormalizer: Normalizer {
    private let pattern: TextPattern
    private let content: [UInt8]

    init(literal: String, with content: String) { self.init(TextPattern(literal: literal), with: content) }

    init(_ pattern: TextPattern, with content: String) {
        self.pattern = pattern
        self.content = Array(content.utf8)
    }

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "pattern", "content")
        pattern = try TextPattern(part)
        content = try Array(part.string("content").utf8)
    }

    func normalize(_ text: [UInt8], lead: inout Int) throws -> [UInt8] {
        try pattern.replacing(text, with: content, lead: &lead)
    }
}

/// Puts a text in front of one that is not empty.
struct PrependNormalizer: Normalizer {
    private let prefix: [UInt8]

    init(_ prefix: String) { self.prefix = Array(prefix.utf8) }

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "prepend")
        prefix = try Array(part.string("prepend").utf8)
    }

    func normalize(_ text: [UInt8], lead: inout Int) -> [UInt8] {
        guard !text.isEmpty else { return text }
        if lead > 0 { lead += prefix.count }
        return prefix + text
    }
}

/// What SentencePiece's rules for machine translation do to single characters: takes control characters away and makes
/// spaces of others that show nothing.
struct NmtNormalizer: CharacterNormalizer {
    init(_ part: TokenizerPart) throws { try part.allow("type") }

    func rewrite(_ text: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(text.count)
        forEachScalar(in: text, text.indices) { scalar, range in
            switch scalar.value {
            case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x8F, 0x9F: break
            case 0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B...0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD:
                result.append(0x20)
            default: result += text[range]
            }
        }
        return result
    }
}
