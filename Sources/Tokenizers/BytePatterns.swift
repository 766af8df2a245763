/// The patterns by which byte-level tokenizers cut texts into words, as scanners: they know the characters that the
/// reference knows, and are some ten times as fast as a regular expression.
///
/// Each of them matches every text from end to end.
enum BytePattern: Sendable {
    /// GPT-2, RoBERTa: letters, numbers or others, each with a space in front, or white space.
    case gpt2
    /// Llama 3 and Qwen 2: numbers of at most so many digits, line breaks with what is before them.
    case llama3(digits: Int)

    init?(regex: String) {
        switch regex {
        case #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#: self = .gpt2
        case Self.llama3Regex(numbers: #"\p{N}{1,3}"#): self = .llama3(digits: 3)
        case Self.llama3Regex(numbers: #"\p{N}"#): self = .llama3(digits: 1)
        default: return nil
        }
    }

    private static func llama3Regex(numbers: String) -> String {
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"# + numbers
            + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }

    /// Calls `body` with each word of `text[piece]`, from left to right.
    func forEachWord(in text: [UInt8], _ piece: Range<Int>, _ body: (Range<Int>) -> Void) {
        let scanner = Scanner(text: text, end: piece.upperBound)
        var start = piece.lowerBound
        while start < piece.upperBound {
            let end =
                switch self {
                case .gpt2: scanner.gpt2(start)
                case .llama3(let digits): scanner.llama3(start, digits)
                }
            body(start..<end)
            start = end
        }
    }
}

/// Each function gives where the match that starts at `start`, before `end`, ends.
private struct Scanner {
    let text: [UInt8]
    let end: Int

    func gpt2(_ start: Int) -> Int {
        if let end = endOfContraction(start, anyCase: false) { return end }
        let first = text[start] == 0x20 && start + 1 < end ? start + 1 : start
        let kind = kind(at: first)
        if kind != .space { return endOfRun(first, kind) }
        return endOfSpaces(start, endOfRun(start, .space))
    }

    func llama3(_ start: Int, _ digits: Int) -> Int {
        if let end = endOfContraction(start, anyCase: true) { return end }
        let kind = kind(at: start)
        let next = start + lengthOfScalar(text[start])
        switch kind {
        case .letter: return endOfRun(start, .letter)
        case .number: return endOfRun(start, .number, atMost: digits)
        case .space, .other: break
        }
        if next < end, !isLineBreak(start), self.kind(at: next) == .letter { return endOfRun(next, .letter) }
        let first = text[start] == 0x20 && next < end ? next : start
        if self.kind(at: first) == .other { return endOfLineBreaks(endOfRun(first, .other)) }
        let run = endOfRun(start, .space)
        // White space up to its last line break, where it has one.
        if let last = (start..<run).last(where: isLineBreak) { return last + 1 }
        return endOfSpaces(start, run)
    }

    private func kind(at position: Int) -> PatternClass { PatternClass(scalar(in: text, at: position)) }

    private func isLineBreak(_ position: Int) -> Bool { text[position] == 0x0A || text[position] == 0x0D }

    private func endOfRun(_ start: Int, _ kind: PatternClass, atMost limit: Int = .max) -> Int {
        var position = start
        var count = 0
        while position < end, count < limit, self.kind(at: position) == kind {
            position += lengthOfScalar(text[position])
            count += 1
        }
        return position
    }

    private func endOfLineBreaks(_ start: Int) -> Int {
        var position = start
        while position < end, isLineBreak(position) { position += 1 }
        return position
    }

    /// `\s+(?!\S)|\s+`: the last of several white space characters is left to the word behind it.
    private func endOfSpaces(_ start: Int, _ run: Int) -> Int {
        guard run < end else { return run }
        let last = startOfScalar(in: text, before: run)
        return last > start ? last : run
    }

    /// `'s|'t|'re|'ve|'m|'ll|'d`, with their capitals and the long s if `anyCase`.
    private func endOfContraction(_ start: Int, anyCase: Bool) -> Int? {
        guard text[start] == 0x27, start + 1 < end else { return nil }
        let fold: UInt8 = anyCase ? 0x20 : 0
        switch text[start + 1] | fold {
        case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return start + 2
        default: break
        }
        guard start + 2 < end else { return nil }
        if anyCase, text[start + 1] == 0xC5, text[start + 2] == 0xBF { return start + 3 }
        switch (text[start + 1] | fold, text[start + 2] | fold) {
        case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
            (UInt8(ascii: "l"), UInt8(ascii: "l")):
            return start + 3
        default: return nil
        }
    }
}
