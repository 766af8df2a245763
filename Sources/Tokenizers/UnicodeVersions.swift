/// The classes of characters as Hugging Face `tokenizers` 0.23 knows them. It takes them from several libraries, each
/// with a version of Unicode of its own; what was assigned later is unassigned there. Swift 6.3 knows Unicode 17.
extension Unicode.Scalar {
    /// Whether the scalar was assigned by that version.
    func isAssigned(in version: Unicode.Version) -> Bool {
        guard let age = properties.age else { return false }
        return age.major < version.major || age.major == version.major && age.minor <= version.minor
    }

    /// `is_punctuation` of its crate unicode_categories, of Unicode 8, or a sign of ASCII.
    var isPunctuation: Bool {
        if value < 0x80 { return value > 0x20 && value < 0x7F && !isASCIILetter && !isASCIIDigit }
        switch properties.generalCategory {
        case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation,
            .finalPunctuation, .otherPunctuation:
            return isAssigned(in: (8, 0))
        default:
            // Two were punctuation in Unicode 8 and are none today.
            return value == 0x166D || value == 0x111C9
        }
    }

    /// `is_other` of unicode_categories, of Unicode 8: control, format and private use.
    var isOther: Bool {
        if value < 0x80 { return value < 0x20 || value == 0x7F }
        switch properties.generalCategory {
        case .control, .format, .privateUse: return isAssigned(in: (8, 0))
        default: return false
        }
    }

    /// `is_mark_nonspacing` of unicode_categories, of Unicode 8.
    var isNonspacingMark: Bool {
        if value < 0x300 { return false }
        switch value {
        // Since then the category of these six has changed.
        case 0x1734, 0x1171E: return true
        case 0x1885, 0x1886, 0xA9BD, 0x111C9: return false
        default: return properties.generalCategory == .nonspacingMark && isAssigned(in: (8, 0))
        }
    }

    /// `is_combining_mark` of its crate unicode-normalization-alignments, of Unicode 9.
    var isCombiningMark: Bool {
        if value < 0x300 { return false }
        switch value {
        case 0x1CF2, 0x1CF3: return true
        case 0x111C9: return false
        default: break
        }
        switch properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark: return isAssigned(in: (9, 0))
        default: return false
        }
    }

    /// `char::is_numeric` of Rust: a number of any kind.
    var isNumeric: Bool {
        if value < 0x80 { return isASCIIDigit }
        switch properties.generalCategory {
        case .decimalNumber, .letterNumber, .otherNumber: return true
        default: return false
        }
    }

    var isASCIILetter: Bool { (0x61...0x7A).contains(value | 0x20) }
    var isASCIIDigit: Bool { (0x30...0x39).contains(value) }
}

/// What the patterns of byte-level tokenizers tell apart: `\p{L}`, `\p{N}`, `\s` and the rest, as the Oniguruma
/// that `tokenizers` brings along knows them, by Unicode 16.
enum PatternClass {
    case letter, number, space, other

    init(_ scalar: Unicode.Scalar) {
        if scalar.value < 0x80 {
            if scalar.isASCIILetter {
                self = .letter
            } else if scalar.isASCIIDigit {
                self = .number
            } else {
                self = scalar.isWhiteSpace ? .space : .other
            }
            return
        }
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter:
            self = scalar.isAssigned(in: (16, 0)) ? .letter : .other
        case .decimalNumber, .letterNumber, .otherNumber:
            self = scalar.isAssigned(in: (16, 0)) ? .number : .other
        default:
            self = scalar.isWhiteSpace ? .space : .other
        }
    }
}
