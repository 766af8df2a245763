import Files
import Support
import TestSupport
import Testing
import Tokenizers

/// Small trained tokenizers with what their references give (Fixtures/make_subword_fixtures.py).
struct SubwordFixture: Sendable, CustomTestStringConvertible {
    let name: String
    /// The tokenizer.json or, for "scored", the tokens, scores and types.
    let file: JSON
    let ids: [[Int32]]
    /// Of every other list of ids.
    let decoded: [String]

    var testDescription: String { name }

    static let folder = FileSystem.join(FileSystem.parent(#filePath), "Fixtures")
    static let texts: [String] = try! lines()[0].requireStrings("texts", in: "fixtures")
    static let all: [SubwordFixture] = try! lines().dropFirst().map(SubwordFixture.init)
    static let trained = all.filter { $0.name != "scored" }

    static func named(_ name: String) -> SubwordFixture { all.first { $0.name == name }! }

    private static func lines() throws -> [JSON] {
        let path = FileSystem.join(folder, "subword_fixtures.jsonl")
        return try FileSystem.readText(path).split(separator: "\n").map { try JSON.parse(String($0), name: path) }
    }

    private init(_ line: JSON) throws {
        name = try line.requireString("name", in: "fixtures")
        file = line["file"] ?? line
        ids = try line.requireArray("ids", in: "fixtures").map { $0.arrayValue!.map { Int32($0.intValue!) } }
        decoded = try line.requireStrings("decoded", in: "fixtures")
    }
}

/// Expects the ids of the fixture's texts and the texts of its ids, compared as bytes.
func expectEqual(_ tokenizer: Tokenizer, _ fixture: SubwordFixture) throws {
    #expect(SubwordFixture.texts.count == fixture.ids.count)
    for (text, ids) in zip(SubwordFixture.texts, fixture.ids) {
        #expect(try tokenizer.encode(text) == ids, "\(text.debugDescription)")
    }
    for (number, text) in fixture.decoded.enumerated() {
        let ids = fixture.ids[2 * number]
        let found = try tokenizer.decode(ids)
        #expect(Array(found.utf8) == Array(text.utf8), "\(ids)")
    }
}

@Suite struct SubwordTokenizers {
    @Test(arguments: SubwordFixture.trained)
    func idsAndTextsAreThoseOfTokenizers(_ fixture: SubwordFixture) throws {
        try expectEqual(try makeTokenizer(fixture.file), fixture)
    }

    @Test func thereAreFixtures() { #expect(SubwordFixture.trained.count > 12) }

    /// The two ways to merge, for short and for long pieces, give the same tokens.
    @Test func longPiecesMergeAsShortOnesDo() throws {
        let tokenizer = try makeTokenizer(SubwordFixture.named("llama").file)
        let word = "thecatcan'tsit"
        let once = try tokenizer.encode(word, addSpecialTokens: false)
        // Unknown bytes part the copies, so that each merges by itself.
        let many = try tokenizer.encode(
            Array(repeating: word, count: 20).joined(separator: "\u{4}"), addSpecialTokens: false)
        let four = try #require(tokenizer.id(of: "<0x04>"))
        let parts = many.split(separator: four).map(Array.init)
        #expect(parts.count == 20)
        #expect(parts[0] == once)
        let inner = try makeTokenizer(SubwordFixture.named("llama").file.setting("normalizer", .null)).encode(word)
        #expect(parts.dropFirst().allSatisfy { $0 == inner })
    }

    @Test func namedTokens() throws {
        let fixture = SubwordFixture.named("wordpiece")
        let config = #"{"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": {"content": "[PAD]"}}"#
        let tokenizer = try makeTokenizer(fixture.file, beside: ["tokenizer_config.json": config])
        #expect(tokenizer.clsToken == 2)
        #expect(tokenizer.sepToken == 3)
        #expect(tokenizer.maskToken == 0)
        // Without a file that names it, the added token of that name is it.
        #expect(try makeTokenizer(fixture.file).maskToken == 4)
        #expect(try makeTokenizer(SubwordFixture.named("roberta").file).maskToken == 4)
        #expect(try makeTokenizer(SubwordFixture.named("gpt-2").file).maskToken == nil)
    }

    /// all-MiniLM's file pads every text to 128 ids; here batches are padded by the caller.
    @Test func fixedPaddingInTheFileIsNotDone() throws {
        let padding: JSON = [
            "strategy": ["Fixed": 128], "direction": "Right", "pad_to_multiple_of": 8, "pad_id": 0, "pad_type_id": 0,
            "pad_token": "[PAD]",
        ]
        let fixture = SubwordFixture.named("wordpiece")
        try expectEqual(try makeTokenizer(fixture.file.setting("padding", padding)), fixture)
    }

    static let refusals: [(model: JSON, code: ErrorCode, words: [String])] = [
        (["type": "BPE", "vocab": ["a": 0], "merges": [["a", "b"]]], .incompatible, ["\"b\"", "\"a\""]),
        (["type": "BPE", "vocab": ["a": 0, "b": 1], "merges": ["a b"]], .incompatible, ["\"ab\""]),
        (["type": "BPE", "vocab": ["a": 0], "merges": ["a"]], .format, ["\"a\"", "space"]),
        (["type": "BPE", "vocab": ["a": 0], "merges": [3]], .format, ["merges", "an integer"]),
        (["type": "BPE", "vocab": ["a": 0]], .format, ["merges"]),
        (["type": "BPE", "vocab": [:], "merges": [], "dropout": 0.1], .unsupported, ["dropout"]),
        (
            ["type": "BPE", "vocab": [:], "merges": [], "end_of_word_suffix": "</w>"], .unsupported,
            ["end_of_word_suffix", "</w>"]
        ),
        (["type": "WordPiece", "vocab": [:], "unk_token": "u"], .format, ["max_input_chars_per_word"]),
        (
            [
                "type": "WordPiece", "vocab": [:], "unk_token": "u", "max_input_chars_per_word": -1,
                "continuing_subword_prefix": "##",
            ], .format, ["max_input_chars_per_word", "-1"]
        ),
        (["type": "Unigram", "vocab": [["a", "b"]], "unk_id": 0], .format, ["score", "0"]),
        (["type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 1], .format, ["unk_id", "1"]),
        (["type": "Unigram", "vocab": [["a", 0.0], ["a", 1.0]]], .unsupported, ["\"a\"", "twice"]),
    ]

    @Test(arguments: refusals.indices)
    func modelsThatAreRefused(_ number: Int) {
        let refusal = Self.refusals[number]
        do {
            _ = try makeTokenizer(["version": "1.0", "model": refusal.model])
            Issue.record("nothing was thrown for \(refusal.model)")
        } catch let error as SeamError {
            #expect(error.code == refusal.code, "\(error.message)")
            for word in refusal.words + ["tokenizer.json", "\"model\""] { #expect(error.message.contains(word)) }
        } catch {
            Issue.record("\(error) is not a SeamError")
        }
    }

    @Test func textWithoutATokenAndNoneForUnknown() throws {
        let unigram = try makeTokenizer(["version": "1.0", "model": ["type": "Unigram", "vocab": [["a", 0.0]]]])
        #expect(try unigram.encode("aa") == [0, 0])
        expectError(.notFound, "tokenizer.json", "\"b\"", "unk_id") { try unigram.encode("ab") }
        let model: JSON = [
            "type": "WordPiece", "vocab": ["a": 0], "unk_token": "[UNK]", "max_input_chars_per_word": 9,
            "continuing_subword_prefix": "##",
        ]
        let wordPiece = try makeTokenizer(["version": "1.0", "model": model])
        expectError(.notFound, "tokenizer.json", "\"ab\"", "[UNK]") { try wordPiece.encode("ab") }
    }
}
