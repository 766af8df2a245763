import Files
import Support
import TestSupport
import Testing
import Tokenizers

/// A folder with the SentencePiece model of the fixtures under `name`.
private func modelFolder(_ name: String, beside files: [String: String] = [:]) throws -> ScratchFolder {
    let folder = try ScratchFolder(files)
    let model = try FileSystem.readBytes(FileSystem.join(SubwordFixture.folder, "sentencepiece.model"))
    try FileSystem.atomicWriteFile(FileSystem.join(folder.path, name), model)
    return folder
}

private func openModel(_ name: String, beside files: [String: String] = [:]) throws -> Tokenizer {
    let folder = try modelFolder(name, beside: files)
    return try withExtendedLifetime(folder) { try Tokenizer(folder: folder.path) }
}

@Suite struct SentencePieceModels {
    @Test(arguments: ["spiece.model", "tokenizer.model", "sentencepiece.bpe.model"])
    func idsAndTextsAreThoseOfTheLibrary(_ name: String) throws {
        let folder = try modelFolder(name)
        #expect(Tokenizer.exists(folder: folder.path))
        let tokenizer = try Tokenizer(folder: folder.path)
        try expectEqual(tokenizer, SubwordFixture.named("scored"))
        #expect(tokenizer.vocabularySize == 380)
        #expect(tokenizer.bosToken == 1)
        #expect(tokenizer.eosToken == 2)
        #expect(tokenizer.unknownToken == 0)
        #expect(tokenizer.padToken == nil)
        #expect(tokenizer.id(of: "<s>") == 1)
        #expect(tokenizer.id(of: "no such token") == nil)
        #expect(tokenizer.token(of: 2) == "</s>")
        #expect(tokenizer.token(of: 380) == nil)
    }

    @Test func t5HasAnEndAndSentinels() throws {
        let plain = try openModel("spiece.model")
        for files in [
            ["tokenizer_config.json": #"{"tokenizer_class": "T5Tokenizer"}"#],
            ["config.json": #"{"model_type": "t5"}"#],
        ] {
            let tokenizer = try openModel("spiece.model", beside: files)
            #expect(tokenizer.vocabularySize == 480)
            #expect(try tokenizer.encode("the cat") == plain.encode("the cat") + [2])
            #expect(try tokenizer.encode("the cat", addSpecialTokens: false) == plain.encode("the cat"))
            let cut = try tokenizer.encode("the <extra_id_0> cat </s>")
            #expect(try cut == plain.encode("the") + [479] + plain.encode("cat ") + [2, 2])
            #expect(tokenizer.id(of: "<extra_id_99>") == 380)
            #expect(try tokenizer.decode([2]) == "")
        }
    }

    @Test func llamaHasABeginning() throws {
        let config = ["tokenizer_config.json": #"{"tokenizer_class": "LlamaTokenizerFast", "add_eos_token": true}"#]
        let plain = try openModel("tokenizer.model")
        let tokenizer = try openModel("tokenizer.model", beside: config)
        #expect(try tokenizer.encode("the cat") == [1] + plain.encode("the cat") + [2])
        let without = ["tokenizer_config.json": #"{"tokenizer_class": "LlamaTokenizer", "add_bos_token": false}"#]
        let bare = try openModel("tokenizer.model", beside: without)
        #expect(try bare.encode("the cat") == plain.encode("the cat"))
    }

    @Test func aTokenizerJSONGoesFirst() throws {
        let folder = try modelFolder("spiece.model")
        let model: JSON = ["type": "WordLevel", "vocab": ["the cat": 7], "unk_token": "u"]
        try folder.write("tokenizer.json", (["version": "1.0", "model": model] as JSON).serialized())
        #expect(try Tokenizer(folder: folder.path).encode("the cat") == [7])
    }

    @Test func whatIsRefused() throws {
        let empty = try ScratchFolder()
        #expect(!Tokenizer.exists(folder: empty.path))
        expectError(.notFound, empty.path, "tokenizer.json", "spiece.model") { try Tokenizer(folder: empty.path) }
        try empty.write("spiece.model", "no model")
        expectError(.format, "spiece.model", "SentencePiece") { try Tokenizer(folder: empty.path) }
        let marian = try modelFolder("source.spm")
        expectError(.unsupported, "source.spm", "Marian", "tokenizer.json") { try Tokenizer(folder: marian.path) }
        let albert = try modelFolder(
            "spiece.model", beside: ["tokenizer_config.json": #"{"tokenizer_class": "AlbertTokenizer"}"#])
        expectError(.unsupported, "tokenizer_config.json", "AlbertTokenizer", "T5Tokenizer") {
            try Tokenizer(folder: albert.path)
        }
        let config = try modelFolder("spiece.model", beside: ["config.json": #"{"model_type": "bert"}"#])
        expectError(.unsupported, "config.json", "\"bert\"", "\"t5\"") { try Tokenizer(folder: config.path) }
        let sentinels = try modelFolder(
            "spiece.model", beside: ["tokenizer_config.json": #"{"tokenizer_class": "T5Tokenizer", "extra_ids": -1}"#])
        expectError(.format, "extra_ids", "-1") { try Tokenizer(folder: sentinels.path) }
    }
}
