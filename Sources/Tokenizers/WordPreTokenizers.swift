/// The runs between white space, of which each sign of punctuation is a piece of its own.
struct BertPreTokenizer: PreTokenizer {
    init(_ part: TokenizerPart) throws { try part.allow("type") }

    init() {}

    func apply(to pieces: inout Pieces) {
        let text = pieces.text
        pieces.replaceEach { piece, result in
            var start = piece.lowerBound
            forEachScalar(in: text, piece) { scalar, range in
                let isPunctuation = scalar.isPunctuation
                guard isPunctuation || scalar.isWhiteSpace else { return }
                if start < range.lowerBound { result.append(start..<range.lowerBound) }
                if isPunctuation { result.append(range) }
                start = range.upperBound
            }
            result.append(start..<piece.upperBound)
        }
    }
}

/// Cuts at punctuation.
struct PunctuationPreTokenizer: PreTokenizer {
    private let behavior: SplitBehavior

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "behavior")
        behavior = part.member("behavior") == nil ? .isolated : try part.choice("behavior", SplitBehavior.names)
    }

    func apply(to pieces: inout Pieces) { pieces.cut(behavior, at: \.isPunctuation) }
}

/// Cuts numbers off, as a whole or each digit.
struct DigitsPreTokenizer: PreTokenizer {
    private let behavior: SplitBehavior

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "individual_digits")
        self.init(isolatesEach: try part.bool("individual_digits"))
    }

    init(isolatesEach: Bool) { behavior = isolatesEach ? .isolated : .contiguous }

    func apply(to pieces: inout Pieces) { pieces.cut(behavior, at: \.isNumeric) }
}

extension Pieces {
    /// Cuts each piece at the scalars that `isMatch` names.
    mutating func cut(_ behavior: SplitBehavior, at isMatch: (Unicode.Scalar) -> Bool) {
        let text = text
        var stretches: [Stretch] = []
        replaceEach { piece, result in
            stretches.removeAll(keepingCapacity: true)
            var start = piece.lowerBound
            forEachScalar(in: text, piece) { scalar, range in
                guard isMatch(scalar) else { return }
                if start < range.lowerBound { stretches.append(Stretch(start..<range.lowerBound, false)) }
                stretches.append(Stretch(range, true))
                start = range.upperBound
            }
            if start < piece.upperBound { stretches.append(Stretch(start..<piece.upperBound, false)) }
            behavior.append(stretches, to: &result)
        }
    }
}

/// Cuts after every so many characters.
struct FixedLength: PreTokenizer {
    private let length: Int

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "length")
        length = part.member("length") == nil ? 5 : try part.int("length")
        guard length > 0 else { throw part.error(.format, "must have 1 or more as \"length\", found \(length)") }
    }

    func apply(to pieces: inout Pieces) {
        let text = pieces.text
        pieces.replaceEach { piece, result in
            var (start, count) = (piece.lowerBound, 0)
            forEachScalar(in: text, piece) { _, range in
                count += 1
                guard count == length else { return }
                result.append(start..<range.upperBound)
                (start, count) = (range.upperBound, 0)
            }
            result.append(start..<piece.upperBound)
        }
    }
}
