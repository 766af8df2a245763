import Metrics
import Support
import Testing

@Suite struct MetricTests {
    @Test func fixturesAreThere() {
        #expect(MetricGroup.all.count == 94)
        #expect(MetricGroup.dataToText.count == 54)
        #expect(MetricGroup.dataToText.contains { $0.references.contains { $0.count == 8 } })
        #expect(MetricGroup.all.reduce(0) { $0 + $1.hypotheses.count } > 300)
    }

    /// Sums run in the same order as in the libraries, so only the last digits may differ.
    @Test(arguments: MetricGroup.all) func agreesWithTheLibraries(_ group: MetricGroup) throws {
        for (name, expected) in group.scores {
            let found = try score(name, group)
            let tolerance = 1e-9 * max(expected.magnitude, 1e-12)
            #expect((found - expected).magnitude <= tolerance, "\(name): expected \(expected), found \(found)")
        }
    }

    /// Up to eight references, with the tokenizers of those programs. NIST and CIDEr sum logarithms in another order
    /// than Python's dictionaries do, some thousand terms with an error of 1e-16 each.
    @Test(arguments: MetricGroup.dataToText) func agreesWithTheProgramsOfTheE2EChallenge(_ group: MetricGroup) throws {
        for (name, expected) in group.scores {
            let metric = try #require(TextMetric(rawValue: name))
            let found = try metric.value(hypotheses: group.hypotheses, references: group.references)
            let tolerance = 1e-9 * max(expected.magnitude, 1e-3)
            #expect((found - expected).magnitude <= tolerance, "\(name): expected \(expected), found \(found)")
        }
    }

    @Test(arguments: MetricGroup.errorRates) func errorRatesAreThoseOfJiwer(_ group: MetricGroup) throws {
        for (name, expected) in group.scores {
            let metric = try #require(TextMetric(rawValue: name))
            let found = try metric.value(hypotheses: group.hypotheses, references: group.references)
            #expect((found - 100 * expected).magnitude <= 1e-9 * max(100 * expected, 1), "\(name)")
        }
    }

    /// jiwer has no several references.
    @Test func errorRatesOfSeveralReferences() throws {
        #expect(MetricGroup.errorRates.count == 49)
        // One error in two words, and one in four, which is fewer a word.
        let references = [["a x", "a b c y"], ["d"]]
        #expect(try wordErrorRate(hypotheses: ["a b c d", "d"], references: references) == 1.0 / 5)
        #expect(try characterErrorRate(hypotheses: ["ab"], references: [["", "abcd"]]) == 0.5)
    }

    @Test func captionTokensAreThoseOfTheJavaProgram() {
        #expect(MetricGroup.captionTokens.count > 30)
        func tokens(_ text: String) -> [String] {
            captionTokens(of: scalars(of: text)).map { token in
                String(String.UnicodeScalarView(token.map { Unicode.Scalar($0)! }))
            }
        }
        for (text, expected) in MetricGroup.captionTokens { #expect(tokens(text) == expected, "\(text)") }
        #expect(
            tokens("n't can't rock'n'roll x\u{173}'\u{173} -- 1,5 a,b") == [
                "n't", "ca", "n't", "rock'n'roll", "x\u{173}'\u{173}", "1,5", "a", "b",
            ])
        #expect(tokens(" ...?! ") == [])
    }

    @Test func metricsByName() throws {
        let scores = try TextMetric.compute(
            [.exactMatch, .cider, .rougeLCoco], hypotheses: ["a", "b c"], references: [["a"], ["b", "c d"]])
        #expect(scores.map(\.name) == ["exact_match", "cider", "rouge_l_coco"])
        #expect(scores[0].value == 50)
        // Of "b c" half is in either reference, whose whole is "b" for one of them.
        #expect((scores[2].value - 100 * (1 + 2.44 * 0.5 / (1 + 1.44 * 0.5)) / 2).magnitude < 1e-12)
    }

    private func score(_ name: String, _ group: MetricGroup) throws -> Double {
        let words = name.split(separator: " ")
        let (hypotheses, references) = (group.hypotheses, group.references)
        switch words[0] {
        case "bleu":
            return try corpusBLEU(
                hypotheses: hypotheses, references: references, tokenizer: BLEUTokenizer(rawValue: String(words[1]))!,
                smoothing: words[2] == "exp" ? .exponential : .none, effectiveOrder: words[3] == "1"
            ).score
        case "bp":
            return try corpusBLEU(
                hypotheses: hypotheses, references: references, tokenizer: BLEUTokenizer(rawValue: String(words[1]))!
            ).brevityPenalty
        case "chrf":
            return try corpusChrF(
                hypotheses: hypotheses, references: references, characterOrder: words[2] == "1" ? 4 : 6,
                wordOrder: Int(words[1])!, beta: Double(words[2])!)
        case "rouge":
            let score = try meanRougeL(hypotheses: hypotheses, references: references)
            return words[1] == "precision" ? score.precision : words[1] == "recall" ? score.recall : score.fMeasure
        default:
            return try exactMatch(hypotheses: hypotheses, references: references)
        }
    }

    @Test func tokenizersSeparatePunctuation() {
        #expect(
            BLEUTokenizer.thirteenA.tokens(of: "Dr. X's 1,234.5, a-b 7-8 (x). &amp;lt;\n")
                == ["Dr", ".", "X's", "1,234.5", ",", "a-b", "7", "-", "8", "(", "x", ")", ".", "<"])
        #expect(BLEUTokenizer.character.tokens(of: "a\u{301} b ") == ["a", "\u{301}", "b"])
        #expect(BLEUTokenizer.none.tokens(of: " a,b\u{3000}c ") == ["a,b", "c"])
    }

    @Test func refusesCorporaOfTheWrongShape() {
        func code(_ body: () throws -> some Any) -> ErrorCode? {
            do {
                _ = try body()
                return nil
            } catch {
                return (error as? SeamError)?.code
            }
        }
        #expect(code { try corpusBLEU(hypotheses: [], references: []) } == .invalidArgument)
        #expect(code { try corpusBLEU(hypotheses: ["a"], references: []) } == .shape)
        #expect(code { try corpusBLEU(hypotheses: ["a"], references: [["a"]], maxOrder: 0) } == .invalidArgument)
        #expect(code { try corpusChrF(hypotheses: ["a"], references: [[]]) } == .invalidArgument)
        #expect(code { try corpusChrF(hypotheses: ["a"], references: [["a"]], characterOrder: 0) } == .invalidArgument)
        #expect(code { try corpusChrF(hypotheses: ["a"], references: [["a"]], wordOrder: -1) } == .invalidArgument)
        #expect(code { try corpusChrF(hypotheses: ["a"], references: [["a"]], beta: 0) } == .invalidArgument)
        #expect(code { try meanRougeL(hypotheses: ["a"], references: [["a"], ["b"]]) } == .shape)
        #expect(code { try exactMatch(hypotheses: [], references: []) } == .invalidArgument)
        #expect(code { try corpusNIST(hypotheses: ["a"], references: [["a"]], maxOrder: 0) } == .invalidArgument)
        for metric in TextMetric.allCases {
            #expect(code { try metric.value(hypotheses: [], references: []) } == .invalidArgument)
            #expect(code { try metric.value(hypotheses: ["a"], references: [["a"], ["b"]]) } == .shape)
            #expect(code { try metric.value(hypotheses: ["a"], references: [[]]) } == .invalidArgument)
        }
    }

    @Test func tokenAccuracySkipsIgnoredLabels() throws {
        var accuracy = TokenAccuracy()
        #expect(accuracy.value == 0)
        try accuracy.add(predictions: [1, 2, 3, 4], labels: [1, 9, -100, 4])
        try accuracy.add(predictions: [7], labels: [7])
        #expect((accuracy.correct, accuracy.total) == (3, 4))
        #expect(accuracy.value == 0.75)
        #expect(throws: SeamError.self) { try accuracy.add(predictions: [1], labels: []) }
    }
}
