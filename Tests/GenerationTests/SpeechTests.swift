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

    @Test func tokensOutsideTheVocabularyAreRefused() {
        var options = GenerationOptions(decoderStartToken: 9, eosTokens: [8], padToken: 8)
        options.speech = settings()
        #expect(throws: Never.self) { try options.validate(vocabularySize: 15) }
        let error = #expect(throws: SeamError.self) { try options.validate(vocabularySize: 14) }
        #expect(error?.message == "option no_timestamps_token_id: expected a token in 0..<14, found 14")
    }
}
