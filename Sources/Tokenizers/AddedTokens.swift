import Files
import Support

/// A token that is looked for in the text as a whole.
struct AddedToken: Sendable {
    let content: String
    let id: Int32
    var singleWord = false
    var stripsLeft = false
    var stripsRight = false
    var isNormalized = false
    var isSpecial = true
    /// The file and the part that name it, for error sentences.
    let place: String

    init(_ content: String, id: Int32, place: String) {
        self.content = content
        self.id = id
        self.place = place
    }

    init(_ part: TokenizerPart) throws {
        try part.allow("id", "content", "single_word", "lstrip", "rstrip", "normalized", "special")
        content = try part.string("content")
        id = try part.id("id")
        singleWord = try part.bool("single_word")
        stripsLeft = try part.bool("lstrip")
        stripsRight = try part.bool("rstrip")
        isNormalized = try part.bool("normalized")
        isSpecial = try part.bool("special")
        place = part.place
    }

    fileprivate func error(_ code: ErrorCode, _ sentence: String) -> SeamError {
        SeamError(code, "\(place) \(sentence)")
    }
}

/// The `added_tokens` of a `tokenizer.json`: tokens that are looked for in the text as a whole, before it is
/// cut into pieces.
struct AddedTokens: Sendable {
    private var tokens: [(token: AddedToken, id: Int32)] = []
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
    /// does not have, the next one after the model's tokens: `tokenizers` goes by these and not by the file. The next one is
    /// the number of tokens, also where ids have gaps.
    init(_ added: [AddedToken], model: any TokenizerModel, normalizer: (any Normalizer)?) throws {
        for token in added {
            guard !token.content.isEmpty else { throw token.error(.format, "must have some text as \"content\"") }
            let modelID = model.id(of: token.content)
            let id = modelID ?? Int32(clamping: model.size + countBeyondModel)
            // Some files count on from the highest id of a vocabulary with gaps.
            let other = modelID ?? Int32(clamping: model.highestID + 1 + countBeyondModel)
            guard token.id == id || token.id == other else {
                let source = modelID == nil ? "the next one after the vocabulary" : "its id in the vocabulary"
                throw token.error(
                    .incompatible, "gives \"\(token.content)\" the id \(token.id), expected \(id), \(source)")
            }
            if modelID == nil { countBeyondModel += 1 }
            guard byContent.insert(token.content, id: id) == nil else {
                throw token.error(.format, "is \"\(token.content)\", which an earlier added token is, too")
            }
            if token.isSpecial { _ = specialTexts.insert(token.content, id: id) }
            var text = Array(token.content.utf8)
            if token.isNormalized, let normalizer {
                let normalized = try normalizer.normalize(text)
                if normalized != text {
                    text = normalized
                    normalizedTexts[id] = String(decoding: text, as: UTF8.self)
                }
            }
            // One of which the normalizer leaves nothing is found nowhere.
            let isNew =
                text.isEmpty
                || (token.isNormalized
                    ? normalizedTrie.insert(text, Int32(tokens.count)) : rawTrie.insert(text, Int32(tokens.count)))
            guard isNew else {
                throw token.error(.unsupported, "is \"\(token.content)\", which normalizes to an earlier added token")
            }
            byID[id] = tokens.count
            tokens.append((token, id))
        }
    }

    func id(of token: String) -> Int32? { byContent.id(of: token) }

    /// The token's text as decoding shows it: normalized, for a token that is looked for in normalized text.
    func text(of id: Int32) -> String? {
        byID[id].map { normalizedTexts[id] ?? tokens[$0].token.content }
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
            let (token, id) = tokens[Int(number)]
            if token.singleWord && touchesWord(text, match) { continue }
            var (start, end) = (match.lowerBound, match.upperBound)
            if token.stripsLeft { start = startOfSpace(in: text, to: start) }
            if token.stripsRight { end = endOfSpace(in: text, from: end) }
            if done < start { segments.append(.text(done..<start)) }
            segments.append(.token(id))
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
