import Support
import Tokenizers

/// The tokens by which a vocabulary scores the label words of a verbaliser.
package struct LabelTokens: Sendable {
    /// The tokens of each word, in the verbaliser's order, whose mean score is the word's.
    package let ids: [[Int32]]

    /// None: for a model that scores no words.
    init() { ids = [] }

    /// - Parameters:
    ///   - prefix: what stands between the prompt and the word: a space, or nothing.
    /// - Throws: a sentence for a word that the vocabulary cannot spell, and for two labels that the rule for words of
    ///   several tokens cannot tell apart.
    package init(_ verbalizer: Verbalizer, prefix: String, multiToken: MultiToken, tokenizer: Tokenizer) throws {
        var ids: [[Int32]] = []
        var owners: [[Int32]: (label: String, word: String)] = [:]
        for (label, words) in zip(verbalizer.labels, verbalizer.words) {
            for word in words {
                let tokens = try Self.tokens(prefix + word, tokenizer)
                guard !tokens.isEmpty, !tokens.contains(where: { $0 == tokenizer.unknownToken }) else {
                    throw SeamError(
                        .invalidArgument, "the word \"\(word)\" of label \"\(label)\" is not in the model's vocabulary")
                }
                let scored = multiToken == .first ? [tokens[0]] : tokens
                if let other = owners[scored], TextKey(other.label) != TextKey(label) {
                    let (what, remedy) =
                        multiToken == .first
                        ? ("first token", "; multi-token \"mean\" may") : ("tokens", "")
                    throw SeamError(
                        .invalidArgument,
                        "the words \"\(other.word)\" of label \"\(other.label)\" and \"\(word)\" of label"
                            + " \"\(label)\" have the same \(what), so the model's scores cannot tell them apart\(remedy)"
                    )
                }
                owners[scored] = (label, word)
                ids.append(scored)
            }
        }
        self.ids = ids
    }

    /// A word as it is spelled behind other text: some tokenizers put a space in front of a text, which would come on
    /// top of the word's own.
    private static func tokens(_ word: String, _ tokenizer: Tokenizer) throws -> [Int32] {
        let alone = try tokenizer.encode(word, addSpecialTokens: false)
        guard word.utf8.first == 0x20 else { return alone }
        let front = try tokenizer.encode("a", addSpecialTokens: false)
        let both = try tokenizer.encode("a" + word, addSpecialTokens: false)
        return both.count > front.count && both.starts(with: front) ? Array(both[front.count...]) : alone
    }
}
