import Files
import Support
import TestSupport
import Testing
import Tokenizers

/// A small file that loads, to be spoilt in one place.
private let plain: JSON = [
    "version": "1.0", "truncation": .null, "padding": .null, "added_tokens": [], "normalizer": .null,
    "pre_tokenizer": ["type": "Whitespace"], "post_processor": .null, "decoder": .null,
    "model": ["type": "WordLevel", "vocab": ["<unk>": 0, "a": 1, "b": 2], "unk_token": "<unk>"],
]

private func added(_ id: Int64, _ content: String) -> JSON {
    [
        "id": .int(id), "content": .string(content), "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    ]
}

private func split(_ pattern: JSON, behavior: String = "Isolated") -> JSON {
    ["type": "Split", "pattern": pattern, "behavior": .string(behavior), "invert": false]
}

@Suite struct TokenizerErrors {
    @Test func thePlainFileLoads() throws {
        let tokenizer = try makeTokenizer(plain)
        #expect(try tokenizer.encode("a b c") == [1, 2, 0])
        #expect(tokenizer.vocabularySize == 3)
        #expect(tokenizer.id(of: "b") == 2)
        #expect(tokenizer.id(of: "c") == nil)
        #expect(tokenizer.token(of: 1) == "a")
        #expect(tokenizer.token(of: 3) == nil)
        #expect(tokenizer.eosToken == nil)
        #expect(tokenizer.truncationLength == nil)
    }

    /// 2^27 attempts for one word without a limit, and as many for the next one.
    @Test func nestedRepetitionsEndForATextAsAWhole() throws {
        var file = plain.objectValue!
        let number = try #require(file.firstIndex { $0.key == "pre_tokenizer" })
        file[number].value = [
            "type": "Sequence",
            "pretokenizers": [["type": "WhitespaceSplit"], split(["Regex": "(a+a+)+b"])],
        ]
        let tokenizer = try makeTokenizer(.object(file))
        #expect(try tokenizer.encode("aaaab a") == [0, 1])
        let words = String(repeating: String(repeating: "a", count: 27) + " ", count: 1000)
        expectError(.format, "pre_tokenizer.pretokenizers.1.pattern", "takes more than", "nested repetitions") {
            try tokenizer.encode(words)
        }
    }

    /// What stands under a key, and what the sentence about it says.
    static let refusals: [(key: String, value: JSON, code: ErrorCode, words: [String])] = [
        ("model", ["type": "Odd", "vocab": [:]], .unsupported, ["\"model\"", "\"Odd\"", "\"WordLevel\"", "\"BPE\""]),
        ("model", ["vocab": [:]], .format, ["\"model\"", "no \"type\""]),
        ("model", .null, .format, ["\"model\""]),
        ("model", ["type": "WordLevel", "vocab": ["a": -1], "unk_token": "a"], .format, ["\"a\"", "-1"]),
        ("model", ["type": "WordLevel", "vocab": ["a": 2_147_483_648], "unk_token": "a"], .format, ["2147483648"]),
        (
            "model", ["type": "WordLevel", "vocab": ["a": 1, "b": 1], "unk_token": "a"], .format,
            ["id 1", "\"a\"", "\"b\""]
        ),
        ("model", ["type": "WordLevel", "vocab": ["a": 1]], .format, ["unk_token"]),
        ("model", ["type": "WordLevel", "vocab": [:], "unk_token": "a", "dropout": 1], .unsupported, ["\"dropout\""]),
        (
            "pre_tokenizer", ["type": "Odd"], .unsupported,
            ["\"pre_tokenizer\"", "\"Odd\"", "\"Split\""]
        ),
        ("pre_tokenizer", ["type": "Whitespace", "extra": 1], .unsupported, ["\"extra\""]),
        ("pre_tokenizer", ["type": 3], .format, ["an integer"]),
        (
            "pre_tokenizer", ["type": "Sequence", "pretokenizers": [["type": "Odd"]]], .unsupported,
            ["pre_tokenizer.pretokenizers.0", "\"Odd\""]
        ),
        ("pre_tokenizer", split(["Regex": "a("]), .format, ["a(", "Oniguruma", "parenthes"]),
        ("pre_tokenizer", split(["Regex": "a", "String": "a"]), .format, ["pattern"]),
        ("pre_tokenizer", split([:]), .format, ["pattern"]),
        ("pre_tokenizer", split("a"), .format, ["pattern", "a string"]),
        ("pre_tokenizer", split(["String": "a"], behavior: "Dropped"), .unsupported, ["\"Dropped\"", "\"Removed\""]),
        ("pre_tokenizer", ["type": "CharDelimiterSplit", "delimiter": "ab"], .format, ["one character"]),
        ("normalizer", ["type": "Precompiled", "precompiled_charsmap": "A*=="], .format, ["base64"]),
        ("normalizer", ["type": "Precompiled", "precompiled_charsmap": "AAAAAA=="], .format, ["4 bytes"]),
        ("normalizer", ["type": "Odd"], .unsupported, ["\"normalizer\"", "\"Odd\"", "\"Nmt\""]),
        ("pre_tokenizer", ["type": "FixedLength", "length": 0], .format, ["1 or more", "found 0"]),
        ("normalizer", ["type": "Strip", "strip_left": 1, "strip_right": true], .format, ["strip_left", "a boolean"]),
        ("decoder", ["type": "Odd"], .unsupported, ["\"decoder\"", "\"Odd\"", "\"CTC\""]),
        ("decoder", ["type": "BPEDecoder", "suffix": ""], .unsupported, ["\"decoder\"", "suffix"]),
        (
            "decoder", ["type": "Strip", "content": " ", "start": -1, "stop": 0], .format,
            ["\"decoder\"", "start", "-1"]
        ),
        ("decoder", ["type": "Strip", "content": "ab", "start": 1, "stop": 0], .format, ["content", "\"ab\""]),
        (
            "pre_tokenizer", ["type": "Metaspace", "replacement": "ab", "prepend_scheme": "always"], .format,
            ["replacement", "\"ab\""]
        ),
        (
            "pre_tokenizer", ["type": "Metaspace", "replacement": "_", "prepend_scheme": "last"], .unsupported,
            ["prepend_scheme", "\"last\""]
        ),
        (
            "pre_tokenizer",
            ["type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "add_prefix_space": false], .format,
            ["add_prefix_space"]
        ),
        ("post_processor", ["type": "Odd"], .unsupported, ["\"post_processor\"", "\"Odd\""]),
        ("post_processor", ["type": "BertProcessing", "sep": ["a", 1]], .format, ["\"cls\""]),
        (
            "post_processor",
            [
                "type": "TemplateProcessing", "single": [["SpecialToken": ["id": "</s>", "type_id": 0]]], "pair": [],
                "special_tokens": [:],
            ],
            .format, ["</s>"]
        ),
        (
            "post_processor",
            [
                "type": "TemplateProcessing", "single": [["Sequence": ["id": "B", "type_id": 0]]], "pair": [],
                "special_tokens": [:],
            ],
            .unsupported, ["\"B\""]
        ),
        ("added_tokens", [added(7, "a")], .incompatible, ["\"a\"", "7", "expected 1"]),
        ("added_tokens", [added(4, "c")], .incompatible, ["\"c\"", "4", "expected 3"]),
        ("added_tokens", [added(1, "a"), added(1, "a")], .format, ["added_tokens.1", "\"a\""]),
        ("added_tokens", [added(3, "")], .format, ["content"]),
        ("added_tokens", [added(3, "c").setting("odd", 1)], .unsupported, ["\"odd\""]),
        ("truncation", ["max_length": 5, "strategy": "OnlySecond", "stride": 0], .unsupported, ["OnlySecond"]),
        ("padding", ["strategy": "BatchLongest", "odd": 8], .unsupported, ["padding", "\"odd\""]),
        ("version", "2.0", .unsupported, ["\"2.0\""]),
        ("surprise", true, .unsupported, ["\"surprise\""]),
    ]

    @Test(arguments: refusals.indices)
    func whatIsNotKnownIsRefused(_ number: Int) {
        let refusal = Self.refusals[number]
        do {
            _ = try makeTokenizer(plain.setting(refusal.key, refusal.value))
            Issue.record("nothing was thrown for \(refusal.key) \(refusal.value)")
        } catch let error as SeamError {
            #expect(error.code == refusal.code, "\(error.message)")
            for word in refusal.words + ["tokenizer.json"] { #expect(error.message.contains(word)) }
        } catch {
            Issue.record("\(error) is not a SeamError")
        }
    }

    @Test func filesThatAreNotThere() throws {
        let folder = try ScratchFolder()
        expectError(.notFound, folder.path, "tokenizer.json") { try Tokenizer(folder: folder.path) }
        try folder.write("tokenizer.json", "[]")
        expectError(.format, "tokenizer.json", "an array") { try Tokenizer(folder: folder.path) }
        try folder.write("tokenizer.json", "{\"model\": ")
        expectError(.format, "tokenizer.json", "line 1") { try Tokenizer(folder: folder.path) }
    }

    @Test func truncationWithoutRoomForTheTemplate() {
        let template: JSON = [
            "type": "TemplateProcessing", "pair": [],
            "special_tokens": ["a": ["id": "a", "ids": [1, 1], "tokens": ["a", "a"]]],
            "single": [["Sequence": ["id": "A", "type_id": 0]], ["SpecialToken": ["id": "a", "type_id": 0]]],
        ]
        let file = plain.setting("post_processor", template)
            .setting("truncation", ["max_length": 1, "strategy": "LongestFirst", "stride": 0])
        expectError(.unsupported, "max_length", "2") { try makeTokenizer(file) }
    }

    @Test func aWordWithoutATokenAndNoneForUnknown() throws {
        let tokenizer = try makeTokenizer(
            plain.setting("model", ["type": "WordLevel", "vocab": ["a": 0], "unk_token": "[UNK]"]))
        #expect(try tokenizer.encode("a a") == [0, 0])
        expectError(.notFound, "tokenizer.json", "\"word\"", "\"[UNK]\"") { try tokenizer.encode("a word") }
    }

    @Test func negativeIDs() throws {
        let tokenizer = try makeTokenizer(plain)
        expectError(.invalidArgument, "-1") { try tokenizer.decode([1, -1]) }
        #expect(try tokenizer.decode([1, .max, 2]) == "a b")
    }

    @Test func aPatternThatTakesTooLong() throws {
        let tokenizer = try makeTokenizer(plain.setting("pre_tokenizer", split(["Regex": "(?:a|a)*(?:a|aa)*$."])))
        expectError(.format, "tokenizer.json", "pre_tokenizer.pattern", "attempts") {
            try tokenizer.encode(String(repeating: "a", count: 60))
        }
    }
}

@Suite struct TokenizerNames {
    /// As transformers 5.23: the older file goes first, unless the newer lists the added tokens.
    @Test(arguments: [(#""added_tokens_decoder": {}, "#, Int32(1)), ("", Int32(2))])
    func tokensOfAPurpose(_ decoder: String, _ end: Int32) throws {
        let tokenizer = try makeTokenizer(
            plain,
            beside: [
                "tokenizer_config.json":
                    #"{\#(decoder)"eos_token": "a", "bos_token": null, "pad_token": {"content": "b"}}"#,
                "special_tokens_map.json": #"{"eos_token": "b", "bos_token": "b", "unk_token": "<unk>"}"#,
            ])
        #expect(tokenizer.eosToken == end)
        #expect(tokenizer.bosToken == 2)
        #expect(tokenizer.padToken == 2)
        #expect(tokenizer.unknownToken == 0)
    }

    @Test func aPurposeWithoutAToken() {
        expectError(.incompatible, "tokenizer_config.json", "</s>", "eos_token") {
            try makeTokenizer(plain, beside: ["tokenizer_config.json": #"{"eos_token": "</s>"}"#])
        }
    }

    @Test func tokensAreComparedAsBytes() throws {
        let model: JSON = [
            "type": "WordLevel", "vocab": ["<unk>": 0, "\u{e9}": 1, "e\u{301}": 2], "unk_token": "<unk>",
        ]
        let file = plain.setting("model", model)
        let tokenizer = try makeTokenizer(file)
        #expect(try tokenizer.encode("\u{e9} e\u{301}") == [1, 2])
        #expect(tokenizer.token(of: 2).map { Array($0.unicodeScalars) } == ["e", "\u{301}"])
    }

    @Test func manyThreadsAtOnce() async throws {
        let fixture = TokenizerFixture.all[0]
        let tokenizer = try makeTokenizer(fixture.file)
        let equal = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    zip(fixture.texts, fixture.ids).allSatisfy { (try? tokenizer.encode($0)) == $1.withSpecials }
                }
            }
            return await group.reduce(true) { $0 && $1 }
        }
        #expect(equal)
    }

    @Test func aVocabularyThatGrows() {
        var vocabulary = Vocabulary()
        for number in 0..<5000 { #expect(vocabulary.insert("t\(number)", id: Int32(number)) == nil) }
        #expect(vocabulary.insert("t1", id: 9999) == .token)
        #expect(vocabulary.insert("new", id: 1) == .id)
        #expect((0..<5000).allSatisfy { vocabulary.id(of: "t\($0)") == Int32($0) })
        #expect((0..<5000).allSatisfy { vocabulary.token(of: Int32($0)) == "t\($0)" })
        #expect(vocabulary.id(of: "t5000") == nil)
    }
}
