import Support

/// A normal form of Unicode, by utf8proc.
///
/// The tables of `tokenizers` are of Unicode 9: characters that came later stand as they are and part the marks
/// before them from those behind. Since normal forms of assigned characters never change (Unicode Standard Annex 15,
/// section 3), any newer library serves for what lies between.
enum UnicodeForm: Sendable {
    case nfc, nfd, nfkc, nfkd

    /// Throws `SeamError(.outOfMemory)`.
    func apply(to text: [UInt8]) throws -> [UInt8] {
        // Up to U+00BF or, where nothing compatible is replaced and marks do not decompose, U+02FF (0xCB 0xBF).
        let unchanged: UInt8 =
            switch self {
            case .nfc: 0xCB
            case .nfd, .nfkc, .nfkd: 0x7F
            }
        guard !text.allSatisfy({ $0 <= unchanged }) else { return text }
        var result: [UInt8] = []
        result.reserveCapacity(text.count + text.count / 2)
        var start = 0
        try forEachScalar(in: text, text.indices) { scalar, range in
            guard scalar.value >= 0x300, !scalar.isAssigned(in: (9, 0)) else { return }
            try append(text, start..<range.lowerBound, to: &result)
            result += text[range]
            start = range.upperBound
        }
        try append(text, start..<text.count, to: &result)
        return result
    }

    private func append(_ text: [UInt8], _ range: Range<Int>, to result: inout [UInt8]) throws {
        result += try unicodeNormalized(
            text[range], composes: self == .nfc || self == .nfkc, compatibly: self == .nfkc || self == .nfkd)
    }
}

/// NFC, NFD, NFKC or NFKD.
struct FormNormalizer: Normalizer {
    private let form: UnicodeForm

    init(_ form: UnicodeForm) { self.form = form }

    static func make(_ form: UnicodeForm) -> (TokenizerPart) throws -> any Normalizer {
        { part in
            try part.allow("type")
            return FormNormalizer(form)
        }
    }

    func normalize(_ text: [UInt8], lead: inout Int) throws -> [UInt8] {
        let result = try form.apply(to: text)
        lead = min(try form.apply(to: Array(text[..<lead])).count, result.count)
        // The first character may have taken a mark behind it in.
        while lead > 0, lead < result.count, result[lead] & 0xC0 == 0x80 { lead += 1 }
        return result
    }
}

/// Removes combining marks; does not decompose letters that have one.
struct StripAccents: CharacterNormalizer {
    init(_ part: TokenizerPart) throws { try part.allow("type") }

    func rewrite(_ text: [UInt8]) -> [UInt8] { filtered(text) { !$0.isCombiningMark } }
}

/// The scalars of `text` for which `keeps` holds.
func filtered(_ text: [UInt8], _ keeps: (Unicode.Scalar) -> Bool) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(text.count)
    forEachScalar(in: text, text.indices) { scalar, range in
        if keeps(scalar) { result += text[range] }
    }
    return result
}
