/// One text to classify, or a pair of texts (a premise and a hypothesis, a question and a passage).
///
/// Two are equal when their UTF-8 bytes are: Swift's strings would take composed and decomposed accents for the same
/// text, but a tokenizer does not.
public struct InputText: Sendable, Equatable {
    /// The text.
    public var text: String
    /// The second text of a pair.
    public var textB: String?

    /// A text, or a pair.
    public init(_ text: String, _ textB: String? = nil) {
        self.text = text
        self.textB = textB
    }

    /// The bytes that tell this input from every other: those of the text and, for a pair, 0xFF, which no UTF-8 text
    /// holds, and those of the second text.
    package var bytes: [UInt8] {
        guard let textB else { return Array(text.utf8) }
        return Array(text.utf8) + [0xFF] + Array(textB.utf8)
    }

    /// Equal bytes.
    public static func == (one: InputText, other: InputText) -> Bool { one.bytes == other.bytes }
}
