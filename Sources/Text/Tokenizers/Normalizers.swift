import Support

/// The `normalizer` of a `tokenizer.json`: rewrites a text before it is cut into pieces. Texts are valid
/// UTF-8, going in and coming out.
protocol Normalizer: Sendable {
    func normalize(_ text: [UInt8]) throws -> [UInt8]
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
    ])
}

struct NormalizerSequence: Normalizer {
    private let steps: [any Normalizer]

    init(_ steps: [any Normalizer]) { self.steps = steps }

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "normalizers")
        steps = try part.parts("normalizers").map(normalizer)
    }

    func normalize(_ text: [UInt8]) throws -> [UInt8] { try steps.reduce(text) { try $1.normalize($0) } }
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

    func normalize(_ text: [UInt8]) -> [UInt8] {
        let start = left ? endOfSpace(in: text, from: 0) : 0
        let end = right ? startOfSpace(in: text, to: text.count) : text.count
        return start < end ? Array(text[start..<end]) : []
    }
}

/// Lowercases each scalar by itself, without regard to its neighbours.
struct LowercaseNormalizer: Normalizer {
    init(_ part: TokenizerPart) throws { try part.allow("type") }

    func normalize(_ text: [UInt8]) -> [UInt8] { lowercased(text) }
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

    init(literal: String, with content: String) {
        pattern = TextPattern(literal: literal)
        self.content = Array(content.utf8)
    }

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "pattern", "content")
        pattern = try TextPattern(part)
        content = try Array(part.string("content").utf8)
    }

    func normalize(_ text: [UInt8]) throws -> [UInt8] { try pattern.replacing(text, with: content) }
}

/// Puts a text in front of one that is not empty.
struct PrependNormalizer: Normalizer {
    private let prefix: [UInt8]

    init(_ prefix: String) { self.prefix = Array(prefix.utf8) }

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "prepend")
        prefix = try Array(part.string("prepend").utf8)
    }

    func normalize(_ text: [UInt8]) -> [UInt8] { text.isEmpty ? text : prefix + text }
}
