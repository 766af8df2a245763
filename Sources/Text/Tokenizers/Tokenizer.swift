import Files
import Support

/// A tokenizer in the format of Hugging Face `tokenizers`: gives the ids and texts that library gives.
///
/// Supported are the models, pre-tokenizers, normalizers, decoders and post-processors that the functions of
/// those names list. Anything else in the file, also a key that is not known, is refused with a sentence that
/// names the file, the part and its type.
///
/// Patterns know the characters of Oniguruma's version of Unicode (14 in release 6.9.8) and "Whitespace" those of
/// Swift's (16): texts with characters that are newer than that may be cut elsewhere than by `tokenizers`.
///
/// Thread rules: any thread may use it, several at a time.
public final class Tokenizer: Sendable {
    /// The path of `tokenizer.json`, for error sentences.
    public let path: String
    /// The number of tokens, added ones included. Ids may go beyond where the file leaves gaps.
    public let vocabularySize: Int
    /// The ids of the tokens that `tokenizer_config.json` or, where that does not tell, `special_tokens_map.json`
    /// names as begin, end, padding and unknown; nil where neither does.
    public let bosToken: Int32?
    public let eosToken: Int32?
    public let padToken: Int32?
    public let unknownToken: Int32?

    /// To how many ids, special tokens included, the file itself makes `encode` cut a text; nil where it does not.
    public var truncationLength: Int? { truncation?.maxLength }

    private let model: any TokenizerModel
    private let addedTokens: AddedTokens
    private let normalizer: (any Normalizer)?
    private let preTokenizer: (any PreTokenizer)?
    private let postProcessor: (any PostProcessor)?
    private let decoder: (any TokenDecoder)?
    private let truncation: Truncation?

    /// Reads `tokenizer.json` in a model's folder, and the two small files beside it where they are.
    ///
    /// Throws `SeamError`: `.notFound` for a missing file, `.format` for a malformed one, `.unsupported` for
    /// what is well-formed but not known here, `.incompatible` for ids that contradict each other.
    public init(folder: String) throws {
        path = FileSystem.join(folder, "tokenizer.json")
        guard FileSystem.exists(path) else {
            throw SeamError(.notFound, "the model folder \"\(folder)\" has no tokenizer.json")
        }
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
        model = try tokenizerModel(root.requirePart("model"))
        normalizer = try root.part("normalizer").map(Text.normalizer)
        preTokenizer = try root.part("pre_tokenizer").map(Text.preTokenizer)
        postProcessor = try root.part("post_processor").map(Text.postProcessor)
        decoder = try root.part("decoder").map(tokenDecoder)
        let added = root.member("added_tokens") == nil ? [] : try root.parts("added_tokens")
        addedTokens = try AddedTokens(added, model: model, normalizer: normalizer)
        vocabularySize = model.size + addedTokens.countBeyondModel
        let addedCount = postProcessor?.addedCount ?? 0
        truncation = try root.part("truncation").map { try Truncation($0, addedCount: addedCount) }
        try root.part("padding").map(Self.requireNoPadding)

        let (model, addedTokens) = (model, addedTokens)
        let named = try NamedTokens(folder: folder) { addedTokens.id(of: $0) ?? model.id(of: $0) }
        bosToken = try named.id("bos_token")
        eosToken = try named.id("eos_token")
        padToken = try named.id("pad_token")
        unknownToken = try named.id("unk_token")
    }

    /// The ids of a text.
    ///
    /// `addSpecialTokens` is whether the post-processor adds its tokens. Special tokens that the text itself
    /// spells become their ids in both cases. Throws `SeamError` for a word without a token when the vocabulary
    /// has none for unknown words.
    public func encode(_ text: String, addSpecialTokens: Bool = true) throws -> [Int32] {
        let bytes = Array(text.utf8)
        var ids: [Int32] = []
        ids.reserveCapacity(bytes.count / 2 + 8)
        for segment in addedTokens.segments(of: bytes, normalized: false) {
            switch segment {
            case .token(let id): ids.append(id)
            case .text(let range):
                if let normalizer {
                    try encode(normalized: normalizer.normalize(Array(bytes[range])), to: &ids)
                } else if range == bytes.indices {
                    try encode(normalized: bytes, to: &ids)
                } else {
                    try encode(normalized: Array(bytes[range]), to: &ids)
                }
            }
        }
        if let truncation {
            truncation.apply(to: &ids, addedCount: addSpecialTokens ? postProcessor?.addedCount ?? 0 : 0)
        }
        return postProcessor?.process(ids, addSpecialTokens: addSpecialTokens) ?? ids
    }

    private func encode(normalized text: [UInt8], to ids: inout [Int32]) throws {
        for segment in addedTokens.segments(of: text, normalized: true) {
            switch segment {
            case .token(let id): ids.append(id)
            case .text(let range):
                var pieces = Pieces(text: text, ranges: [range])
                try preTokenizer?.apply(to: &pieces)
                try pieces.text.withUnsafeBufferPointer { buffer in
                    for piece in pieces.ranges {
                        try model.append(UnsafeBufferPointer(rebasing: buffer[piece]), to: &ids)
                    }
                }
            }
        }
    }

    /// The text of ids. Ids that no token has are left out, as a model may have more outputs than there are
    /// tokens; negative ones throw `SeamError(.invalidArgument)`.
    public func decode(_ ids: [Int32], skipSpecialTokens: Bool = true) throws -> String {
        var tokens: [String] = []
        tokens.reserveCapacity(ids.count)
        for id in ids {
            guard id >= 0 else {
                throw SeamError(.invalidArgument, "cannot decode token ids, expected 0 or more, found \(id)")
            }
            guard let text = token(of: id), !(skipSpecialTokens && addedTokens.isSpecial(text)) else { continue }
            tokens.append(text)
        }
        guard let decoder else { return tokens.joined(separator: " ") }
        return try decoder.decode(tokens).joined()
    }

    /// The id of a token, or nil.
    public func id(of token: String) -> Int32? { addedTokens.id(of: token) ?? model.id(of: token) }

    /// The token of an id, or nil. An added token that is looked for in normalized text is given normalized.
    public func token(of id: Int32) -> String? { addedTokens.text(of: id) ?? model.token(of: id) }

    /// A batch is padded by the caller, who also masks; padding to a fixed length would put it into every text.
    private static func requireNoPadding(_ part: TokenizerPart) throws {
        try part.allow("strategy", "direction", "pad_to_multiple_of", "pad_id", "pad_type_id", "pad_token")
        guard part.member("strategy")?.stringValue == "BatchLongest" else {
            throw part.error(.unsupported, "pads to a fixed length, supported is the strategy \"BatchLongest\" or null")
        }
        guard part.member("pad_to_multiple_of") ?? .null == .null else {
            throw part.error(.unsupported, "has \"pad_to_multiple_of\", supported is null")
        }
    }
}

/// The `truncation` of a `tokenizer.json`: the greatest number of ids of a text, special tokens included.
struct Truncation: Sendable {
    let maxLength: Int
    private let removesLeft: Bool

    init(_ part: TokenizerPart, addedCount: Int) throws {
        try part.allow("direction", "max_length", "strategy", "stride")
        removesLeft =
            part.member("direction") == nil ? false : try part.choice("direction", ["Right": false, "Left": true])
        maxLength = try part.int("max_length")
        // Both mean the same for one text; "stride" concerns what was cut off.
        try part.choice("strategy", ["LongestFirst": (), "OnlyFirst": ()])
        guard maxLength >= addedCount else {
            throw part.error(
                .unsupported,
                "has a \"max_length\" of \(maxLength), expected room for the \(addedCount) tokens that are added")
        }
    }

    /// `addedCount` is how many ids will be added.
    func apply(to ids: inout [Int32], addedCount: Int) {
        let excess = ids.count - (maxLength - addedCount)
        guard excess > 0 else { return }
        if removesLeft { ids.removeFirst(excess) } else { ids.removeLast(excess) }
    }
}

/// The special tokens that the files beside a `tokenizer.json` name by their purpose.
private struct NamedTokens {
    private var files: [TokenizerPart] = []
    private let findID: (String) -> Int32?

    init(folder: String, findID: @escaping (String) -> Int32?) throws {
        self.findID = findID
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let path = FileSystem.join(folder, name)
            guard FileSystem.exists(path) else { continue }
            files.append(TokenizerPart(file: path, path: "", value: try JSON.read(path)))
        }
    }

    func id(_ purpose: String) throws -> Int32? {
        for file in files {
            guard let value = file.member(purpose), value != .null else { continue }
            guard let token = value.stringValue ?? value["content"]?.stringValue else {
                throw file.error(.format, "must have a string as \"\(purpose)\", found \(value.kind)")
            }
            guard let id = findID(token) else {
                throw file.error(
                    .incompatible, "has \"\(token)\" as \"\(purpose)\", which is no token of tokenizer.json")
            }
            return id
        }
        return nil
    }
}
