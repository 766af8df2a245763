import Generation
import Testing

/// Replays what Hugging Face `generate` gave (Fixtures/make_fixtures.py).
@Suite struct HuggingFaceTests {
    @Test func fixturesAreThere() {
        #expect(SearchCase.all.count > 200)
    }

    @Test(arguments: SearchCase.all) func givesTheSameSequences(_ search: SearchCase) throws {
        let results = try generate(stepper: search.model, batch: search.integer("batch"), options: search.options)
        let expected = search.expected
        let found = results.flatMap { $0 }
        #expect(found.map(\.tokens) == expected.map(\.tokens))
        for (one, other) in zip(found, expected) {
            #expect(isClose(one.score, other.score))
            #expect(one.tokenLogProbabilities.count == one.tokens.count)
            for (p, q) in zip(one.tokenLogProbabilities, other.tokenLogProbabilities) { #expect(isClose(p, q)) }
        }
    }

    /// Float log-softmax and sums: a few units in the last place of the largest term.
    private func isClose(_ a: Float, _ b: Float) -> Bool {
        a == b || (a - b).magnitude <= 3e-6 * max(1, a.magnitude, b.magnitude)
    }
}
