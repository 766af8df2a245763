import Support

/// Joins the tokens of a word, puts spaces between words and, where it cleans up, none before punctuation.
struct WordPieceDecoder: TokenDecoder {
    private let prefix: [UInt8]
    private let cleansUp: Bool

    init(prefix: String, cleansUp: Bool) {
        self.prefix = Array(prefix.utf8)
        self.cleansUp = cleansUp
    }

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "prefix", "cleanup")
        prefix = try Array(part.string("prefix").utf8)
        cleansUp = try part.bool("cleanup")
    }

    func decode(_ tokens: [String]) throws -> [String] {
        try tokens.enumerated().map { number, token in
            var text = Array(token.utf8)
            if number > 0 {
                if text.starts(with: prefix) { text.removeFirst(prefix.count) } else { text.insert(0x20, at: 0) }
            }
            if cleansUp { text = try SpaceCleaning.apply(to: text, contractsNot: true) }
            return String(decoding: text, as: UTF8.self)
        }
    }
}

/// Puts a space in the place of the mark at the end of a word, but for the last token.
struct EndOfWordDecoder: TokenDecoder {
    private let suffix: TextPattern

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "suffix")
        let text = try part.string("suffix")
        guard !text.isEmpty else { throw part.error(.unsupported, "has an empty \"suffix\", supported is a text") }
        suffix = TextPattern(literal: text)
    }

    func decode(_ tokens: [String]) throws -> [String] {
        try tokens.enumerated().map { number, token in
            let content: [UInt8] = number == tokens.count - 1 ? [] : [0x20]
            return String(decoding: try suffix.replacing(Array(token.utf8), with: content), as: UTF8.self)
        }
    }
}

/// Takes away repeated tokens and those that part them, as connectionist temporal classification writes them (Graves et al.
/// 2006), and puts spaces between words where it cleans up.
struct CTCDecoder: TokenDecoder {
    private let pad: TextPattern
    private let delimiter: TextPattern
    private let cleansUp: Bool

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "pad_token", "word_delimiter_token", "cleanup")
        func pattern(_ key: String) throws -> TextPattern {
            let text = try part.string(key)
            guard !text.isEmpty else { throw part.error(.unsupported, "has an empty \"\(key)\", supported is a text") }
            return TextPattern(literal: text)
        }
        pad = try pattern("pad_token")
        delimiter = try pattern("word_delimiter_token")
        cleansUp = try part.bool("cleanup")
    }

    func decode(_ tokens: [String]) throws -> [String] {
        var result: [String] = []
        for (number, token) in tokens.enumerated() where number == 0 || TextKey(token) != TextKey(tokens[number - 1]) {
            var text = try pad.replacing(Array(token.utf8), with: [])
            if cleansUp {
                text = try delimiter.replacing(try SpaceCleaning.apply(to: text, contractsNot: true), with: [0x20])
            }
            if !text.isEmpty { result.append(String(decoding: text, as: UTF8.self)) }
        }
        return result
    }
}
