/// How BLEU cuts a line into tokens; the names are those of sacrebleu.
public enum BLEUTokenizer: String, Sendable, CaseIterable {
    /// The tokenizer of mteval-v13a, which WMT uses: punctuation stands alone, except periods and
    /// commas inside numbers.
    case thirteenA = "13a"
    /// Every character that is no white space is a token.
    case character = "char"
    /// Tokens are what white space separates.
    case none

    /// The tokens of a line. White space at its end does not count. Pure; safe from any thread.
    public func tokens(of line: String) -> [String] {
        tokens(ofScalars: scalars(of: line)).map { token in
            var text = String.UnicodeScalarView()
            for value in token { text.append(Unicode.Scalar(value) ?? "\u{FFFD}") }
            return String(text)
        }
    }

    func tokens(ofScalars line: Scalars) -> [ArraySlice<UInt32>] {
        switch self {
        case .none: words(of: line)
        case .character: line.indices.filter { !isSpace(line[$0]) }.map { line[$0...$0] }
        case .thirteenA: words(of: separatePunctuation(unescape(line)))
        }
    }
}

private let space: UInt32 = 0x20
private let newline: UInt32 = 0x0A
private let dash: UInt32 = 0x2D
private let ampersand: UInt32 = 0x26

/// Removes skip marks and hyphens at line ends, joins lines, and resolves the four entities, one kind
/// after the other: `&amp;lt;` becomes `<`.
private func unescape(_ line: Scalars) -> Scalars {
    var text = line
    while let last = text.last, isSpace(last) { text.removeLast() }
    replace("<skipped>", by: "", in: &text)
    replace("-\n", by: "", in: &text)
    replace("\n", by: " ", in: &text)
    if text.contains(ampersand) {
        replace("&quot;", by: "\"", in: &text)
        replace("&amp;", by: "&", in: &text)
        replace("&lt;", by: "<", in: &text)
        replace("&gt;", by: ">", in: &text)
    }
    return text
}

private func replace(_ pattern: String, by replacement: String, in text: inout Scalars) {
    let pattern = scalars(of: pattern)
    guard text.contains(pattern[0]) else { return }
    let replacement = scalars(of: replacement)
    var result = Scalars()
    var index = 0
    while index < text.count {
        if text[index...].starts(with: pattern) {
            result += replacement
            index += pattern.count
        } else {
            result.append(text[index])
            index += 1
        }
    }
    text = result
}

/// The ASCII signs that always stand alone: all but the apostrophe, comma, dash and period.
private func standsAlone(_ scalar: UInt32) -> Bool {
    switch scalar {
    case 0x20...0x26, 0x28...0x2B, 0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E: true
    default: false
    }
}

private func isPeriodOrComma(_ scalar: UInt32) -> Bool { scalar == 0x2E || scalar == 0x2C }

/// Puts spaces around punctuation. mteval does it in four passes of replacement over the line, each
/// from left to right and without overlap, so that of two periods in a row the pair counts once;
/// the passes cannot be merged.
private func separatePunctuation(_ line: Scalars) -> Scalars {
    var text = [space]
    text.reserveCapacity(line.count * 2)
    for scalar in line {
        if standsAlone(scalar) {
            text += [space, scalar, space]
        } else {
            text.append(scalar)
        }
    }
    text.append(space)
    text = separatePairs(text, where: { !isDigit($0) && isPeriodOrComma($1) }) { [$0, space, $1, space] }
    text = separatePairs(text, where: { isPeriodOrComma($0) && !isDigit($1) }) { [space, $0, space, $1] }
    return separatePairs(text, where: { isDigit($0) && $1 == dash }) { [$0, space, $1, space] }
}

/// Replaces pairs of neighbours that match; a scalar belongs to one pair at most.
private func separatePairs(
    _ text: Scalars, where matches: (UInt32, UInt32) -> Bool, by replacement: (UInt32, UInt32) -> [UInt32]
) -> Scalars {
    var result = Scalars()
    result.reserveCapacity(text.count + text.count / 4)
    var index = 0
    while index < text.count {
        if index + 1 < text.count, matches(text[index], text[index + 1]) {
            result += replacement(text[index], text[index + 1])
            index += 2
        } else {
            result.append(text[index])
            index += 1
        }
    }
    return result
}
