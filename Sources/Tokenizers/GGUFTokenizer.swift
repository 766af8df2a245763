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
        default:
            throw data.error(
                .unsupported, "has a vocabulary of the kind \"\(data.model)\", supported are \"gpt2\", \"llama\"")
        }
    }
}

extension Tokenizer.Parts {
    fileprivate init(byteLevel gguf: GGUFTokenizerData) throws {
        let tokens = try gguf.vocabulary()
        let merges = try gguf.merges.enumerated().map { try mergePair($1, $0, gguf.error) }
        let (preTokenizer, ignoresMerges) = try gguf.bytePreTokenizer()
        let model = BytePairEncoding(
            vocabulary: tokens, merges: try MergeTable(merges, tokens, gguf.error), ignoresMerges: ignoresMerges)
        // The tokenizer that Qwen 2 was trained with composes characters.
        try self.init(gguf, model: model, normalizer: gguf.preTokenizer == "qwen2" ? FormNormalizer(.nfc) : nil)
        self.preTokenizer = preTokenizer
        decoder = ByteLevelDecoder()
    }

    /// SentencePiece's byte pair encoding: of all neighbours that together are a token, those of the highest score
    /// merge first. That is what merges do when they are ranked by the score of what they make.
    fileprivate init(scored gguf: GGUFTokenizerData) throws {
        guard gguf.scores.count == gguf.tokens.count else {
            throw gguf.error(
                .format, "must have a score for each of the \(gguf.tokens.count) tokens, found \(gguf.scores.count)")
        }
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

    /// What both kinds share.
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
            after: gguf.addEos ? try required(named.eos, "end") : [])
    }
}

extension GGUFTokenizerData {
    fileprivate func error(_ code: ErrorCode, _ sentence: String) -> SeamError {
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
            (\.pad, padToken, "padding"),
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

    /// How texts are cut, and whether a piece that is a token is taken without merging.
    fileprivate func bytePreTokenizer() throws -> (PreTokenizerSequence, ignoresMerges: Bool) {
        let bytes = ByteLevelPreTokenizer(addsPrefixSpace: false, cutsWords: false)
        let gpt2 = ByteLevelPreTokenizer(addsPrefixSpace: false, cutsWords: true)
        switch preTokenizer {
        case "gpt-2": return (PreTokenizerSequence([gpt2]), false)
        case "smollm": return (PreTokenizerSequence([DigitsPreTokenizer(isolatesEach: true), gpt2]), false)
        case "llama-bpe", "llama3", "llama-v3":
            return (PreTokenizerSequence([SplitPreTokenizer(isolating: .llama3(digits: 3)), bytes]), true)
        case "qwen2": return (PreTokenizerSequence([SplitPreTokenizer(isolating: .llama3(digits: 1)), bytes]), false)
        default:
            throw error(
                .unsupported,
                "has the pre-tokenizer \"\(preTokenizer)\", supported are \"gpt-2\", \"smollm\", \"llama-bpe\","
                    + " \"qwen2\"")
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
