import Support

/// The `decoder` of a `tokenizer.json`: makes text of tokens. What the last one returns is joined without
/// anything between; where a file has no decoder, tokens are joined by spaces.
protocol TokenDecoder: Sendable {
    func decode(_ tokens: [String]) throws -> [String]
}

func tokenDecoder(_ part: TokenizerPart) throws -> any TokenDecoder {
    try part.typed([
        "Sequence": DecoderSequence.init,
        "Fuse": FuseDecoder.init,
        "Replace": ReplaceDecoder.init,
        "WordPiece": WordPieceDecoder.init,
        "ByteLevel": ByteLevelDecoder.init,
        "ByteFallback": ByteFallbackDecoder.init,
        "Strip": StripDecoder.init,
        "Metaspace": Metaspace.init,
        "BPEDecoder": EndOfWordDecoder.init,
        "CTC": CTCDecoder.init,
    ])
}

struct DecoderSequence: TokenDecoder {
    private let steps: [any TokenDecoder]

    init(_ steps: [any TokenDecoder]) { self.steps = steps }

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "decoders")
        steps = try part.parts("decoders").map(tokenDecoder)
    }

    func decode(_ tokens: [String]) throws -> [String] { try steps.reduce(tokens) { try $1.decode($0) } }
}

struct FuseDecoder: TokenDecoder {
    init(_ part: TokenizerPart) throws { try part.allow("type") }

    init() {}

    func decode(_ tokens: [String]) -> [String] { [tokens.joined()] }
}

struct ReplaceDecoder: TokenDecoder {
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

    func decode(_ tokens: [String]) throws -> [String] {
        try tokens.map { String(decoding: try pattern.replacing(Array($0.utf8), with: content), as: UTF8.self) }
    }
}

/// Makes characters of tokens like "<0xE2>"; bytes that are none become "\u{FFFD}" each.
struct ByteFallbackDecoder: TokenDecoder {
    init(_ part: TokenizerPart) throws { try part.allow("type") }

    init() {}

    func decode(_ tokens: [String]) -> [String] {
        var result: [String] = []
        var bytes: [UInt8] = []
        func flush() {
            if let text = String(validating: bytes, as: UTF8.self) {
                if !bytes.isEmpty { result.append(text) }
            } else {
                result += Array(repeating: "\u{FFFD}", count: bytes.count)
            }
            bytes.removeAll()
        }
        for token in tokens {
            if let byte = Self.byte(of: token) {
                bytes.append(byte)
            } else {
                flush()
                result.append(token)
            }
        }
        flush()
        return result
    }

    private static func byte(of token: String) -> UInt8? {
        let text = Array(token.utf8)
        guard text.count == 6, text.starts(with: "<0x".utf8), text[5] == UInt8(ascii: ">") else { return nil }
        return UInt8(String(decoding: text[3...4], as: UTF8.self), radix: 16)
    }
}

/// Removes up to so many of one character at the ends of each token.
struct StripDecoder: TokenDecoder {
    private let content: Unicode.Scalar
    private let start: Int
    private let stop: Int

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "content", "start", "stop")
        let text = try part.string("content")
        guard text.unicodeScalars.count == 1 else {
            throw part.error(.format, "must have one character as \"content\", found \"\(text)\"")
        }
        let (start, stop) = (try part.int("start"), try part.int("stop"))
        guard start >= 0, stop >= 0 else {
            throw part.error(.format, "must have 0 or more as \"start\" and \"stop\", found \(start) and \(stop)")
        }
        self.init(text.unicodeScalars.first!, start: start, stop: stop)
    }

    init(_ content: Unicode.Scalar, start: Int, stop: Int) {
        self.content = content
        self.start = start
        self.stop = stop
    }

    func decode(_ tokens: [String]) -> [String] {
        tokens.map { token in
            var scalars = Array(token.unicodeScalars)[...]
            scalars = scalars.dropFirst(min(start, scalars.prefix { $0 == content }.count))
            scalars = scalars.dropLast(min(stop, scalars.reversed().prefix { $0 == content }.count))
            var text = String.UnicodeScalarView()
            text.append(contentsOf: scalars)
            return String(text)
        }
    }
}
