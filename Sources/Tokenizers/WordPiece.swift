import Files
import Support

/// Each piece is cut into the longest tokens from left to right, of which all but the first carry a prefix in the
/// vocabulary ("##"); a piece that cannot be cut, or is too long, is the unknown token. (Schuster and Nakajima,
/// "Japanese and Korean voice search", 2012.)
struct WordPiece: TokenizerModel {
    private let vocabulary: Vocabulary
    /// The tokens that continue a word, without the prefix.
    private let continuing: Vocabulary
    private let unknown: UnknownToken
    private let longestWord: Int

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "vocab", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word")
        let vocabulary = try part.vocabulary()
        let longestWord = try part.int("max_input_chars_per_word")
        guard longestWord >= 0 else {
            throw part.error(.format, "must have 0 or more as \"max_input_chars_per_word\", found \(longestWord)")
        }
        self.init(
            vocabulary, unknown: UnknownToken(try part.string("unk_token"), in: vocabulary, place: part.place),
            prefix: try part.string("continuing_subword_prefix"), longestWord: longestWord)
    }

    /// `prefix` is that of the tokens that continue a word; `longestWord` counts characters.
    init(_ vocabulary: Vocabulary, unknown: UnknownToken, prefix: String, longestWord: Int) {
        (self.vocabulary, self.unknown, self.longestWord) = (vocabulary, unknown, longestWord)
        let prefix = Array(prefix.utf8)
        var continuing = Vocabulary()
        vocabulary.forEach { token, id in
            guard token.starts(with: prefix), token.count > prefix.count else { return }
            // Both tokens and ids are unique in the vocabulary, and so they are here.
            _ = continuing.insert(String(decoding: token.dropFirst(prefix.count), as: UTF8.self), id: id)
        }
        self.continuing = continuing
    }

    var size: Int { vocabulary.count }
    var highestID: Int { vocabulary.highestID }
    func id(of token: String) -> Int32? { vocabulary.id(of: token) }
    func token(of id: Int32) -> String? { vocabulary.token(of: id) }
    var unknownID: Int32? { unknown.id }

    func append(_ pieces: Pieces, to ids: inout [Int32]) throws {
        let text = pieces.text
        var hashes: [TokenHash] = []
        for range in pieces.ranges {
            let first = ids.count
            var start = range.lowerBound
            if isTooLong(text, range) {
                ids.append(try unknown.id(for: text[range]))
                continue
            }
            while start < range.upperBound {
                let tokens = start == range.lowerBound ? vocabulary : continuing
                guard let found = tokens.longestPrefix(of: text, start..<range.upperBound, &hashes) else {
                    ids.removeSubrange(first...)
                    ids.append(try unknown.id(for: text[range]))
                    break
                }
                ids.append(found.id)
                start = found.end
            }
        }
    }

    private func isTooLong(_ text: [UInt8], _ range: Range<Int>) -> Bool {
        guard range.count > longestWord else { return false }
        var count = 0
        forEachScalar(in: text, range) { _, _ in count += 1 }
        return count > longestWord
    }
}
