import Support

/// The tokenizer that a GGUF file holds (`tokenizer.ggml.*`), as values; no text is tokenized here.
public struct GGUFTokenizerData: Sendable {
    /// The file, for error sentences.
    public var path: String
    /// The kind of tokenizer: "gpt2" (byte-level BPE), "llama" (BPE of SentencePiece), "bert" (WordPiece), "t5" (unigrams of
    /// SentencePiece) ...
    public var model: String
    /// How texts are cut before the model sees them, "smollm" for instance; "default" where the file does not tell.
    public var preTokenizer: String
    /// The text of each token id.
    public var tokens: [String]
    /// ggml's types (1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte), as many as `tokens`; empty
    /// where the file does not tell.
    public var tokenTypes: [Int32]
    /// "left right", best first; empty where there are none.
    public var merges: [String]
    /// A score for each of `tokens`; empty where there are none.
    public var scores: [Float]
    public var bosToken: Int32?
    public var eosToken: Int32?
    public var unknownToken: Int32?
    public var padToken: Int32?
    /// Of models of the BERT line: what stands in front where there is no `bosToken`, behind, and for a hidden word.
    public var clsToken: Int32?
    public var sepToken: Int32?
    public var maskToken: Int32?
    /// Whether a text gets the token in front or behind. Where the file does not tell, as llama.cpp has it: in front
    /// for "llama", "bert" and some pre-tokenizers, behind for "t5"; `sepToken` behind for "bert".
    public var addBos: Bool
    public var addEos: Bool
    public var addSep: Bool
    /// Whether a text gets a space in front; as llama.cpp has it, for "llama" unless the file tells otherwise.
    public var addSpacePrefix: Bool
    /// Whether spaces at the ends and all but one of several are taken away, for "t5"; not unless the file tells so.
    public var removesExtraSpaces: Bool
    /// The replacements of SentencePiece, as its model files hold them; empty where there are none.
    public var precompiledCharsmap: [UInt8]

    /// Makes the data of values that did not come from a file.
    public init(
        model: String, preTokenizer: String, tokens: [String], tokenTypes: [Int32] = [],
        merges: [String] = [], scores: [Float] = [], bosToken: Int32? = nil, eosToken: Int32? = nil,
        unknownToken: Int32? = nil, padToken: Int32? = nil, clsToken: Int32? = nil, sepToken: Int32? = nil,
        maskToken: Int32? = nil, addBos: Bool = false, addEos: Bool = false, addSep: Bool = false,
        addSpacePrefix: Bool = true, removesExtraSpaces: Bool = false, precompiledCharsmap: [UInt8] = [], path: String
    ) {
        (self.path, self.model, self.preTokenizer) = (path, model, preTokenizer)
        (self.tokens, self.tokenTypes, self.merges, self.scores) = (tokens, tokenTypes, merges, scores)
        (self.bosToken, self.eosToken, self.unknownToken, self.padToken) = (bosToken, eosToken, unknownToken, padToken)
        (self.clsToken, self.sepToken, self.maskToken) = (clsToken, sepToken, maskToken)
        (self.addBos, self.addEos, self.addSep, self.addSpacePrefix) = (addBos, addEos, addSep, addSpacePrefix)
        (self.removesExtraSpaces, self.precompiledCharsmap) = (removesExtraSpaces, precompiledCharsmap)
    }

    /// The pre-tokenizers for which llama.cpp puts the token in front unless a file tells otherwise.
    private static let beginningWithBos: Set = [
        "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano",
        "tekken", "chameleon",
    ]

    /// Reads the values.
    ///
    /// Throws `SeamError(.notFound)` for a file without a tokenizer, and `.format` where a value is of another type,
    /// the counts differ, or an id is outside of the vocabulary.
    public init(_ file: GGUFFile) throws {
        let prefix = "tokenizer.ggml."
        path = file.path
        guard let model = try file.string(prefix + "model"), let tokens = try file.strings(prefix + "tokens") else {
            throw SeamError(
                .notFound, "\(file.path) holds no tokenizer (tokenizer.ggml.model and tokenizer.ggml.tokens)")
        }
        func checked<Value>(_ key: String, _ values: [Value]?) throws -> [Value] {
            guard let values else { return [] }
            guard values.count == tokens.count else {
                throw SeamError(
                    .format,
                    "\(file.path): \"\(prefix + key)\" must have as many elements as there are tokens,"
                        + " \(tokens.count), found \(values.count)")
            }
            return values
        }
        self.model = model
        self.tokens = tokens
        preTokenizer = try file.string(prefix + "pre") ?? "default"
        tokenTypes = try checked("token_type", file.int32s(prefix + "token_type"))
        scores = try checked("scores", file.floats(prefix + "scores"))
        merges = try file.strings(prefix + "merges") ?? []
        bosToken = try file.token("bos", below: tokens.count)
        eosToken = try file.token("eos", below: tokens.count)
        unknownToken = try file.token("unknown", below: tokens.count)
        padToken = try file.token("padding", below: tokens.count)
        clsToken = try file.token("cls", below: tokens.count)
        // The key has this spelling.
        sepToken = try file.token("seperator", below: tokens.count)
        maskToken = try file.token("mask", below: tokens.count)
        addBos =
            try file.bool(prefix + "add_bos_token")
            ?? (["llama", "bert"].contains(model) || Self.beginningWithBos.contains(preTokenizer))
        addEos = try file.bool(prefix + "add_eos_token") ?? (model == "t5")
        addSep = try file.bool(prefix + "add_sep_token") ?? (model == "bert")
        removesExtraSpaces = try file.bool(prefix + "remove_extra_whitespaces") ?? false
        precompiledCharsmap = try (file.int32s(prefix + "precompiled_charsmap") ?? []).map { value in
            guard let byte = UInt8(exactly: value < 0 ? value + 256 : value) else {
                throw SeamError(
                    .format, "\(file.path): \"\(prefix)precompiled_charsmap\" must hold bytes, found \(value)")
            }
            return byte
        }
        addSpacePrefix = try file.bool(prefix + "add_space_prefix") ?? (model == "llama")
    }
}

extension GGUFFile {
    /// The id of a special token ("bos", "eos", "unknown", "padding"), nil where the file names none. Throws for one
    /// that is not below `count`.
    func token(_ name: String, below count: Int) throws -> Int32? {
        let key = "tokenizer.ggml.\(name)_token_id"
        // -1 and the largest 32-bit number stand for "none" in files of older converters.
        guard let id = try int(key), id != -1, id != Int(UInt32.max) else { return nil }
        guard id >= 0, id < count, let narrow = Int32(exactly: id) else {
            throw SeamError(.format, "\(path): \"\(key)\" must be a token id below \(count), found \(id)")
        }
        return narrow
    }
}
