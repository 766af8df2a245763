import Testing

/// The reader of the other tests finds what is wrong.
@Suite struct MarkupTests {
    @Test func wellFormed() throws {
        let root = try Element(parsing: "<a x=\"1 &lt; 2\"><b/>t&amp;u<c-2 y=\"\">v</c-2></a>\n")
        #expect(root["x"] == "1 < 2" && root.text == "t&u" && root.all.map(\.name) == ["a", "b", "c-2"])
    }

    @Test(arguments: [
        "", "a", "<a>", "<a></b>", "<a><b></a></b>", "<a x=1/>", "<a x=\"1\"y=\"2\"/>", "<a x=\"1\" x=\"2\"/>",
        "<a>&</a>", "<a>&lt</a>", "<a>></a>", "<a x=\"<\"/>", "<a/><b/>", "<a>\u{1}</a>", "<a x=\"1/>",
    ])
    func broken(_ markup: String) {
        #expect(throws: MarkupError.self) { try Element(parsing: markup) }
    }
}
