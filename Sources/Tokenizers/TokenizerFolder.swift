import Files
import Support

extension Tokenizer {
    /// The tokenizer of a model: a folder (see `init(folder:)`), or a GGUF file (see `init(gguf:)`) or a folder with one
    /// such file and no `config.json`. Throws as these.
    public convenience init(model path: String) throws {
        if let file = try GGUFFile.locate(path) {
            try self.init(gguf: try GGUFTokenizerData(try GGUFFile(file)))
        } else {
            try self.init(folder: path)
        }
    }

    private static let jsonName = "tokenizer.json"
    private static let sentencePieceNames = [
        "spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "source.spm",
    ]

    /// Whether a model's folder holds a file that `init(folder:)` can read a tokenizer from.
    public static func exists(folder: String) -> Bool {
        ([jsonName] + sentencePieceNames).contains { FileSystem.exists(FileSystem.join(folder, $0)) }
    }

    /// Reads `tokenizer.json` in a model's folder or, where there is none, a SentencePiece model (`spiece.model`,
    /// `tokenizer.model`, `sentencepiece.bpe.model` or `source.spm`), and the small files beside it where they are.
    ///
    /// Throws `SeamError`: `.notFound` for a missing file, `.format` for a malformed one, `.unsupported` for
    /// what is well-formed but not known here, `.incompatible` for ids that contradict each other.
    public convenience init(folder: String) throws {
        let json = FileSystem.join(folder, Self.jsonName)
        if FileSystem.exists(json) {
            self.init(try Parts(tokenizerJSON: json, folder: folder))
        } else if let name = Self.sentencePieceNames.first(where: { FileSystem.exists(FileSystem.join(folder, $0)) }) {
            self.init(try Parts(sentencePiece: FileSystem.join(folder, name), folder: folder))
        } else {
            let names = Self.sentencePieceNames.joined(separator: ", ")
            throw SeamError(
                .notFound, "the model folder \"\(folder)\" has no tokenizer.json and no SentencePiece model (\(names))")
        }
    }
}

extension Tokenizer.Parts {
    fileprivate init(tokenizerJSON path: String, folder: String) throws {
        let root = TokenizerPart(file: path, path: "", value: try JSON.read(path))
        guard root.value.objectValue != nil else {
            throw SeamError(.format, "\(path): expected a JSON object, found \(root.value.kind)")
        }
        try root.allow(
            "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
            "decoder", "model")
        if root.member("version") != nil, try root.string("version") != "1.0" {
            throw root.error(.unsupported, "has the version \"\(try root.string("version"))\", supported is \"1.0\"")
        }
        let settings = try TokenizerSettings(folder: folder)
        try settings.check(root)
        let model = try tokenizerModel(root.requirePart("model"))
        let normalizer = try settings.normalizer(root)
        try settings.checkCase(normalizer)
        let listed = root.member("added_tokens") == nil ? [] : try root.parts("added_tokens").map(AddedToken.init)
        let added = try settings.added(to: listed, id: model.id(of:))
        self.init(
            path: path, model: model,
            addedTokens: try AddedTokens(added, model: model, normalizer: normalizer), normalizer: normalizer,
            preTokenizer: try root.part("pre_tokenizer").map(Tokenizers.preTokenizer),
            postProcessor: try root.part("post_processor").map(Tokenizers.postProcessor),
            decoder: try root.part("decoder").map(tokenDecoder))
        let addedCount = postProcessor?.addedCount ?? 0
        truncation = try root.part("truncation").map { try Truncation($0, addedCount: addedCount) }
        let longest = try settings.longestText(addedCount: addedCount)
        if settings.isSentenceEncoder || longest != nil { truncation = longest.map { Truncation(maxLength: $0) } }
        // Batches are padded by the caller, who also masks: what the file says of padding holds for no text here.
        try root.part("padding")?.allow(
            "strategy", "direction", "pad_to_multiple_of", "pad_id", "pad_type_id", "pad_token")
        named = try NamedTokens(folder: folder, source: FileSystem.baseName(path), findID: id(of:))
        try settings.checkLanguage(
            around: postProcessor?.process([], addSpecialTokens: true) ?? [], id: id(of:))
        cleansSpaces = settings.cleansSpaces(isBytePair: root.member("model")?["type"]?.stringValue == "BPE")
    }
}
