import Support
import Testing

@Suite struct SentenceTests {
    @Test(arguments: [
        ("a\u{0}b", "a\\u0000b"), ("line\nend\r\t", "line\\u000Aend\\u000D\\u0009"), ("\u{1B}[31m", "\\u001B[31m"),
        ("\u{7F}\u{80}\u{9B}\u{9F}", "\\u007F\\u0080\\u009B\\u009F"), ("\u{2028}\u{2029}", "\\u2028\\u2029"),
        (
            "\u{61C}\u{200E}\u{200F}\u{202A}\u{202E}\u{2066}\u{2069}",
            "\\u061C\\u200E\\u200F\\u202A\\u202E\\u2066\\u2069"
        ),
    ]) func controlsAreEscaped(text: String, escaped: String) {
        #expect(escapingControls(text) == escaped)
        #expect(escapingControls(escaped) == escaped)
        #expect(SeamError(.format, text, origin: text).description == "\(escaped): \(escaped)")
    }

    /// Letters of every script, marks, what joins the parts of an emoji, spaces, and the neighbours of what is escaped.
    @Test(arguments: [
        "", "plain \\ \"text\"", "é e\u{301} Ünïcödé", "שלום مرحبا", "漢字 かな", "👩‍👩‍👧 \u{200D}",
        "\u{A0}\u{200B}\u{2027}\u{202F}",
        "\u{2065}\u{206A}\u{61B}\u{10FFFF}",
    ]) func everythingElseStays(text: String) {
        #expect(Array(escapingControls(text).unicodeScalars) == Array(text.unicodeScalars))
    }
}
