import Generation
import Support
import Testing

/// What a speech model's decoder begins with. Tests/python/test_whisper_generation.py compares what is written, and the
/// rules on times, with transformers.
@Suite struct SpeechTests {
    private static let start: Int32 = 9

    private func settings(language: String? = nil, task: String? = nil) -> SpeechSettings {
        var settings = SpeechSettings(language: language, task: task)
        settings.languages = ["<|en|>": 10, "<|de|>": 11]
        settings.tasks = ["transcribe": 12, "translate": 13]
        settings.noTimestampsToken = 14
        return settings
    }

    private func beginning(_ change: (inout SpeechSettings) throws -> Void = { _ in }) throws -> [Int32?] {
        var settings = settings()
        try change(&settings)
        return try settings.beginning(behind: Self.start)
    }

    @Test func beginningsAreThoseOfTransformers() throws {
        #expect(try beginning() == [9, nil, 14])
        #expect(try beginning { $0.returnsTimestamps = true } == [9, nil])
        #expect(try beginning { try $0.choose(language: "DE") } == [9, 11, 12, 14])
        #expect(try beginning { try $0.choose(language: "<|en|>", task: "translate") } == [9, 10, 13, 14])
        #expect(try beginning { try $0.choose(task: "translate") } == [9, nil, 13, 14])
        #expect(try beginning { $0.forcedTokens = [nil, 13] } == [9, nil, 13, 14])
        #expect(try beginning { $0.forcedTokens = [11, 13, 14] } == [9, 11, 13, 14])
        #expect(try beginning { ($0.forcedTokens, $0.returnsTimestamps) = ([11, 14], true) } == [9, 11])
        #expect(try beginning { ($0.forcedTokens, $0.languages) = ([nil, 13], [:]) } == [9, 13, 14])
        #expect(try beginning { ($0.forcedTokens, $0.languages, $0.tasks) = ([14], [:], [:]) } == [9, 14])
        #expect(try settings(language: "en", task: "translate").beginning(behind: 9) == [9, 10, 13, 14])
    }

    @Test func whatIsNotKnownIsRefused() {
        func refused(_ code: ErrorCode, _ sentence: String, _ change: (inout SpeechSettings) throws -> Void) {
            let error = #expect(throws: SeamError.self) { try beginning(change) }
            #expect(error?.code == code && error?.message.contains(sentence) == true, "\(error?.message ?? "")")
        }
        refused(.invalidArgument, "option language: the model does not know \"fr\"; give one of de, en") {
            try $0.choose(language: "fr")
        }
        refused(.invalidArgument, "option task: the model does not know \"sing\"") { try $0.choose(task: "sing") }
        refused(.unsupported, "the model's settings name no languages to choose among, found \"en\"") {
            $0.isMultilingual = false
            try $0.choose(language: "en")
        }
        refused(.unsupported, "name no tasks to choose among") {
            $0.tasks = [:]
            try $0.choose(task: "translate")
        }
        refused(.invalidArgument, "option return_timestamps: the model's settings name no no_timestamps_token_id") {
            ($0.noTimestampsToken, $0.returnsTimestamps) = (nil, true)
        }
    }

    /// The same logits in every step.
    private final class Constant: DecoderStepper {
        let scores: [Float]
        var vocabularySize: Int { scores.count }

        init(_ scores: [Float]) { self.scores = scores }

        func step(tokens: [Int32], into logits: inout [Float]) { logits = scores }
        func reorder(rows: [Int32]) {}
    }

    /// By hand: times are 6 to 8, 5 says that there are none, 4 is the end, and 0 is the likeliest of the other words.
    /// A time comes first, text behind it, then a time since all of them together are likelier than the word; behind a
    /// second time not text but the end or a time, the same again; then text, behind which only the last time is left, which
    /// is less likely than the word.
    @Test func timesAreWrittenByTheRules() throws {
        var options = GenerationOptions(decoderStartToken: 3, eosTokens: [4], padToken: 4)
        options.maxNewTokens = 6
        options.speech = SpeechSettings()
        options.speech?.noTimestampsToken = 5
        options.speech?.returnsTimestamps = true
        let stepper = Constant([1, -5, -5, -5, -5, 9, 0.5, 0.4, 0.3])
        #expect(try generate(stepper: stepper, batch: 1, options: options)[0][0].tokens == [6, 0, 7, 7, 0, 0])
        options.speech?.maxInitialTimestampIndex = 0
        let late = Constant([1, -5, -5, -5, -5, 9, 0.3, 0.4, 0.5])
        #expect(try generate(stepper: late, batch: 1, options: options)[0][0].tokens[0] == 6)
        options.speech?.maxInitialTimestampIndex = nil
        #expect(try generate(stepper: late, batch: 1, options: options)[0][0].tokens[0] == 8)
    }

    @Test func tokensOutsideTheVocabularyAreRefused() {
        var options = GenerationOptions(decoderStartToken: 9, eosTokens: [8], padToken: 8)
        options.speech = settings()
        #expect(throws: Never.self) { try options.validate(vocabularySize: 15) }
        let error = #expect(throws: SeamError.self) { try options.validate(vocabularySize: 14) }
        #expect(error?.message == "option no_timestamps_token_id: expected a token in 0..<14, found 14")
    }
}
