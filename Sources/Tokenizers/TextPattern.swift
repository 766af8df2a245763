/// A `pattern` of `tokenizer.json`: `{"Regex": …}` or `{"String": …}`.
enum TextPattern: Sendable {
    case regex(OnigurumaRegex)
    case words(BytePattern)
    /// A literal, which is not empty.
    case literal([UInt8])

    init(_ part: TokenizerPart) throws {
        let part = try part.requirePart("pattern")
        try part.allow("Regex", "String")
        guard part.value.objectValue!.count == 1 else {
            throw part.error(.format, "must have one key, \"Regex\" or \"String\"")
        }
        if part.member("Regex") != nil {
            let text = try part.string("Regex")
            self = try BytePattern(regex: text).map { .words($0) } ?? .regex(OnigurumaRegex(text, in: part.place))
        } else {
            let text = try part.string("String")
            // An empty one matches everywhere, which is left to the library.
            self = text.isEmpty ? .regex(try OnigurumaRegex("", in: part.place)) : .literal(Array(text.utf8))
        }
    }

    /// `literal` must not be empty.
    init(literal: String) { self = .literal(Array(literal.utf8)) }

    /// Calls `body` for consecutive stretches that cover `text[piece]`: the matches and what is between them. `budget` is
    /// that of the text that the pieces are of.
    func forEachStretch(
        in text: [UInt8], _ piece: Range<Int>, _ budget: inout SearchBudget,
        _ body: (_ stretch: Range<Int>, _ isMatch: Bool) -> Void
    ) throws {
        guard !piece.isEmpty else { return }
        var position = piece.lowerBound
        try forEachMatch(in: text, piece, &budget) { match in
            if position != match.lowerBound { body(position..<match.lowerBound, false) }
            body(match, true)
            position = match.upperBound
        }
        if position != piece.upperBound { body(position..<piece.upperBound, false) }
    }

    /// `text` with `content` in place of each match.
    func replacing(_ text: [UInt8], with content: [UInt8]) throws -> [UInt8] {
        var lead = 0
        return try replacing(text, with: content, lead: &lead)
    }

    /// Replaces as above; `lead` is that of `Normalizer`. What replaces a match comes from its last character.
    func replacing(_ text: [UInt8], with content: [UInt8], lead: inout Int) throws -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(text.count)
        var budget = SearchBudget(byteCount: text.count)
        let oldLead = lead
        lead = 0
        try forEachStretch(in: text, text.indices, &budget) { stretch, isMatch in
            if isMatch { result += content } else { result += text[stretch] }
            if stretch.lowerBound < oldLead || stretch.upperBound == 0 && oldLead > 0 {
                let behind = max(0, stretch.upperBound - oldLead)
                if !isMatch { lead = result.count - behind } else if behind == 0 { lead = result.count }
            }
        }
        return result
    }

    private func forEachMatch(
        in text: [UInt8], _ piece: Range<Int>, _ budget: inout SearchBudget, _ body: (Range<Int>) -> Void
    ) throws {
        switch self {
        case .regex(let regex): try regex.forEachMatch(in: text, piece, &budget, body)
        case .words(let pattern): pattern.forEachWord(in: text, piece, body)
        case .literal(let literal):
            var position = piece.lowerBound
            while position + literal.count <= piece.upperBound {
                if text[position] == literal[0], text[position..<position + literal.count].elementsEqual(literal) {
                    body(position..<position + literal.count)
                    position += literal.count
                } else {
                    position += 1
                }
            }
        }
    }
}
