import Datasets
import FewShot
import Files
import Glibc
import Support
import TestSupport
import Testing

@Suite struct FeatureExtractorTests {
    private let scratch: ScratchFolder
    private let task: ClassificationTask

    init() throws {
        scratch = try ScratchFolder()
        task = ClassificationTask(
            template: try Template("{text}"),
            verbalizer: try Verbalizer(["no": "bad", "yes": ["good", "fine"]], name: "words"))
    }

    private func texts(_ names: String...) -> [InputText] { names.map { InputText($0) } }

    private func extractor(
        _ source: FakeAnswers, task: ClassificationTask? = nil, flushInterval: Double = 10
    ) throws -> FeatureExtractor {
        try FeatureExtractor(
            task: task ?? self.task, sources: [source], cacheFolder: scratch["cache"], flushInterval: flushInterval)
    }

    private func fileCount() throws -> Int { try ScratchFolder.contents(of: scratch["cache"]).count }

    @Test func eachDistinctTextIsAskedOnce() throws {
        let source = FakeAnswers(words: 3)
        let extractor = try extractor(source)
        var steps: [[Int]] = []
        let features = try extractor.features(of: texts("one", "three", "one", "sixteen", "three")) {
            steps.append([$0, $1])
            return true
        }
        #expect(source.asked.sorted() == ["one", "sixteen", "three"])
        #expect(steps == [[0, 3], [2, 3], [3, 3]])
        // In the order of the texts, not of the answers.
        #expect(features.hidden == [3, 3.25, 5, 5.25, 3, 3.25, 7, 7.25, 5, 5.25])
        // The class "yes" has the greater score of its two words.
        #expect(features.scores == [3, 2, 5, 4, 3, 2, 0, -1, 5, 4])
        #expect(features.count == 5 && features.classes == 2 && features.width == 2)
        _ = try extractor.features(of: texts("sixteen", "four"))
        #expect(source.queryCount == 4)
    }

    /// Probabilities are among all words; a class has that of its likeliest.
    @Test func probabilitiesAreThoseOfWords() throws {
        let features = try extractor(FakeAnswers(words: 3)).features(of: texts("a"))
        let sum = exp(0.0) + exp(-1.0) + exp(-2.0)
        for (found, expected) in zip(features.probabilities, [1 / sum, exp(-1.0) / sum]) {
            #expect(abs(Double(found) - expected) < 1e-6)
        }
    }

    @Test func aFailureKeepsWhatWasDelivered() throws {
        let source = FakeAnswers(words: 3)
        source.limit = 4
        let all = (0..<9).map { InputText("text \($0)") }
        expectError(.io, "the line is dead") { try extractor(source).features(of: all) }
        let next = FakeAnswers(words: 3)
        _ = try extractor(next).features(of: all)
        #expect(Set(next.asked).isDisjoint(with: source.asked))
        #expect(source.queryCount == 4 && next.queryCount == 5)
    }

    @Test func cancellingKeepsWhatWasDelivered() throws {
        let source = FakeAnswers(words: 3)
        expectError(.cancelled, "cancelled") {
            try extractor(source).features(of: texts("a", "bb", "ccc", "dddd", "eeeee")) { done, _ in done < 4 }
        }
        let next = FakeAnswers(words: 3)
        _ = try extractor(next).features(of: texts("a", "bb", "ccc", "dddd", "eeeee"))
        #expect(next.asked == ["a"])
    }

    /// A killed process loses the answers since the last write, not those of hours.
    @Test func answersAreWrittenWhileOthersAreAwaited() throws {
        var counts: [Int] = []
        let extractor = try extractor(FakeAnswers(words: 3), flushInterval: 0)
        _ = try extractor.features(of: texts("a", "bb", "ccc", "dddd")) { _, _ in
            counts.append((try? fileCount()) ?? -1)
            return true
        }
        #expect(counts == [0, 1, 2])
    }

    @Test func withoutAnIdentityNothingIsKept() throws {
        _ = try extractor(FakeAnswers(words: 3, identity: nil)).features(of: texts("a"))
        #expect(!FileSystem.exists(scratch["cache"]))
    }

    /// Another model, template, list of words or rule for several tokens has other answers.
    @Test func keysAreApart() throws {
        _ = try extractor(FakeAnswers(words: 3)).features(of: texts("a"))
        var others = [task, task, task]
        others[0] = ClassificationTask(template: try Template("{text}!"), verbalizer: task.verbalizer)
        others[1].verbalizer = try Verbalizer(["no": "bad", "yes": ["good", "nice"]], name: "words")
        others[2].multiToken = .mean
        for other in others {
            let source = FakeAnswers(words: 3)
            _ = try extractor(source, task: other).features(of: texts("a"))
            #expect(source.queryCount == 1)
        }
        let model = FakeAnswers(words: 3, identity: "another")
        _ = try extractor(model).features(of: texts("a"))
        #expect(model.queryCount == 1)
        // What is made of the answers is no part of the key.
        var probable = task
        probable.scoreKind = .probability
        let source = FakeAnswers(words: 3)
        _ = try extractor(source, task: probable).features(of: texts("a"))
        #expect(source.queryCount == 0)
    }

    /// Without a head: 20 times the cosine with the label words, which are asked once, and kept.
    @Test func similaritiesToLabelWords() throws {
        let vectors: [String: [Float]] = [
            "bad": [2, 0], "good": [0, 3], "fine": [1, 1], "text": [3, 4], "none": [0, 0],
        ]
        func source() -> FakeAnswers { FakeAnswers(words: 0) { vectors[$0] ?? [1, 0] } }
        let first = source()
        let extractor = try extractor(first)
        let features = try extractor.features(of: texts("text", "none", "bad"))
        let expected: [Float] = [12, 20 * 7 / 50.0.squareRoot().asFloat, 0, 0, 20, 20 * 0.5.squareRoot().asFloat]
        for (found, right) in zip(features.scores, expected) { #expect(abs(found - right) < 1e-5) }
        #expect(features.scores.count == 6 && features.hidden == [3, 4, 0, 0, 2, 0])
        // "bad" is a text as well as a word.
        #expect(first.asked.sorted() == ["bad", "fine", "good", "none", "text"])
        _ = try extractor.features(of: texts("other"))
        #expect(first.queryCount == 6)
        let second = source()
        _ = try self.extractor(second).features(of: texts("text"))
        #expect(second.queryCount == 0)
    }

    /// The text for calibration and label words have an empty second text where the template needs one.
    @Test func emptyTextsOfPairs() throws {
        let pairs = ClassificationTask(template: try Template("{text} and {text_b}"), verbalizer: task.verbalizer)
        let source = FakeAnswers(words: 0)
        let extractor = try extractor(source, task: pairs)
        _ = try extractor.emptyFeatures()
        #expect(source.asked.sorted() == ["", "bad", "fine", "good"])
        _ = try extractor.features(of: [InputText("", "")])
        #expect(source.queryCount == 4)
    }

    @Test func answersThatAreNotFiniteAreRefused() throws {
        let source = FakeAnswers(words: 3) { _ in [.nan, 0] }
        expectError(.numeric, "hidden", "nan") { try extractor(source).features(of: texts("a")) }
        #expect(try fileCount() == 0)
    }
}

extension Double {
    fileprivate var asFloat: Float { Float(self) }
}
