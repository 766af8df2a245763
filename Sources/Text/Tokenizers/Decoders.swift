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
    ])
}

struct DecoderSequence: TokenDecoder {
    private let steps: [any TokenDecoder]

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "decoders")
        steps = try part.parts("decoders").map(tokenDecoder)
    }

    func decode(_ tokens: [String]) throws -> [String] { try steps.reduce(tokens) { try $1.decode($0) } }
}

struct FuseDecoder: TokenDecoder {
    init(_ part: TokenizerPart) throws { try part.allow("type") }

    func decode(_ tokens: [String]) -> [String] { [tokens.joined()] }
}

struct ReplaceDecoder: TokenDecoder {
    private let pattern: TextPattern
    private let content: [UInt8]

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "pattern", "content")
        pattern = try TextPattern(part)
        content = try Array(part.string("content").utf8)
    }

    func decode(_ tokens: [String]) throws -> [String] {
        try tokens.map { String(decoding: try pattern.replacing(Array($0.utf8), with: content), as: UTF8.self) }
    }
}
