import Files
import Support

/// The `added_tokens` of a `tokenizer.json`: tokens that are looked for in the text as a whole, before it is
/// cut into pieces.
struct AddedTokens: Sendable {
    private struct Token {
        let content: String
        let id: Int32
        let singleWord: Bool
        let stripsLeft: Bool
        let stripsRight: Bool
        let isNormalized: Bool
        let isSpecial: Bool

        init(_ part: TokenizerPart) throws {
            try part.allow("id", "content", "single_word", "lstrip", "rstrip", "normalized", "special")
            content = try part.string("content")
            id = try part.id("id")
            singleWord = try part.bool("single_word")
            stripsLeft = try part.bool("lstrip")
            stripsRight = try part.bool("rstrip")
            isNormalized = try part.bool("normalized")
            isSpecial = try part.bool("special")
            guard !content.isEmpty else { throw part.error(.format, "must have some text as \"content\"") }
        }
    }

    private var tokens: [Token] = []
    private var byContent = Vocabulary()
    private var byID: [Int32: Int] = [:]
    /// The tokens' text after normalization, for those that it changes.
    private var normalizedTexts: [Int32: String] = [:]
    private var specialTexts = Vocabulary()
    private var rawTrie = ByteTrie()
    private var normalizedTrie = ByteTrie()
    /// The number of tokens that the model does not have.
    private(set) var countBeyondModel = 0

    /// Throws `SeamError` when a token's id is not the one that the model gives it or, for a token that the model
    /// does not have, the next one after the model's tokens: `tokenizers` goes by these and not by the file.
    init(_ parts: [TokenizerPart], model: any TokenizerModel, normalizer: (any Normalizer)?) throws {
        for part in parts {
            let token = try Token(part)
            let modelID = model.id(of: token.content)
            let expected = modelID ?? Int32(clamping: model.size + countBeyondModel)
            guard token.id == expected else {
                let source = modelID == nil ? "the next one after the vocabulary" : "its id in the vocabulary"
                throw part.error(
                    .incompatible, "gives \"\(token.content)\" the id \(token.id), expected \(expected), \(source)")
            }
            if modelID == nil { countBeyondModel += 1 }
            guard byContent.insert(token.content, id: token.id) == nil else {
                throw part.error(.format, "is \"\(token.content)\", which an earlier added token is, too")
            }
            if token.isSpecial { _ = specialTexts.insert(token.content, id: token.id) }
            var text = Array(token.content.utf8)
            if token.isNormalized, let normalizer {
                let normalized = try normalizer.normalize(text)
                if normalized != text {
                    guard !normalized.isEmpty else {
                        throw part.error(
                            .unsupported, "is \"\(token.content)\", of which the normalizer leaves nothing")
                    }
                    text = normalized
                    normalizedTexts[token.id] = String(decoding: text, as: UTF8.self)
                }
            }
            let isNew =
                token.isNormalized
                ? normalizedTrie.insert(text, tokens.count) : rawTrie.insert(text, tokens.count)
            guard isNew else {
                throw part.error(.unsupported, "is \"\(token.content)\", which normalizes to an earlier added token")
            }
            byID[token.id] = tokens.count
            tokens.append(token)
        }
    }

    func id(of token: String) -> Int32? { byContent.id(of: token) }

    /// The token's text as decoding shows it: normalized, for a token that is looked for in normalized text.
    func text(of id: Int32) -> String? {
        byID[id].map { normalizedTexts[id] ?? tokens[$0].content }
    }

    /// Whether a text is that of a special token.
    func isSpecial(_ text: String) -> Bool { specialTexts.id(of: text) != nil }

    /// What a text is made of: added tokens, and stretches between them, which are not empty.
    enum Segment {
        case token(Int32)
        case text(Range<Int>)
    }

    /// The segments of a text before (`normalized` false) or after normalization. The longest token at the
    /// leftmost place wins.
    func segments(of text: [UInt8], normalized: Bool) -> [Segment] {
        let trie = normalized ? normalizedTrie : rawTrie
        guard !text.isEmpty else { return [] }
        guard !trie.isEmpty else { return [.text(text.indices)] }
        var segments: [Segment] = []
        var done = 0
        var position = 0
        while let (match, number) = trie.firstMatch(in: text, from: position) {
            position = match.upperBound
            let token = tokens[number]
            if token.singleWord && touchesWord(text, match) { continue }
            var (start, end) = (match.lowerBound, match.upperBound)
            if token.stripsLeft { start = startOfSpace(in: text, to: start) }
            if token.stripsRight { end = endOfSpace(in: text, from: end) }
            if done < start { segments.append(.text(done..<start)) }
            segments.append(.token(token.id))
            done = end
        }
        if done != text.count { segments.append(.text(done..<text.count)) }
        return segments
    }

    private func touchesWord(_ text: [UInt8], _ match: Range<Int>) -> Bool {
        let before = match.lowerBound
        let after = match.upperBound
        return before > 0 && scalar(in: text, at: startOfScalar(in: text, before: before)).isWord
            || after < text.count && scalar(in: text, at: after).isWord
    }
}

/// A set of byte strings with a number each, to find them in texts.
struct ByteTrie: Sendable {
    private var children: [UInt64: Int] = [:]
    private var numbers: [Int?] = [nil]
    private var startsSome = [Bool](repeating: false, count: 256)

    var isEmpty: Bool { numbers.count == 1 }

    /// Adds `text`, which must not be empty; false when it is there already.
    mutating func insert(_ text: [UInt8], _ number: Int) -> Bool {
        var node = 0
        for byte in text {
            if let next = children[Self.key(node, byte)] {
                node = next
            } else {
                children[Self.key(node, byte)] = numbers.count
                node = numbers.count
                numbers.append(nil)
            }
        }
        guard numbers[node] == nil else { return false }
        numbers[node] = number
        startsSome[Int(text[0])] = true
        return true
    }

    /// The longest string at the leftmost place at or behind `start` where there is one.
    func firstMatch(in text: [UInt8], from start: Int) -> (Range<Int>, Int)? {
        var position = start
        while position < text.count {
            if startsSome[Int(text[position])], let match = longestMatch(in: text, at: position) { return match }
            position += 1
        }
        return nil
    }

    private func longestMatch(in text: [UInt8], at start: Int) -> (Range<Int>, Int)? {
        var node = 0
        var found: (Range<Int>, Int)?
        for position in start..<text.count {
            guard let next = children[Self.key(node, text[position])] else { break }
            node = next
            if let number = numbers[node] { found = (start..<position + 1, number) }
        }
        return found
    }

    private static func key(_ node: Int, _ byte: UInt8) -> UInt64 { UInt64(node) << 8 | UInt64(byte) }
}
