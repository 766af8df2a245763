import Support

/// The tokens of a Whisper model in a CTranslate2 folder that mean something to generation.
struct WhisperTokens {
    static let end = "<|endoftext|>"
    static let start = "<|startoftranscript|>"

    /// The tokens in the order of their ids.
    private let vocabulary: [String]
    private let ids: [TextKey: Int]
    /// Where the vocabulary is, for error sentences.
    let path: String

    /// Reads the vocabulary and checks that the tokenizer agrees with it.
    ///
    /// - Parameter count: the rows of the model's embeddings.
    /// - Throws: `SeamError`: `.notFound` without a vocabulary or `tokenizer.json`, `.format` where they do not fit.
    init(_ folder: String, _ names: [String], count: Int) throws {
        guard let name = ["vocabulary.json", "vocabulary.txt"].first(where: names.contains) else {
            throw SeamError(.notFound, "\"\(folder)\" is no folder of a Whisper model, it has no vocabulary.json")
        }
        guard names.contains("tokenizer.json") else {
            throw SeamError(
                .notFound,
                "\"\(folder)\" has no tokenizer.json, which reads and writes the model's tokens: copy that of the"
                    + " original model into it")
        }
        path = FileSystem.join(folder, name)
        vocabulary = try CTranslate2Folder.vocabulary(path)
        guard vocabulary.count == count else {
            throw SeamError(
                .format, "\(path): expected the model's \(count) tokens, found \(vocabulary.count)")
        }
        ids = Dictionary(vocabulary.enumerated().map { (TextKey($1), $0) }, uniquingKeysWith: { first, _ in first })
        try checkTokenizer(FileSystem.join(folder, "tokenizer.json"))
    }

    subscript(_ token: String) -> Int? { ids[TextKey(token)] }

    /// The token of an id below the number of tokens.
    func text(_ id: Int) -> String { vocabulary[id] }

    func require(_ token: String) throws -> Int {
        guard let id = self[token] else {
            throw SeamError(.format, "\(path): a Whisper model has the token \"\(token)\", which is not there")
        }
        return id
    }

    /// OpenAI's rule (`is_multilingual` in whisper/model.py): the models of English alone have 51,864 tokens.
    var isMultilingual: Bool { vocabulary.count >= 51_865 }

    /// Multilingual models: the ids of the languages, between the start and the tasks.
    var languages: [Int] {
        guard let start = self[Self.start], let translate = self["<|translate|>"], start < translate else { return [] }
        return Array(start + 1..<translate)
    }

    /// tokenizer_config.json, for a folder without one.
    var settings: JSON {
        [
            "bos_token": .string(Self.end), "eos_token": .string(Self.end), "pad_token": .string(Self.end),
            "unk_token": .string(Self.end), "tokenizer_class": "WhisperTokenizer",
            "processor_class": "WhisperProcessor",
        ]
    }

    private func checkTokenizer(_ path: String) throws {
        for token in try JSON.read(path).requireArray("added_tokens", in: path) {
            let id = try token.requireInt("id", in: path)
            let content = try token.requireString("content", in: path)
            guard vocabulary.indices.contains(id), TextKey(vocabulary[id]) == TextKey(content) else {
                let other = vocabulary.indices.contains(id) ? "\"\(vocabulary[id])\"" : "no such token"
                throw SeamError(
                    .format,
                    "\(path): token \(id) is \"\(content)\", but \(self.path) has \(other) there, so it is the tokenizer"
                        + " of another model")
            }
        }
    }
}
