import Files
import Support
import Testing
import Tokenizers

/// The vocabulary of a tokenizer.json as a GGUF file has it.
private func gguf(_ fixture: SubwordFixture) throws -> GGUFTokenizerData {
    let model = fixture.file["model"]!
    let tokens = model["vocab"]!.objectValue!.sorted { $0.value.intValue! < $1.value.intValue! }.map(\.key)
    var types = [Int32](repeating: 1, count: tokens.count)
    for token in fixture.file["added_tokens"]!.arrayValue! { types[token["id"]!.intValue!] = 3 }
    return GGUFTokenizerData(
        model: "gpt2", preTokenizer: fixture.name, tokens: tokens, tokenTypes: types,
        merges: model["merges"]!.arrayValue!.map { $0.arrayValue!.map { $0.stringValue! }.joined(separator: " ") },
        path: "model.gguf")
}

private func scored() throws -> GGUFTokenizerData {
    let file = SubwordFixture.named("scored").file
    return GGUFTokenizerData(
        model: "llama", preTokenizer: "default", tokens: try file.requireStrings("tokens", in: "fixtures"),
        tokenTypes: try file.requireInts("types", in: "fixtures").map(Int32.init),
        scores: file["scores"]!.arrayValue!.map { Float($0.doubleValue!) }, bosToken: 1, eosToken: 2, unknownToken: 0,
        path: "model.gguf")
}

@Suite struct GGUFVocabularies {
    @Test(arguments: ["gpt-2", "smollm", "llama-bpe", "qwen2"])
    func byteLevelIDsAreThoseOfTheSameTokenizerJSON(_ name: String) throws {
        let fixture = SubwordFixture.named(name)
        try expectEqual(try Tokenizer(gguf: gguf(fixture)), fixture)
    }

    /// Special tokens within a text are for the caller to look for in SentencePiece itself.
    @Test func scoredIDsAreThoseOfSentencePiece() throws {
        let fixture = SubwordFixture.named("scored")
        let tokenizer = try Tokenizer(gguf: scored())
        for (text, ids) in zip(SubwordFixture.texts, fixture.ids) where !text.contains("<") {
            #expect(try tokenizer.encode(text) == ids, "\(text.debugDescription)")
        }
        #expect(try tokenizer.encode("a<s>") == tokenizer.encode("a") + [1])
        #expect(try tokenizer.decode(tokenizer.encode("The cat \u{1F44D}")) == "The cat \u{1F44D}")
    }

    /// As llama.cpp and SentencePiece merge: of pairs with one score the leftmost, whatever their ids, in short texts and in
    /// long ones.
    @Test func equalScoresMergeFromTheLeft() throws {
        let tokens = ["<unk>", "a", "b", "c", "bc", "ab", "ca"]
        let tokenizer = try Tokenizer(
            gguf: GGUFTokenizerData(
                model: "llama", preTokenizer: "default", tokens: tokens, scores: [0, -9, -9, -9, -1, -1, -1],
                unknownToken: 0, addSpacePrefix: false, path: "model.gguf"))
        #expect(try tokenizer.encode("abc") == [5, 3])
        #expect(try tokenizer.encode("cabc") == [6, 4])
        let long = String(repeating: "abc", count: 40)
        #expect(try tokenizer.encode(long) == Array(repeatElement([5, 6, 4], count: 20).joined()))
    }

    /// A token that no text spells by merging changes nothing, however long it is.
    @Test func aTokenOfAHundredThousandBytes() throws {
        var vocabulary = try scored()
        let expected = try Tokenizer(gguf: vocabulary).encode("the cat")
        vocabulary.tokens.append(String(repeating: "the", count: 40_000))
        vocabulary.tokenTypes.append(1)
        vocabulary.scores.append(0)
        #expect(try Tokenizer(gguf: vocabulary).encode("the cat") == expected)
    }

    @Test func tokensAroundATextAndTheirNames() throws {
        var vocabulary = try gguf(SubwordFixture.named("smollm"))
        vocabulary.bosToken = 1
        vocabulary.eosToken = 0
        vocabulary.padToken = 0
        vocabulary.addBos = true
        vocabulary.addEos = true
        let tokenizer = try Tokenizer(gguf: vocabulary)
        let plain = try tokenizer.encode("the cat", addSpecialTokens: false)
        #expect(try tokenizer.encode("the cat") == [1] + plain + [0])
        #expect(try tokenizer.decode([1] + plain + [0]) == "the cat")
        #expect(tokenizer.bosToken == 1)
        #expect(tokenizer.eosToken == 0)
        #expect(tokenizer.padToken == 0)
        #expect(tokenizer.unknownToken == nil)
        #expect(tokenizer.path == "model.gguf")
    }

    @Test func whatIsRefused() throws {
        let good = try gguf(SubwordFixture.named("smollm"))
        func refused(
            _ code: ErrorCode, _ words: String..., from vocabulary: GGUFTokenizerData? = nil,
            sourceLocation: SourceLocation = #_sourceLocation, _ change: (inout GGUFTokenizerData) -> Void
        ) {
            var changed = vocabulary ?? good
            change(&changed)
            do {
                _ = try Tokenizer(gguf: changed)
                Issue.record("nothing was thrown", sourceLocation: sourceLocation)
            } catch let error as SeamError {
                #expect(error.code == code, "\(error.message)", sourceLocation: sourceLocation)
                for word in words + ["model.gguf"] {
                    #expect(error.message.contains(word), sourceLocation: sourceLocation)
                }
            } catch {
                Issue.record("\(error) is not a SeamError", sourceLocation: sourceLocation)
            }
        }
        refused(.unsupported, "\"rwkv\"", "\"gpt2\"", "\"t5\"") { $0.model = "rwkv" }
        refused(.unsupported, "\"default\"", "\"smollm\"") { $0.preTokenizer = "default" }
        refused(.format, "type", "found 1") { $0.tokenTypes = [1] }
        refused(.format, "tokens", "found 0") { $0.tokens = [] }
        refused(.format, "twice") { $0.tokens[5] = $0.tokens[6] }
        refused(.format, "space") { $0.merges[3] = "one" }
        refused(.incompatible, "\"nothing\"") { $0.merges[3] = "nothing there" }
        refused(.format, "99999", "bos") { $0.bosToken = 99999 }
        refused(.format, "-1", "padding") { $0.padToken = -1 }
        refused(.format, "begin", "names none") { $0.addBos = true }
        refused(.format, "score", "found 0", from: try scored()) { $0.scores = [] }
    }
}
