import Datasets
import Support

/// The kinds of models that can be asked for a label, which differ in where the answer stands.
public enum PromptedModel: Sendable, CaseIterable {
    /// Fills in a mask token anywhere in the text (BERT, RoBERTa).
    case masked
    /// Continues the text (GPT, Llama; the decoder of an encoder-decoder model).
    case causal
    /// Gives a vector for the text and no words.
    case sentenceEncoder
}

/// A text as a model gets it, in two halves around the place of the answer.
public struct Prompt: Sendable, Equatable {
    /// What stands before the answer; ends without a space when the answer is at the end.
    public var before: String
    /// What stands after the mask, which may be empty; nil when the answer continues the text.
    public var after: String?
    /// What a label word begins with at this place: " " after a space, else "". Tokenizers that keep the space with the
    /// word (byte-level BPE) know " great" and "great" as different words.
    public var wordPrefix: String

    /// A prompt of these parts.
    public init(before: String, after: String?, wordPrefix: String) {
        self.before = before
        self.after = after
        self.wordPrefix = wordPrefix
    }

    /// The whole text with `word` as the answer.
    public func answered(with word: String) -> String {
        guard let after else { return before + wordPrefix + word }
        return before + word + after
    }
}

/// A prompt with places for the texts and for the answer: `{text} In summary, it was [MASK].`
///
/// `{text}` is the text; `{text_b}` is the second text of a pair; `[MASK]`, at most once, is where the answer stands;
/// without it the answer continues the prompt. `{{` and `}}` stand for single braces. What the texts themselves hold is
/// never looked at, braces and `[MASK]` included.
public struct Template: Sendable {
    private enum Piece: Equatable {
        case literal(String)
        case text
        case textB
        case mask
    }

    /// The template as it was given.
    public let source: String
    private let pieces: [Piece]

    /// Whether a second text is needed.
    public var needsTextB: Bool { pieces.contains(.textB) }
    /// Whether there is a `[MASK]`.
    public var hasMask: Bool { pieces.contains(.mask) }

    /// What label words begin with in every prompt of this template; see `Prompt.wordPrefix`. It follows from the
    /// template's own letters alone, so that label words are the same tokens for all texts.
    public var wordPrefix: String {
        let end = pieces.firstIndex(of: .mask) ?? pieces.endIndex
        if end > 0, case .literal(let letters) = pieces[end - 1], letters.utf8.last == 0x20 { return " " }
        return ""
    }

    /// Reads a template.
    ///
    /// Throws `SeamError(.format)` without a `{text}`, for an unknown placeholder, for two masks, and for a single
    /// brace.
    public init(_ source: String) throws {
        self.source = source
        var parser = Parser(source)
        pieces = try parser.pieces()
        guard pieces.contains(.text) else { throw Self.error(source, "there is no {text} in it") }
        let masks = pieces.count { $0 == .mask }
        guard masks <= 1 else { throw Self.error(source, "expected at most one [MASK], found \(masks)") }
    }

    private init(source: String, pieces: [Piece]) {
        self.source = source
        self.pieces = pieces
    }

    /// A template that suits sentiment and many other tasks; the words are those of the reviews in DecT (Cui et al.
    /// 2023, appendix A).
    public static func `default`(for model: PromptedModel) -> Template {
        let summary = " In summary, it was "
        return switch model {
        case .masked:
            Template(
                source: "{text}\(summary)[MASK].", pieces: [.text, .literal(summary), .mask, .literal(".")])
        case .causal: Template(source: "{text}\(summary)", pieces: [.text, .literal(summary)])
        case .sentenceEncoder: Template(source: "{text}", pieces: [.text])
        }
    }

    /// This template for a model that continues the text: a `[MASK]` at the end goes, as the answer stands there
    /// anyway.
    ///
    /// Throws `SeamError(.incompatible)` when anything follows the mask, which such a model cannot see.
    public func answeringAtEnd() throws -> Template {
        guard let mask = pieces.firstIndex(of: .mask) else { return self }
        guard mask == pieces.count - 1 else {
            throw SeamError(
                .incompatible,
                "the template \(source.debugDescription) has text after [MASK], but this model continues the prompt, so"
                    + " that the answer must stand at its end")
        }
        return Template(source: source, pieces: Array(pieces.dropLast()))
    }

    /// The prompt for a text or, where the template has `{text_b}`, a pair.
    ///
    /// Without a mask, spaces at the end of the prompt are cut; those of the template come back as `wordPrefix`. Throws
    /// `SeamError(.invalidArgument)` when `textB` is missing, or given though the template has no place for it.
    public func render(text: String, textB: String? = nil) throws -> Prompt {
        guard needsTextB == (textB != nil) else {
            throw SeamError(
                .invalidArgument,
                needsTextB
                    ? "the template \(source.debugDescription) has {text_b}, but the text has no second text"
                    : "the template \(source.debugDescription) has no {text_b}, but the text has a second text")
        }
        func joined(_ pieces: ArraySlice<Piece>) -> String {
            pieces.map { piece in
                switch piece {
                case .literal(let letters): letters
                case .text: text
                case .textB: textB ?? ""
                case .mask: ""
                }
            }.joined()
        }
        if let mask = pieces.firstIndex(of: .mask) {
            return Prompt(
                before: joined(pieces[..<mask]), after: joined(pieces[(mask + 1)...]), wordPrefix: wordPrefix)
        }
        let whole = joined(pieces[...])
        let end = whole.unicodeScalars.lastIndex { $0 != " " }.map(whole.unicodeScalars.index(after:))
        return Prompt(before: String(whole[..<(end ?? whole.startIndex)]), after: nil, wordPrefix: wordPrefix)
    }

    /// Fills in a text or pair of a data set, as above.
    public func render(_ input: InputText) throws -> Prompt { try render(text: input.text, textB: input.textB) }

    private static func error(_ source: String, _ sentence: String) -> SeamError {
        SeamError(.format, "the template \(source.debugDescription) cannot be used, \(sentence)")
    }

    private struct Parser {
        let source: String
        var rest: Substring.UnicodeScalarView
        var result: [Piece] = []
        var letters = String.UnicodeScalarView()

        init(_ source: String) {
            self.source = source
            rest = source[...].unicodeScalars
        }

        mutating func pieces() throws -> [Piece] {
            while let scalar = rest.first {
                if take("{{") {
                    letters.append("{")
                } else if take("}}") {
                    letters.append("}")
                } else if take("[MASK]") {
                    add(.mask)
                } else if scalar == "{" {
                    try placeholder()
                } else if scalar == "}" {
                    throw Template.error(source, "it has a } without a {; a brace itself is written }}")
                } else {
                    letters.append(rest.removeFirst())
                }
            }
            add(nil)
            return result
        }

        private mutating func placeholder() throws {
            guard let end = rest.firstIndex(of: "}") else {
                throw Template.error(source, "it has a { without a }; a brace itself is written {{")
            }
            let name = String(rest[..<end].dropFirst())
            switch name {
            case "text": add(.text)
            case "text_b": add(.textB)
            default: throw Template.error(source, "{\(name)} is unknown, known are {text} and {text_b}")
            }
            rest = rest[rest.index(after: end)...]
        }

        private mutating func take(_ word: String) -> Bool {
            guard rest.starts(with: word.unicodeScalars) else { return false }
            rest.removeFirst(word.unicodeScalars.count)
            return true
        }

        private mutating func add(_ piece: Piece?) {
            if !letters.isEmpty { result.append(.literal(String(letters))) }
            letters = String.UnicodeScalarView()
            if let piece { result.append(piece) }
        }
    }
}
