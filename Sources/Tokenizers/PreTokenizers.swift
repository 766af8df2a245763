import Support

/// The `pre_tokenizer` of a `tokenizer.json`: cuts a text into pieces, which the model sees one by one.
protocol PreTokenizer: Sendable {
    func apply(to pieces: inout Pieces) throws
}

func preTokenizer(_ part: TokenizerPart) throws -> any PreTokenizer {
    try part.typed([
        "Sequence": PreTokenizerSequence.init,
        "Split": SplitPreTokenizer.init,
        "Whitespace": WhitespacePreTokenizer.init,
        "WhitespaceSplit": WhitespaceSplit.init,
        "CharDelimiterSplit": CharDelimiterSplit.init,
        "BertPreTokenizer": BertPreTokenizer.init,
        "Punctuation": PunctuationPreTokenizer.init,
        "Digits": DigitsPreTokenizer.init,
        "ByteLevel": ByteLevelPreTokenizer.init,
        "Metaspace": Metaspace.init,
        "UnicodeScripts": UnicodeScripts.init,
        "FixedLength": FixedLength.init,
    ])
}

struct PreTokenizerSequence: PreTokenizer {
    private let steps: [any PreTokenizer]

    init(_ steps: [any PreTokenizer]) { self.steps = steps }

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "pretokenizers")
        steps = try part.parts("pretokenizers").map(preTokenizer)
    }

    func apply(to pieces: inout Pieces) throws {
        for step in steps { try step.apply(to: &pieces) }
    }
}

/// Cuts at the matches of a pattern.
struct SplitPreTokenizer: PreTokenizer {
    private let pattern: TextPattern
    private let behavior: SplitBehavior
    private let invert: Bool

    /// Makes each match a piece.
    init(isolating pattern: BytePattern) { self.init(isolating: .words(pattern)) }

    init(isolating pattern: TextPattern) {
        self.pattern = pattern
        behavior = .isolated
        invert = false
    }

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "pattern", "behavior", "invert")
        pattern = try TextPattern(part)
        behavior = try part.choice("behavior", SplitBehavior.names)
        invert = try part.bool("invert")
    }

    func apply(to pieces: inout Pieces) throws {
        let text = pieces.text
        var stretches: [Stretch] = []
        var budget = SearchBudget(byteCount: text.count)
        try pieces.replaceEach { piece, result in
            guard behavior != .isolated else {
                return try pattern.forEachStretch(in: text, piece, &budget) { range, _ in result.append(range) }
            }
            stretches.removeAll(keepingCapacity: true)
            try pattern.forEachStretch(in: text, piece, &budget) { stretches.append(Stretch($0, $1 != invert)) }
            behavior.append(stretches, to: &result)
        }
    }
}

/// A stretch of text that a pattern matches, or what lies between two matches.
struct Stretch {
    let range: Range<Int>
    let isMatch: Bool

    init(_ range: Range<Int>, _ isMatch: Bool) {
        self.range = range
        self.isMatch = isMatch
    }
}

/// What becomes of the matches when a text is cut at them.
enum SplitBehavior: Sendable {
    case removed, isolated, mergedWithPrevious, mergedWithNext, contiguous

    static var names: KeyValuePairs<String, SplitBehavior> {
        [
            "Removed": .removed, "Isolated": .isolated, "MergedWithPrevious": .mergedWithPrevious,
            "MergedWithNext": .mergedWithNext, "Contiguous": .contiguous,
        ]
    }

    /// Appends the pieces that consecutive stretches make.
    func append(_ stretches: [Stretch], to result: inout [Range<Int>]) {
        switch self {
        case .isolated: result += stretches.map(\.range)
        case .removed: result += stretches.filter { !$0.isMatch }.map(\.range)
        // The text before the first stretch counts as one without a match.
        case .contiguous: join(stretches, to: &result) { $0.isMatch == $1 }
        case .mergedWithPrevious: join(stretches, to: &result) { $0.isMatch && !$1 }
        case .mergedWithNext:
            var backwards: [Range<Int>] = []
            join(stretches.reversed(), to: &backwards) { $0.isMatch && !$1 }
            result += backwards.reversed()
        }
    }

    /// Appends the stretches, each as part of the one before where `joins` says so of it and whether that
    /// one was a match.
    private func join(
        _ stretches: [Stretch], to result: inout [Range<Int>], where joins: (Stretch, _ previous: Bool) -> Bool
    ) {
        let first = result.count
        var previous = false
        for stretch in stretches {
            if joins(stretch, previous) && result.count > first {
                let last = result[result.count - 1]
                let range = stretch.range
                result[result.count - 1] =
                    min(last.lowerBound, range.lowerBound)..<max(last.upperBound, range.upperBound)
            } else {
                result.append(stretch.range)
            }
            previous = stretch.isMatch
        }
    }
}

/// Runs of word characters and runs of other characters, without the white space between.
struct WhitespacePreTokenizer: PreTokenizer {
    init(_ part: TokenizerPart) throws { try part.allow("type") }

    func apply(to pieces: inout Pieces) {
        let text = pieces.text
        pieces.replaceEach { piece, result in
            var run: (start: Int, isWord: Bool)?
            forEachScalar(in: text, piece) { scalar, range in
                let isSpace = scalar.isWhiteSpace
                let isWord = scalar.isWord
                if let open = run, isSpace || isWord != open.isWord {
                    result.append(open.start..<range.lowerBound)
                    run = nil
                }
                if run == nil && !isSpace { run = (range.lowerBound, isWord) }
            }
            if let open = run { result.append(open.start..<piece.upperBound) }
        }
    }
}

/// The runs between white space.
struct WhitespaceSplit: PreTokenizer {
    init(_ part: TokenizerPart) throws { try part.allow("type") }

    func apply(to pieces: inout Pieces) { pieces.cut(where: \.isWhiteSpace) }
}

/// The runs between one character.
struct CharDelimiterSplit: PreTokenizer {
    private let delimiter: Unicode.Scalar

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "delimiter")
        let text = try part.string("delimiter")
        guard text.unicodeScalars.count == 1 else {
            throw part.error(.format, "must have one character as \"delimiter\", found \"\(text)\"")
        }
        delimiter = text.unicodeScalars.first!
    }

    func apply(to pieces: inout Pieces) { pieces.cut { $0 == delimiter } }
}

extension Pieces {
    /// Cuts at the scalars that `isDelimiter` names, which are dropped.
    mutating func cut(where isDelimiter: (Unicode.Scalar) -> Bool) {
        let text = text
        replaceEach { piece, result in
            var start = piece.lowerBound
            forEachScalar(in: text, piece) { scalar, range in
                guard isDelimiter(scalar) else { return }
                result.append(start..<range.lowerBound)
                start = range.upperBound
            }
            result.append(start..<piece.upperBound)
        }
    }
}
