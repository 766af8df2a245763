import Files
import Support

extension Tokenizer {
    /// A tokenizer of the vocabulary of a GGUF file. Control and user-defined tokens that a text spells become
    /// their ids.
    ///
    /// Throws `SeamError`: `.format` for lists that do not fit each other or ids that are no tokens,
    /// `.unsupported` for a kind of vocabulary or a way to cut texts that is not known here.
    public convenience init(gguf data: GGUFTokenizerData) throws {
        switch data.model {
        case "gpt2": self.init(try Parts(byteLevel: data))
        case "llama": self.init(try Parts(scored: data))
        case "bert": self.init(try Parts(words: data))
        case "t5": self.init(try Parts(unigrams: data))
        default:
            throw data.error(
                .unsupported,
                "has a vocabulary of the kind \"\(data.model)\", supported are \"gpt2\", \"llama\", \"bert\", \"t5\"")
        }
    }
}

extension Tokenizer.Parts {
    fileprivate init(byteLevel gguf: GGUFTokenizerData) throws {
        let tokens = try gguf.vocabulary()
        let merges = try gguf.merges.enumerated().map { try mergePair($1, $0, gguf.error) }
        let cutting = try gguf.bytePreTokenizer()
        let model = BytePairEncoding(
            vocabulary: tokens, merges: try MergeTable(merges, tokens, gguf.error), ignoresMerges: cutting.ignoresMerges
        )
        try self.init(gguf, model: model, normalizer: cutting.composes ? FormNormalizer(.nfc) : nil)
        preTokenizer = cutting.steps
        decoder = ByteLevelDecoder()
    }

    /// SentencePiece's byte pair encoding: of all neighbours that together are a token, those of the highest score
    /// merge first. That is what merges do when they are ranked by the score of what they make.
    fileprivate init(scored gguf: GGUFTokenizerData) throws {
        try gguf.requireScores()
        let tokens = try gguf.vocabulary()
        let model = BytePairEncoding(
            vocabulary: tokens, merges: gguf.mergesByScore(tokens),
            unknown: try gguf.named().unknown.map {
                UnknownToken(gguf.tokens[Int($0)], in: tokens, place: gguf.path)
            },
            fusesUnknown: true, byteFallback: true)
        let space = ReplaceNormalizer(literal: " ", with: "\u{2581}")
        let prefix: [any Normalizer] = gguf.addSpacePrefix ? [PrependNormalizer("\u{2581}")] : []
        try self.init(gguf, model: model, normalizer: NormalizerSequence(prefix + [space]))
        var steps: [any TokenDecoder] = [
            ReplaceDecoder(literal: "\u{2581}", with: " "), ByteFallbackDecoder(), FuseDecoder(),
        ]
        if gguf.addSpacePrefix { steps.append(StripDecoder(" ", start: 1, stop: 0)) }
        decoder = DecoderSequence(steps)
    }

    /// BERT's. In the file a token that begins a word has a mark in front, and one that continues it none; texts are
    /// lowercased and accents stripped, as llama.cpp does for every such model.
    fileprivate init(words gguf: GGUFTokenizerData) throws {
        var words = gguf
        words.tokens = gguf.tokens.enumerated().map { number, token in
            let isControl = gguf.tokenTypes.isEmpty ? false : gguf.tokenTypes[number] == 3
            // Older converters left the marks of special tokens as they are, whatever their type.
            if isControl || token.hasPrefix("[") && token.hasSuffix("]") { return token }
            let mark = "\u{2581}".unicodeScalars
            return token.unicodeScalars.starts(with: mark)
                ? String(token.unicodeScalars.dropFirst(mark.count)) : "##" + token
        }
        func id(_ token: String) -> Int32? { words.tokens.firstIndex(of: token).map { Int32($0) } }
        words.unknownToken = gguf.unknownToken ?? id("[UNK]")
        words.bosToken = gguf.bosToken ?? gguf.clsToken ?? id("[CLS]")
        words.clsToken = gguf.clsToken ?? words.bosToken
        words.sepToken = gguf.sepToken ?? id("[SEP]")
        words.padToken = gguf.padToken ?? id("[PAD]")
        words.maskToken = gguf.maskToken ?? id("[MASK]")
        let tokens = try words.vocabulary()
        let unknown = try words.named().unknown.map { words.tokens[Int($0)] } ?? "[UNK]"
        let model = WordPiece(
            tokens, unknown: UnknownToken(unknown, in: tokens, place: gguf.path), prefix: "##", longestWord: 100)
        try self.init(words, model: model, normalizer: BertNormalizer(lowercases: true))
        // A text has no begin token but this.
        named.bos = gguf.bosToken
        preTokenizer = BertPreTokenizer()
        decoder = WordPieceDecoder(prefix: "##", cleansUp: true)
    }

    /// SentencePiece's unigrams, with its rules for characters and spaces.
    fileprivate init(unigrams gguf: GGUFTokenizerData) throws {
        try gguf.requireScores()
        let tokens = try gguf.vocabulary()
        var known = gguf
        known.eosToken = gguf.eosToken ?? tokens.id(of: "</s>")
        known.padToken = gguf.padToken ?? tokens.id(of: "<pad>")
        known.unknownToken = gguf.unknownToken ?? gguf.tokenTypes.firstIndex(of: 2).map { Int32($0) }
        let types = gguf.tokenTypes
        let model = Unigram(
            tokens, scores: gguf.scores.map { Double($0) }, spelled: { types.isEmpty || types[$0] == 1 },
            unknown: try known.named().unknown, byteFallback: types.contains(6), place: gguf.path)
        var rules: [any Normalizer] = []
        if !gguf.precompiledCharsmap.isEmpty {
            rules.append(
                try PrecompiledNormalizer(gguf.precompiledCharsmap) {
                    gguf.error(.format, "has a precompiled_charsmap of \($0) bytes that is none of SentencePiece")
                })
        }
        if gguf.removesExtraSpaces {
            for (pattern, content) in [(#"\A +| +\z"#, ""), (" {2,}", " ")] {
                rules.append(ReplaceNormalizer(.regex(try OnigurumaRegex(pattern, in: gguf.path)), with: content))
            }
        }
        try self.init(known, model: model, normalizer: rules.isEmpty ? nil : NormalizerSequence(rules))
        let spaces = Metaspace(prepends: gguf.addSpacePrefix)
        preTokenizer = spaces
        decoder = spaces
    }

    /// What all kinds share.
    private init(_ gguf: GGUFTokenizerData, model: any TokenizerModel, normalizer: (any Normalizer)?) throws {
        let added = gguf.tokenTypes.enumerated().compactMap { number, type -> AddedToken? in
            guard type == 3 || type == 4 else { return nil }
            var token = AddedToken(gguf.tokens[number], id: Int32(number), place: gguf.path)
            token.isSpecial = type == 3
            return token
        }
        self.init(
            path: gguf.path, model: model,
            addedTokens: try AddedTokens(added, model: model, normalizer: normalizer), normalizer: normalizer)
        named = try gguf.named()
        func required(_ id: Int32?, _ purpose: String) throws -> [Int32] {
            guard let id else {
                throw gguf.error(.format, "adds the \(purpose) token to every text, but names none")
            }
            return [id]
        }
        postProcessor = TemplateProcessing(
            before: gguf.addBos ? try required(named.bos, "begin") : [],
            // llama.cpp puts separators behind texts of WordPiece only.
            after: (gguf.addEos ? try required(named.eos, "end") : [])
                + (gguf.addSep && gguf.model == "bert" ? try required(named.sep, "separating") : []))
    }
}

extension GGUFTokenizerData {
    func error(_ code: ErrorCode, _ sentence: String) -> SeamError {
        SeamError(code, "\(path) \(sentence)")
    }

    fileprivate func vocabulary() throws -> Vocabulary {
        guard !tokens.isEmpty, tokens.count <= Int(Int32.max) else {
            throw error(.format, "must have 1 to 2147483647 tokens, found \(tokens.count)")
        }
        guard tokenTypes.isEmpty || tokenTypes.count == tokens.count else {
            throw error(.format, "must have a type for each of the \(tokens.count) tokens, found \(tokenTypes.count)")
        }
        var vocabulary = Vocabulary(minimumCapacity: tokens.count)
        for (number, token) in tokens.enumerated() where vocabulary.insert(token, id: Int32(number)) != nil {
            throw error(.format, "has the token \"\(token)\" twice")
        }
        return vocabulary
    }

    fileprivate func named() throws -> NamedTokens {
        var named = NamedTokens()
        let places: [(WritableKeyPath<NamedTokens, Int32?>, Int32?, String)] = [
            (\.bos, bosToken, "bos"), (\.eos, eosToken, "eos"), (\.unknown, unknownToken, "unknown"),
            (\.pad, padToken, "padding"), (\.cls, clsToken, "cls"), (\.sep, sepToken, "separating"),
            (\.mask, maskToken, "mask"),
        ]
        for (place, id, purpose) in places {
            guard let id else { continue }
            guard id >= 0, Int(id) < tokens.count else {
                throw error(.format, "has \(id) as \(purpose) token, expected one of the \(tokens.count) tokens")
            }
            named[keyPath: place] = id
        }
        return named
    }

    fileprivate func requireScores() throws {
        guard scores.count == tokens.count else {
            throw error(.format, "must have a score for each of the \(tokens.count) tokens, found \(scores.count)")
        }
    }

    /// All ways to make a token of two others, in the order of its score.
    fileprivate func mergesByScore(_ vocabulary: Vocabulary) -> MergeTable {
        var table = MergeTable(minimumCapacity: 4 * tokens.count)
        let order = tokens.indices.sorted { scores[$0] > scores[$1] }
        let lengths = Set(tokens.map(\.utf8.count))
        var rank: UInt32 = 0
        for (place, number) in order.enumerated() {
            // Tokens of one score have one rank, so that the leftmost merges first.
            if place > 0, scores[number] != scores[order[place - 1]] { rank += 1 }
            let token = Array(tokens[number].utf8)
            // Only where both parts can be tokens: a token of 100,000 bytes has as many places to be cut.
            vocabulary.forEachPrefix(of: token) { left, cut in
                guard cut < token.count, lengths.contains(token.count - cut),
                    let right = vocabulary.id(of: token, cut..<token.count)
                else { return }
                table.insert(left, right, rank: rank, result: Int32(number))
            }
        }
        return table
    }
}
