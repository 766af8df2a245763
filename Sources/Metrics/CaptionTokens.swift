/// The words that the metrics of image captions compare (ROUGE-L and CIDEr of pycocoevalcap): lower case, without
/// punctuation.
///
/// pycocoevalcap runs Stanford's Penn Treebank tokenizer, a Java program of some thousand lines of rules, and drops
/// punctuation marks. This follows it in what sentences need: a word is a run of letters, marks and digits, with single
/// hyphens, apostrophes, periods, slashes and ampersands inside it, and commas between digits; the clitics 's, 'm, 'd,
/// 're, 've, 'll and n't are words of their own, and cannot, gonna, gotta and wanna are two; every other sign that is
/// no punctuation mark, such as £ or a bracket, is a word too.
/// It differs in the names of signs (£ is # there, a bracket -lrb-: no score changes in a text without those),
/// abbreviations (their last period is kept there), numbers with a sign, fractions, web addresses and emoticons.
package func captionTokens(of text: Scalars) -> [ArraySlice<UInt32>] {
    var result: [ArraySlice<UInt32>] = []
    // The typographer's apostrophe is the plain one.
    for word in words(of: lowercased(text).map({ $0 == 0x2019 ? apostrophe : $0 })) {
        var start = word.startIndex
        while start < word.endIndex {
            let end = endOfToken(word, start)
            let token = word[start..<end]
            if isWordPart(token[start]) {
                result += clitics(of: token)
            } else if !isDropped(token[start]) {
                result.append(token)
            }
            start = end
        }
    }
    return result
}

private let apostrophe: UInt32 = 0x27
private let endings = ["s", "m", "d", "re", "ve", "ll"].map(scalars)
private let contractions = ["cannot", "gonna", "gotta", "wanna"].map(scalars)

private func isWordPart(_ value: UInt32) -> Bool {
    if value < 0x80 { return isDigit(value) || (0x61...0x7A).contains(value) }
    guard let properties = Unicode.Scalar(value)?.properties else { return false }
    switch properties.generalCategory {
    case .nonspacingMark, .spacingMark, .decimalNumber, .letterNumber, .otherNumber: return true
    default: return properties.isAlphabetic
    }
}

/// The marks of pycocoevalcap's list, and the typographer's forms that the Java program writes as those.
private func isDropped(_ value: UInt32) -> Bool {
    switch value {
    case 0x21, 0x22, 0x27, 0x2C...0x2E, 0x3A, 0x3B, 0x3F, 0x60: true
    case 0x2013, 0x2014, 0x2018, 0x201A, 0x201C...0x201E, 0x2026: true
    default: false
    }
}

/// The end of the token that starts at `start`: behind the word, or behind the one sign.
private func endOfToken(_ word: ArraySlice<UInt32>, _ start: Int) -> Int {
    guard isWordPart(word[start]) else { return start + 1 }
    var end = start + 1
    while end < word.endIndex {
        if isWordPart(word[end]) {
            end += 1
        } else if end + 1 < word.endIndex, isWordPart(word[end + 1]),
            joins(word[end], between: word[end - 1], and: word[end + 1])
        {
            end += 2
        } else {
            break
        }
    }
    return end
}

private func joins(_ value: UInt32, between left: UInt32, and right: UInt32) -> Bool {
    switch value {
    case 0x26, apostrophe, 0x2D...0x2F: true
    case 0x2C: isDigit(left) && isDigit(right)
    default: false
    }
}

/// A word without its clitic, and the clitic: it 's, do n't. A word is never left empty.
private func clitics(of token: ArraySlice<UInt32>) -> [ArraySlice<UInt32>] {
    if contractions.contains(Array(token)) { return [token.prefix(3), token.dropFirst(3)] }
    guard let mark = token.lastIndex(where: { $0 == apostrophe }), mark > token.startIndex else { return [token] }
    let ending = Array(token[(mark + 1)...])
    if endings.contains(ending) { return [token[..<mark], token[mark...]] }
    let letterN = mark - 1
    guard ending == [0x74], letterN > token.startIndex, token[letterN] == 0x6E else { return [token] }
    return [token[..<letterN], token[letterN...]]
}
