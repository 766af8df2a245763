import Files
import Support

/// The small files beside a `tokenizer.json` that change what transformers and sentence-transformers make of a text:
/// `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`, and those of a sentence encoder.
///
/// docs/model-folders.md lists what becomes of each key.
struct TokenizerSettings {
    private let config: TokenizerPart?
    private let specialTokens: TokenizerPart?
    private let addedTokens: TokenizerPart?
    private let sentenceEncoder: TokenizerPart?
    /// Whether sentence-transformers reads the folder, which cuts texts by another rule than `tokenizer.json` has.
    let isSentenceEncoder: Bool

    init(folder: String) throws {
        func part(at path: String) throws -> TokenizerPart {
            let part = TokenizerPart(file: path, path: "", value: try JSON.read(path))
            guard part.value.objectValue != nil else {
                throw part.error(.format, "must hold a JSON object, found \(part.value.kind)")
            }
            return part
        }
        func part(_ name: String) throws -> TokenizerPart? {
            let path = FileSystem.join(folder, name)
            return FileSystem.exists(path) ? try part(at: path) : nil
        }
        config = try part("tokenizer_config.json")
        specialTokens = try part("special_tokens_map.json")
        addedTokens = try part("added_tokens.json")
        sentenceEncoder = try SentenceEncoderFile.path(in: folder).map(part(at:))
        isSentenceEncoder = FileSystem.exists(FileSystem.join(folder, "modules.json"))
    }

    /// Whether transformers takes `tokenizer.json` as it is: its general classes do, those of a family set parts anew.
    private var isGeneral: Bool {
        ["PreTrainedTokenizerFast", "TokenizersBackend"].contains(config?.member("tokenizer_class")?.stringValue)
    }

    // MARK: Parts of tokenizer.json

    /// The normalizer, with what `do_lower_case`, `strip_accents` and `tokenize_chinese_chars` say of BERT's.
    func normalizer(_ root: TokenizerPart) throws -> (any Normalizer)? {
        guard let part = try root.part("normalizer") else { return nil }
        guard let config, !isGeneral, part.member("type")?.stringValue == "BertNormalizer" else {
            return try Tokenizers.normalizer(part)
        }
        var members = part.value.objectValue ?? []
        for (key, name) in [
            ("do_lower_case", "lowercase"), ("strip_accents", "strip_accents"),
            ("tokenize_chinese_chars", "handle_chinese_chars"),
        ] {
            guard let value = config.member(key), value != .null else { continue }
            _ = try config.bool(key)
            members.removeAll { $0.key == name }
            members.append((key: name, value: value))
        }
        return try Tokenizers.normalizer(TokenizerPart(file: part.file, path: part.path, value: .object(members)))
    }

    /// Throws for settings that contradict `tokenizer.json`, where transformers goes by the settings.
    func check(_ root: TokenizerPart) throws {
        guard let config else { return }
        if config.member("split_special_tokens") == .bool(true) {
            throw config.error(.unsupported, "has \"split_special_tokens\": true, which is not offered")
        }
        // Transformers builds a WordPiece model anew, with this token for unknown words.
        let setting = config.member("unk_token")
        if !isGeneral, let model = root.member("model"), model["type"]?.stringValue == "WordPiece",
            let unknown = setting?.stringValue ?? setting?["content"]?.stringValue,
            let found = model["unk_token"]?.stringValue, TextKey(found) != TextKey(unknown)
        {
            throw config.error(
                .incompatible,
                "has \"\(unknown)\" as \"unk_token\", \(FileSystem.baseName(root.file)) has \"\(found)\": save the tokenizer"
                    + " again with transformers")
        }
        guard !isGeneral, let prefix = config.member("add_prefix_space")?.boolValue, let found = Self.prefixSpace(root),
            found != prefix
        else { return }
        throw config.error(
            .incompatible,
            "has \"add_prefix_space\": \(prefix), \(FileSystem.baseName(root.file)) has \(found): save the tokenizer again"
                + " with transformers")
    }

    /// Throws where the language of source texts is another than the one whose token `tokenizer.json` puts around a text.
    func checkLanguage(around ids: [Int32], id: (String) -> Int32?) throws {
        guard let config, !isGeneral, let language = config.member("src_lang")?.stringValue, let token = id(language),
            !ids.contains(token)
        else { return }
        throw config.error(
            .incompatible,
            "has \"\(language)\" as \"src_lang\", whose token tokenizer.json does not put around a text: save"
                + " the tokenizer again with transformers")
    }

    /// Whether a byte-level or SentencePiece-like pre-tokenizer puts a space in front; nil where there is none.
    private static func prefixSpace(_ root: TokenizerPart) -> Bool? {
        func of(_ part: JSON?) -> Bool? {
            switch part?["type"]?.stringValue {
            case "Sequence":
                (part?["pretokenizers"]?.arrayValue ?? part?["normalizers"]?.arrayValue ?? []).lazy.compactMap(of).first
            case "ByteLevel": part?["add_prefix_space"]?.boolValue
            case "Metaspace":
                part?["prepend_scheme"]?.stringValue.map { $0 != "never" } ?? part?["add_prefix_space"]?.boolValue
            case "Prepend": true
            default: nil
            }
        }
        return of(root.member("pre_tokenizer")) ?? of(root.member("normalizer"))
    }

    /// Whether `clean_up_tokenization_spaces` holds: transformers passes over it where merges make the tokens.
    func cleansSpaces(isBytePair: Bool) -> Bool {
        !isBytePair && config?.member("clean_up_tokenization_spaces") == .bool(true)
    }

    // MARK: Added tokens

    /// The added tokens of `tokenizer.json` with what `added_tokens_decoder` says of them, and those that only the
    /// settings name. `id` gives the id of a token in the vocabulary.
    func added(to tokens: [AddedToken], id: (String) -> Int32?) throws -> [AddedToken] {
        var tokens = tokens
        func place(_ token: AddedToken) {
            if let known = tokens.firstIndex(where: { $0.content == token.content }) {
                tokens[known] = token
            } else {
                tokens.append(token)
            }
        }
        if let config, let decoder = try config.part("added_tokens_decoder") {
            let entries = try (decoder.value.objectValue ?? []).map { key, value in
                let part = TokenizerPart(file: config.file, path: "added_tokens_decoder.\(key)", value: value)
                guard value.objectValue != nil, let number = Int32(key), number >= 0 else {
                    throw part.error(.format, "must be a token under its id")
                }
                return (part: part, id: number)
            }
            for (part, number) in entries.sorted(by: { $0.id < $1.id }) {
                let known = tokens.first { $0.content == part.member("content")?.stringValue }
                place(
                    try AddedToken(
                        setting: part, known: known, id: known?.id ?? id(try part.string("content")) ?? number))
            }
        } else if let addedTokens {
            // Of before transformers 4.34; where tokenizer.json has such a token, it knows more about it.
            let entries = try (addedTokens.value.objectValue ?? []).map { key, value in
                (content: key, id: try addedTokens.id(key))
            }
            for (content, number) in entries.sorted(by: { $0.id < $1.id })
            where !tokens.contains(where: { $0.content == content }) {
                var token = AddedToken(content, id: id(content) ?? number, place: addedTokens.file)
                (token.isNormalized, token.isSpecial) = (true, false)
                place(token)
            }
        }
        for (content, file) in try additionalTokens() {
            if let known = tokens.firstIndex(where: { $0.content == content }) {
                tokens[known].isSpecial = true
                continue
            }
            guard let number = id(content) else {
                throw file.error(
                    .incompatible, "names the special token \"\(content)\", which is no token of tokenizer.json")
            }
            place(AddedToken(content, id: number, place: file.file))
        }
        return tokens
    }

    /// The names of `additional_special_tokens`, or `extra_special_tokens` as they are called since transformers 5.
    private func additionalTokens() throws -> [(content: String, file: TokenizerPart)] {
        var found: [(content: String, file: TokenizerPart)] = []
        for file in [config, specialTokens].compactMap({ $0 }) {
            for key in ["additional_special_tokens", "extra_special_tokens"] {
                for token in file.member(key)?.arrayValue ?? [] {
                    guard let content = token.stringValue ?? token["content"]?.stringValue else {
                        throw file.error(.format, "must have strings in \"\(key)\", found \(token.kind)")
                    }
                    found.append((content, file))
                }
            }
        }
        return found
    }

    // MARK: Sentence encoders

    /// The length to which sentence-transformers cuts a text; nil where it is not said, so that the positions decide.
    func longestText(addedCount: Int) throws -> Int? {
        func length(_ key: String, of part: TokenizerPart?) throws -> Int? {
            // A length of 10^30 is what transformers writes where none is set.
            guard let part, let value = part.member(key), value != .null, !(value.doubleValue ?? 0 > 1e9) else {
                return nil
            }
            let length = try part.int(key)
            guard length > addedCount else {
                throw part.error(
                    .format, "must have more than the \(addedCount) special tokens as \"\(key)\", found \(length)")
            }
            return length
        }
        if let length = try length("max_seq_length", of: sentenceEncoder) { return length }
        return isSentenceEncoder ? try length("model_max_length", of: config) : nil
    }

    /// Throws where sentence-transformers lowercases texts that the tokenizer does not.
    func checkCase(_ normalizer: (any Normalizer)?) throws {
        guard let sentenceEncoder, sentenceEncoder.member("do_lower_case") == .bool(true) else { return }
        let probe = Array("A".utf8)
        guard try !(normalizer?.normalize(probe) ?? probe).contains(probe[0]) else {
            throw sentenceEncoder.error(
                .unsupported,
                "has \"do_lower_case\": true, and the tokenizer keeps capitals: write the texts in lower case"
                    + " and set it to false")
        }
    }
}

extension AddedToken {
    /// A token as `added_tokens_decoder` has it; what that does not say is as the token was known.
    fileprivate init(setting part: TokenizerPart, known: AddedToken?, id: Int32) throws {
        self.init(try part.string("content"), id: id, place: part.place)
        func flag(_ key: String, _ otherwise: Bool) throws -> Bool {
            part.member(key) == nil ? otherwise : try part.bool(key)
        }
        singleWord = try flag("single_word", known?.singleWord ?? false)
        stripsLeft = try flag("lstrip", known?.stripsLeft ?? false)
        stripsRight = try flag("rstrip", known?.stripsRight ?? false)
        isSpecial = try flag("special", known?.isSpecial ?? false)
        isNormalized = try flag("normalized", known?.isNormalized ?? !isSpecial)
    }
}
