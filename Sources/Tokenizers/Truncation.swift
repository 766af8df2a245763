/// The `truncation` of a `tokenizer.json`: the greatest number of ids of a text, special tokens included.
struct Truncation: Sendable {
    let maxLength: Int
    private let removesLeft: Bool

    /// The end of a longer text is left out.
    init(maxLength: Int) { (self.maxLength, removesLeft) = (maxLength, false) }

    init(_ part: TokenizerPart, addedCount: Int) throws {
        try part.allow("direction", "max_length", "strategy", "stride")
        removesLeft =
            part.member("direction") == nil ? false : try part.choice("direction", ["Right": false, "Left": true])
        maxLength = try part.int("max_length")
        // Both mean the same for one text; "stride" concerns what was cut off.
        try part.choice("strategy", ["LongestFirst": (), "OnlyFirst": ()])
        guard maxLength >= addedCount else {
            throw part.error(
                .unsupported,
                "has a \"max_length\" of \(maxLength), expected room for the \(addedCount) tokens that are added")
        }
    }

    /// `addedCount` is how many ids will be added.
    func apply(to ids: inout [Int32], addedCount: Int) {
        let excess = ids.count - (maxLength - addedCount)
        guard excess > 0 else { return }
        if removesLeft { ids.removeFirst(excess) } else { ids.removeLast(excess) }
    }
}
