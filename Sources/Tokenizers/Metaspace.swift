import Files

/// Puts a visible character in the place of each space and in front of the text, and cuts before it.
struct Metaspace: PreTokenizer, TokenDecoder {
    private enum Scheme {
        case always, first, never
    }

    private let replacement: Unicode.Scalar
    private let scheme: Scheme
    private let cuts: Bool

    /// SentencePiece's own character.
    /// - Parameter prepends: whether each text gets it in front.
    init(prepends: Bool) { (replacement, scheme, cuts) = ("\u{2581}", prepends ? .always : .never, true) }

    init(_ part: TokenizerPart) throws {
        try part.allow("type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep")
        let text = try part.string("replacement")
        guard text.unicodeScalars.count == 1 else {
            throw part.error(.format, "must have one character as \"replacement\", found \"\(text)\"")
        }
        replacement = text.unicodeScalars.first!
        let named: Scheme =
            part.member("prepend_scheme") == nil
            ? .always
            : try part.choice("prepend_scheme", ["always": .always, "first": .first, "never": .never])
        // The setting of older files.
        let prepends = try part.bool("add_prefix_space", default: true)
        guard prepends || named == .never || part.member("prepend_scheme") == nil else {
            throw part.error(.format, "has \"add_prefix_space\" false, which contradicts its \"prepend_scheme\"")
        }
        scheme = prepends ? named : .never
        cuts = try part.bool("split", default: true)
    }

    func apply(to pieces: inout Pieces) {
        let replacement = Array(String(replacement).utf8)
        let lead = pieces.lead
        pieces.rewrite { text, piece, result in
            let prepends: Bool =
                switch scheme {
                case .always: true
                case .first: piece.lowerBound < lead
                case .never: false
                }
            let startsWithIt = text[piece].first == 0x20 || text[piece].starts(with: replacement)
            if prepends && !startsWithIt { result += replacement }
            for byte in text[piece] {
                if byte == 0x20 { result += replacement } else { result.append(byte) }
            }
        }
        guard cuts else { return }
        let text = pieces.text
        pieces.replaceEach { piece, result in
            var start = piece.lowerBound
            forEachScalar(in: text, piece) { scalar, range in
                guard scalar == self.replacement else { return }
                result.append(start..<range.lowerBound)
                start = range.lowerBound
            }
            result.append(start..<piece.upperBound)
        }
    }

    func decode(_ tokens: [String]) -> [String] {
        tokens.enumerated().map { number, token in
            var text = String.UnicodeScalarView()
            for scalar in token.unicodeScalars {
                if scalar != replacement {
                    text.append(scalar)
                } else if number > 0 || scheme == .never {
                    text.append(" ")
                }
            }
            return String(text)
        }
    }
}
