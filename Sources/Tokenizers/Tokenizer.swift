import Files
import Support

/// A tokenizer: gives the ids and texts that Hugging Face `tokenizers` gives, or the SentencePiece library.
///
/// It is made from `tokenizer.json` or a SentencePiece model in a model's folder (`init(folder:)`), or from the
/// vocabulary that a GGUF file holds (`init(gguf:)`).
///
/// Supported are the models, pre-tokenizers, normalizers, decoders and post-processors that the functions of
/// those names list. Anything else in the file, also a key that is not known, is refused with a sentence that
/// names the file, the part and its type.
///
/// Classes of characters follow the versions of Unicode that `tokenizers` has (UnicodeVersions.swift). Regular
/// expressions other than those of `BytePattern` know the characters of Oniguruma's version (14 in release 6.9.8).
///
/// Thread rules: any thread may use it, several at a time.
public final class Tokenizer: Sendable {
    /// The path of the file that the vocabulary was read from, for error sentences.
    public let path: String
    /// The number of tokens, added ones included. Ids may go beyond where the file leaves gaps.
    public let vocabularySize: Int
    /// The ids of the tokens that the files name as begin, end, padding and unknown (`tokenizer_config.json`, then
    /// `special_tokens_map.json`, then what a SentencePiece model marks; or the GGUF file); nil where none does, except that
    /// the model itself may know the unknown one.
    public var bosToken: Int32? { named.bos }
    public var eosToken: Int32? { named.eos }
    public var padToken: Int32? { named.pad }
    public var unknownToken: Int32? { named.unknown ?? model.unknownID }
    /// The tokens that stand in front of and behind a text in models of the BERT family, as above.
    public var clsToken: Int32? { named.cls }
    public var sepToken: Int32? { named.sep }
    /// The id of the token that stands for a hidden word: as above, or else of an added token "[MASK]" or "<mask>".
    public var maskToken: Int32? {
        named.mask ?? addedTokens.id(of: "[MASK]") ?? addedTokens.id(of: "<mask>")
    }

    /// The number of ids, special tokens included, that the file makes `encode` cut a text to; nil where it does not.
    public var truncationLength: Int? { truncation?.maxLength }

    private let model: any TokenizerModel
    private let addedTokens: AddedTokens
    private let normalizer: (any Normalizer)?
    private let preTokenizer: (any PreTokenizer)?
    private let postProcessor: (any PostProcessor)?
    private let decoder: (any TokenDecoder)?
    private let truncation: Truncation?
    private let named: NamedTokens
    private let cleansSpaces: Bool

    /// What a tokenizer consists of, wherever it came from.
    struct Parts {
        var path: String
        var model: any TokenizerModel
        var addedTokens: AddedTokens
        var normalizer: (any Normalizer)?
        var preTokenizer: (any PreTokenizer)?
        var postProcessor: (any PostProcessor)?
        var decoder: (any TokenDecoder)?
        var truncation: Truncation?
        var named = NamedTokens()
        /// Whether a decoded text goes through `SpaceCleaning`.
        var cleansSpaces = false

        func id(of token: String) -> Int32? { addedTokens.id(of: token) ?? model.id(of: token) }
    }

    init(_ parts: Parts) {
        path = parts.path
        model = parts.model
        addedTokens = parts.addedTokens
        normalizer = parts.normalizer
        preTokenizer = parts.preTokenizer
        postProcessor = parts.postProcessor
        decoder = parts.decoder
        truncation = parts.truncation
        named = parts.named
        cleansSpaces = parts.cleansSpaces
        vocabularySize = parts.model.size + parts.addedTokens.countBeyondModel
    }

    /// The ids of a text.
    ///
    /// `addSpecialTokens` is whether the post-processor adds its tokens. Special tokens that the text itself
    /// spells become their ids in both cases. `maxLength` is how many ids at most are given, those tokens included: of
    /// a longer text the end is left out. Nothing is padded, whatever the file says. Throws `SeamError` for a
    /// word without a token when the vocabulary has none for unknown words.
    public func encode(_ text: String, addSpecialTokens: Bool = true, maxLength: Int? = nil) throws -> [Int32] {
        let bytes = Array(text.utf8)
        var ids: [Int32] = []
        ids.reserveCapacity(bytes.count / 2 + 8)
        for segment in addedTokens.segments(of: bytes, normalized: false) {
            switch segment {
            case .token(let id): ids.append(id)
            case .text(let range):
                let text = range == bytes.indices ? bytes : Array(bytes[range])
                var lead = range.lowerBound == 0 ? lengthOfScalar(text[0]) : 0
                let normalized = try normalizer?.normalize(text, lead: &lead) ?? text
                try encode(normalized: normalized, lead: lead, to: &ids)
            }
        }
        let addedCount = addSpecialTokens ? postProcessor?.addedCount ?? 0 : 0
        truncation?.apply(to: &ids, addedCount: addedCount)
        if let maxLength { ids.removeLast(max(0, min(ids.count, ids.count + addedCount - maxLength))) }
        return postProcessor?.process(ids, addSpecialTokens: addSpecialTokens) ?? ids
    }

    private func encode(normalized text: [UInt8], lead: Int, to ids: inout [Int32]) throws {
        for segment in addedTokens.segments(of: text, normalized: true) {
            switch segment {
            case .token(let id): ids.append(id)
            case .text(let range):
                var pieces = Pieces(text: text, range: range, lead: lead)
                try preTokenizer?.apply(to: &pieces)
                try model.append(pieces, to: &ids)
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
        let text = try decoder?.decode(tokens).joined() ?? tokens.joined(separator: " ")
        guard cleansSpaces else { return text }
        return String(decoding: try SpaceCleaning.apply(to: Array(text.utf8), contractsNot: false), as: UTF8.self)
    }

    /// The id of a token, or nil.
    public func id(of token: String) -> Int32? { addedTokens.id(of: token) ?? model.id(of: token) }

    /// The token of an id, or nil. An added token that is looked for in normalized text is given normalized.
    public func token(of id: Int32) -> String? { addedTokens.text(of: id) ?? model.token(of: id) }
}
