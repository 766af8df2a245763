import Datasets
import FewShot
import Support
import TestSupport
import Testing

@Suite struct InContextTests {
    private let template = Result { try Template("{text} Mood: [MASK]") }
    private let examples = (1...5).map { (input: InputText("t\($0)"), word: "w\($0)") }

    private func solved(_ numbers: some Sequence<Int>) -> String {
        numbers.map { "t\($0) Mood: w\($0)\n\n" }.joined()
    }

    private func build(_ limit: Int, counts: inout Int) throws -> InContextPrompt {
        var calls = 0
        defer { counts = calls }
        return try InContextPrompt(
            demonstrations: examples, query: InputText("q"), template: template.get(), limit: limit
        ) { text in
            calls += 1
            return text.split(whereSeparator: \.isWhitespace).count
        }
    }

    @Test func demonstrationsComeFirst() throws {
        var calls = 0
        let built = try build(100, counts: &calls)
        #expect(built.kept == 5)
        #expect(built.prompt.before == solved(1...5) + "q Mood:")
        #expect(built.prompt.after == nil && built.prompt.wordPrefix == " ")
        #expect(calls == 2)
    }

    @Test func theFirstOnesAreLeftOut() throws {
        var calls = 0
        // Three words a demonstration, two for the query.
        for limit in 2...17 {
            let built = try build(limit, counts: &calls)
            #expect(built.kept == (limit - 2) / 3)
            #expect(built.prompt.before == solved((1...5).suffix(built.kept)) + "q Mood:")
        }
        expectError(.invalidArgument, "\"q\"", "2 tokens", "limit is 1") { try build(1, counts: &calls) }
    }

    @Test func theAnswerMustStandAtTheEnd() {
        expectError(.incompatible, "after [MASK]") {
            try InContextPrompt(
                demonstrations: [], query: InputText("q"), template: Template("[MASK] {text}"), limit: 9
            ) { $0.count }
        }
    }
}
