import Files
import Support

/// What a model family does around a SentencePiece model, as its slow tokenizer of Hugging Face Transformers does.
private enum SentencePieceFamily: Sendable {
    /// The ids of the model, and nothing else.
    case plain
    /// "</s>" behind the text; the sentinels "<extra_id_99>" to "<extra_id_0>" behind the vocabulary.
    case t5
    /// "<s>" in front of the text, as "add_bos_token" and "add_eos_token" say.
    case llama

    init(_ config: TokenizerPart?, folder: String) throws {
        if let config, let name = try config.optionalString("tokenizer_class") {
            self = try Self.named(name, ["T5": .t5, "MT5": .t5, "Llama": .llama], suffix: "Tokenizer") { sentence in
                config.error(.unsupported, "has the tokenizer_class \(sentence)")
            }
            return
        }
        let path = FileSystem.join(folder, "config.json")
        guard FileSystem.exists(path) else {
            self = .plain
            return
        }
        let model = TokenizerPart(file: path, path: "", value: try JSON.read(path))
        guard let name = try model.optionalString("model_type") else {
            self = .plain
            return
        }
        self = try Self.named(name, ["t5": .t5, "mt5": .t5, "umt5": .t5, "llama": .llama], suffix: "") { sentence in
            model.error(.unsupported, "has the model_type \(sentence)")
        }
    }

    private static func named(
        _ name: String, _ families: KeyValuePairs<String, SentencePieceFamily>, suffix: String,
        _ error: (String) -> SeamError
    ) throws -> SentencePieceFamily {
        for (key, family) in families where name == key + suffix || name == key + suffix + "Fast" { return family }
        let known = families.map { "\"\($0.key)\(suffix)\"" }.joined(separator: ", ")
        throw error(
            "\"\(name)\", for which a SentencePiece file is not enough, supported are \(known); save the"
                + " tokenizer as tokenizer.json")
    }
}

extension Tokenizer.Parts {
    /// A SentencePiece model with what its family adds.
    ///
    /// The family is the "tokenizer_class" of `tokenizer_config.json` or, without one, the "model_type" of
    /// `config.json`; without either, ids and texts are those of the SentencePiece library as it is. Special
    /// tokens inside of a text become their ids; what is between them is a text of its own for the library, which
    /// puts its space in front of each (as `legacy` in Transformers).
    init(sentencePiece path: String, folder: String) throws {
        guard !path.hasSuffix("/source.spm") else {
            throw SeamError(
                .unsupported,
                "\(path) is one of the two vocabularies of a Marian model, which are not supported; save the tokenizer"
                    + " as tokenizer.json")
        }
        let configPath = FileSystem.join(folder, "tokenizer_config.json")
        let config =
            FileSystem.exists(configPath)
            ? TokenizerPart(file: configPath, path: "", value: try JSON.read(configPath)) : nil
        let family = try SentencePieceFamily(config, folder: folder)
        let model = try SentencePiece(path: path)
        let marked = [SentencePiece.Purpose.unknown, .begin, .end, .padding].compactMap { model.id(of: $0) }
        var added: [AddedToken] = []
        if family != .plain {
            added = marked.map { AddedToken(model.token(of: $0) ?? "", id: $0, place: path) }
        }
        if family == .t5 { added += try Self.sentinels(config, model, path) }
        self.init(path: path, model: model, addedTokens: try AddedTokens(added, model: model, normalizer: nil))
        decoder = model
        named = try NamedTokens(folder: folder, source: FileSystem.baseName(path), findID: id(of:))
        cleansSpaces = try TokenizerSettings(folder: folder).cleansSpaces(isBytePair: family != .t5)
        named.bos = named.bos ?? model.id(of: .begin)
        named.eos = named.eos ?? model.id(of: .end)
        named.pad = named.pad ?? model.id(of: .padding)
        named.unknown = named.unknown ?? model.id(of: .unknown)
        postProcessor = try Self.template(family, config, named, path)
    }

    private static func sentinels(
        _ config: TokenizerPart?, _ model: SentencePiece, _ path: String
    ) throws -> [AddedToken] {
        let count = config?.member("extra_ids") == nil ? 100 : try config!.int("extra_ids")
        guard (0...100_000).contains(count) else {
            throw config!.error(.format, "must have 0 to 100000 \"extra_ids\", found \(count)")
        }
        return (0..<count).map { number in
            var token = AddedToken(
                "<extra_id_\(count - 1 - number)>", id: Int32(clamping: model.size + number), place: path)
            token.stripsLeft = true
            token.stripsRight = true
            return token
        }
    }

    private static func template(
        _ family: SentencePieceFamily, _ config: TokenizerPart?, _ named: NamedTokens, _ path: String
    ) throws -> TemplateProcessing? {
        func required(_ id: Int32?, _ purpose: String) throws -> [Int32] {
            guard let id else {
                throw SeamError(.incompatible, "\(path) has no \(purpose) token, which its family adds to every text")
            }
            return [id]
        }
        switch family {
        case .plain: return nil
        case .t5: return TemplateProcessing(before: [], after: try required(named.eos, "end"))
        case .llama:
            let begins = try config?.bool("add_bos_token", default: true) ?? true
            let ends = try config?.bool("add_eos_token", default: false) ?? false
            return TemplateProcessing(
                before: begins ? try required(named.bos, "begin") : [],
                after: ends ? try required(named.eos, "end") : [])
        }
    }
}
