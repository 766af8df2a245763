import Support

/// Word error rate of a corpus: words that were put in, left out or replaced, divided by the words of the references; 0 or more.
///
/// Equals `jiwer.wer`: words are what spaces, and runs of two or more characters of white space, stand between; upper and
/// lower case and punctuation count. Where a hypothesis has several references, the one with the fewest errors a word counts,
/// the first of these. References that have no words at all count as one.
///
/// - Parameters:
///   - hypotheses: texts, 1 or more.
///   - references: for each hypothesis its references, 1 or more.
/// - Throws: `SeamError` (`invalidArgument` or `shape`) that names the argument.
///
/// Pure; safe from any thread.
public func wordErrorRate(hypotheses: [String], references: [[String]]) throws -> Double {
    var numbers = WordNumbers()
    return try errorRate(hypotheses, references) { text in numbers.numbers(of: spokenWords(of: scalars(of: text))) }
}

/// Character error rate of a corpus: `wordErrorRate` of Unicode scalars in the place of words. White space counts, but for that
/// around a text. Equals `jiwer.cer`.
public func characterErrorRate(hypotheses: [String], references: [[String]]) throws -> Double {
    try errorRate(hypotheses, references) { text in Array(stripped(scalars(of: text)[...])) }
}

private func errorRate(_ hypotheses: [String], _ references: [[String]], _ units: (String) -> [UInt32]) throws
    -> Double
{
    try checkCorpus(hypotheses, references)
    var (errors, total) = (0, 0)
    for (hypothesis, references) in zip(hypotheses, references) {
        let found = units(hypothesis)
        let counts = references.map { reference in
            let expected = units(reference)
            return (errors: editDistance(found, expected), total: expected.count)
        }
        let best = counts.min {
            Double($0.errors) / Double(max($0.total, 1)) < Double($1.errors) / Double(max($1.total, 1))
        }!
        errors += best.errors
        total += best.total
    }
    return Double(errors) / Double(max(total, 1))
}

/// The words as jiwer cuts them.
private func spokenWords(of text: Scalars) -> [ArraySlice<UInt32>] {
    let text = stripped(text[...])
    var words: [ArraySlice<UInt32>] = []
    var start = text.startIndex
    var position = start
    while position < text.endIndex {
        let run = text[position...].prefix(while: isSpace).count
        if run > 1 || text[position] == 0x20 {
            words.append(text[start..<position])
            position += run
            start = position
        } else {
            position += 1
        }
    }
    words.append(text[start...])
    return words.filter { !$0.isEmpty }
}

/// Without white space at both ends.
private func stripped(_ text: ArraySlice<UInt32>) -> ArraySlice<UInt32> {
    guard let first = text.firstIndex(where: { !isSpace($0) }), let last = text.lastIndex(where: { !isSpace($0) })
    else { return [] }
    return text[first...last]
}

/// The least number of insertions, deletions and replacements that make one sequence the other (Levenshtein's distance), by the
/// rows of the table of all beginnings.
private func editDistance(_ one: [UInt32], _ other: [UInt32]) -> Int {
    var row = Array(0...other.count)
    for (number, unit) in one.enumerated() {
        var diagonal = row[0]
        row[0] = number + 1
        for (column, expected) in other.enumerated() {
            let replaced = diagonal + (unit == expected ? 0 : 1)
            diagonal = row[column + 1]
            row[column + 1] = min(replaced, diagonal + 1, row[column] + 1)
        }
    }
    return row[other.count]
}
