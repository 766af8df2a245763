/// Takes spaces out of a decoded text that stand before punctuation and in contractions of English.
enum SpaceCleaning {
    /// What is replaced, in that order.
    private static let replacements: [(pattern: TextPattern, content: [UInt8])] = [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
        (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ].map { (TextPattern(literal: $0.0), Array($0.1.utf8)) }
    /// The place of " do not" among them.
    private static let doNot = 7

    /// `contractsNot`: also " do not", as `tokenizers` does with each token; transformers, with a whole text, does not.
    static func apply(to text: [UInt8], contractsNot: Bool) throws -> [UInt8] {
        var text = text
        for (index, (pattern, content)) in replacements.enumerated() where contractsNot || index != doNot {
            text = try pattern.replacing(text, with: content)
        }
        return text
    }
}
