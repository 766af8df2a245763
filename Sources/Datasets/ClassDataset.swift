import Support
import Tokenizers

/// Token id sequences with their classes, to train or score a classifier with, in the order of the file.
///
/// A value type without shared state, free to cross threads.
public struct ClassDataset: Sendable {
    /// The file that the texts came from, for error sentences.
    public let name: String
    public let sources: [[Int32]]
    /// The class of each, a place in `labelNames`.
    public let labels: [Int]
    public let labelNames: [String]

    public var count: Int { sources.count }

    /// - Parameters:
    ///   - maxLength: the most ids of the text of a row, special tokens included; nil is no limit.
    ///   - truncates: whether the end of a longer text is left out.
    /// - Throws: `SeamError`: `.unsupported` for pairs of texts, `.format` with the line for a text that is longer, and as
    ///   `Tokenizer.encode`. The tokenizer's own file may cut texts too (`truncationLength`).
    public init(_ texts: LabelledTexts, tokenizer: Tokenizer, maxLength: (_ row: Int) -> Int?, truncates: Bool = false)
        throws
    {
        guard !texts.inputs.contains(where: { $0.textB != nil }) else {
            throw SeamError(
                .unsupported, "\(texts.name): pairs of texts are classified by prompts only, expected single texts")
        }
        sources = try texts.inputs.enumerated().map { row, input in
            let maxLength = maxLength(row)
            let ids = try tokenizer.encode(input.text, maxLength: truncates ? maxLength : nil)
            guard !ids.isEmpty, ids.count <= maxLength ?? .max else {
                let expected = ids.isEmpty ? "at least 1 token" : "at most \(maxLength!) tokens"
                throw SeamError(
                    .format,
                    "\(texts.name), line \(texts.lines[row]): the text must have \(expected), found \(ids.count)")
            }
            return ids
        }
        (name, labels, labelNames) = (texts.name, texts.labels, texts.labelNames)
    }
}
