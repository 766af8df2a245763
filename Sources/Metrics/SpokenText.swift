import Support

/// A text as error rates of speech count it where cases and punctuation are no matter: lower case, without what stands in
/// brackets, marks, symbols and punctuation as spaces, each run of white space as one space.
///
/// Equals `BasicTextNormalizer` of transformers' Whisper but for the lower case of a capital sigma at the end of a word.
/// - Throws: `SeamError(.outOfMemory)`.
func spokenText(_ text: String) throws -> String {
    let inBrackets = withoutBrackets(lowercased(scalars(of: text)), "<[", ">]", mayBeEmpty: true)
    let rest = withoutBrackets(inBrackets, "(", ")", mayBeEmpty: false)
    let normal = try unicodeNormalized(utf8(rest)[...], composes: true, compatibly: true)
    let plain = scalars(of: String(decoding: normal, as: UTF8.self)).map { isMarkOrSign($0) ? 0x20 : $0 }
    var result = Scalars()
    for scalar in lowercased(plain) {
        guard isSpace(scalar) else {
            result.append(scalar)
            continue
        }
        if result.last != 0x20 { result.append(0x20) }
    }
    return String(decoding: utf8(result), as: UTF8.self)
}

/// Without the pieces from an opening sign to the next closing one.
/// - Parameter mayBeEmpty: whether a piece may have nothing between the two.
private func withoutBrackets(_ text: Scalars, _ opening: String, _ closing: String, mayBeEmpty: Bool) -> Scalars {
    let (opening, closing) = (Set(scalars(of: opening)), Set(scalars(of: closing)))
    var (result, position) = (Scalars(), 0)
    while position < text.count {
        let inside = text[(position + 1)...]
        if opening.contains(text[position]), let end = inside.firstIndex(where: closing.contains),
            mayBeEmpty || end > position + 1
        {
            position = end + 1
        } else {
            result.append(text[position])
            position += 1
        }
    }
    return result
}

private func utf8(_ text: Scalars) -> [UInt8] {
    var view = String.UnicodeScalarView()
    for value in text { view.append(Unicode.Scalar(value) ?? "\u{FFFD}") }
    return Array(String(view).utf8)
}

/// Whether a scalar is a mark (M), a symbol (S) or punctuation (P).
private func isMarkOrSign(_ value: UInt32) -> Bool {
    guard let category = Unicode.Scalar(value)?.properties.generalCategory else { return false }
    return switch category {
    case .nonspacingMark, .spacingMark, .enclosingMark, .mathSymbol, .currencySymbol, .modifierSymbol, .otherSymbol,
        .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation,
        .finalPunctuation, .otherPunctuation:
        true
    default: false
    }
}
