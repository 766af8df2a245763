import Datasets
import FewShot
import Files
import SeamHost
import Support
import TestSupport
import Testing
import Tokenizers

/// Prompts as tokens of the tiny models' words: "w3" has the id 3; an end token, 1, closes every text; 2 is unknown,
/// and the mask of BERT.
@Suite struct PromptEncoderTests {
    private func encoder(_ template: String, _ family: TinyModel.Family, positions: Int = 32) throws -> PromptEncoder {
        var tiny = TinyModel(family)
        tiny.positions = positions
        let model = try OpenModel(tiny)
        return try PromptEncoder(try Template(template), tokenizer: try Tokenizer(folder: model.path), info: model.info)
    }

    private func encoded(_ encoder: PromptEncoder, _ text: String) throws -> EncodedPrompt {
        try encoder.ids(of: try encoder.template.render(InputText(text)))
    }

    @Test(arguments: [TinyModel.Family.gpt2, .llama])
    func aDecoderAnswersBehindTheLastToken(_ family: TinyModel.Family) throws {
        for template in ["{text} w3 ", "{text} w3 [MASK]"] {
            let prompt = try encoded(encoder(template, family), "w4 w5")
            // The end token would close what is to be continued.
            #expect(prompt.ids == [4, 5, 3] && prompt.answer == 2 && prompt.decoderIDs.isEmpty)
        }
        expectError(.incompatible, "has text after [MASK]") { try encoder("{text} [MASK] w3", family) }
    }

    @Test func aMaskedModelAnswersAtTheMask() throws {
        let masked = try encoder("w3 [MASK] w4 {text}", .bert)
        let prompt = try encoded(masked, "w5")
        #expect(prompt.ids == [3, 2, 4, 5, 1] && prompt.answer == 1)
        expectError(.invalidArgument, "has no [MASK]") { try encoder("{text} w3", .bert) }
        // The tiny tokenizer's mask is its unknown word.
        expectError(.invalidArgument, "found it 2 times", "strange") { try encoded(masked, "strange") }
    }

    @Test func anEncoderDecoderWithoutAMaskWritesTheAnswer() throws {
        let prompt = try encoded(encoder("{text} w3", .t5), "w4")
        #expect(prompt.ids == [4, 3, 1] && prompt.decoderIDs == [0] && prompt.answer == 0)
    }

    /// As long as possible, and what stands behind the text is not touched.
    @Test func aTextTooLongLosesItsEnd() throws {
        let masked = try encoder("w3 {text} [MASK] w4", .bert, positions: 8)
        let words = (5..<12).map { "w\($0)" }
        for count in 1...words.count {
            let (input, isShortened) = try masked.fitted(InputText(words[..<count].joined(separator: " ")))
            #expect(isShortened == (count > 4))
            let prompt = try encoded(masked, input.text)
            #expect(prompt.ids.count == min(count, 4) + 4)
            #expect(prompt.ids.suffix(3) == [2, 4, 1] && prompt.answer == prompt.ids.count - 3)
        }
        let tooLong = try encoder("w3 {text} w3 w3 w3 w3 [MASK] w4", .bert, positions: 8)
        #expect(try !tooLong.fitted(InputText("")).isShortened)
        #expect(try tooLong.fitted(InputText("w3")).input.text.isEmpty)
        let never = try encoder("w3 {text} w3 w3 w3 w3 w3 [MASK] w4", .bert, positions: 8)
        expectError(.invalidArgument, "without its text is longer than the 8 tokens") {
            try never.fitted(InputText("w3"))
        }
    }

    @Test func theSecondTextOfAPairStays() throws {
        let pairs = try encoder("{text} [MASK] {text_b}", .bert, positions: 8)
        let (input, isShortened) = try pairs.fitted(InputText("w3 w4 w5 w6 w7", "w8 w9 w10"))
        #expect(isShortened && input.textB == "w8 w9 w10" && input.text.hasPrefix("w3 w4 w5"))
        let long = (3..<12).map { "w\($0)" }.joined(separator: " ")
        expectError(.invalidArgument, "but with the second one, is longer") { try pairs.fitted(InputText("w3", long)) }
    }
}

@Suite struct LabelTokenTests {
    private func tokens(_ verbalizer: JSON, _ multiToken: MultiToken, prefix: String = " ") throws -> [[Int32]] {
        let model = try OpenModel(TinyModel(.gpt2))
        return try LabelTokens(
            try Verbalizer(verbalizer, name: "words"), prefix: prefix, multiToken: multiToken,
            tokenizer: try Tokenizer(folder: model.path)
        ).ids
    }

    @Test func firstTokenOrAll() throws {
        let words: JSON = ["no": ["w3 w4", "w5"], "yes": "w6 w7"]
        for prefix in ["", " "] {
            #expect(try tokens(words, .first, prefix: prefix) == [[3], [5], [6]])
            #expect(try tokens(words, .mean, prefix: prefix) == [[3, 4], [5], [6, 7]])
        }
    }

    @Test func labelsThatCannotBeToldApart() throws {
        let words: JSON = ["no": "w3 w4", "yes": "w3 w5"]
        expectError(.invalidArgument, "\"w3 w4\" of label \"no\"", "\"w3 w5\" of label \"yes\"", "same first token") {
            try tokens(words, .first)
        }
        #expect(try tokens(words, .mean) == [[3, 4], [3, 5]])
        // Two words of one label may.
        #expect(try tokens(["no": ["w3 w4", "w3 w5"], "yes": "w6"], .first) == [[3], [3], [6]])
    }
}
