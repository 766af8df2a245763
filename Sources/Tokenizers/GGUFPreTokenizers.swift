import Files
import Support

/// How a byte-level tokenizer of a GGUF file cuts texts.
struct BytePreTokenizer {
    let steps: PreTokenizerSequence
    /// A piece that is a token is taken without merging.
    var ignoresMerges = false
    /// Characters are composed first (NFC), which only the tokenizer that the model was trained with tells.
    var composes = false
}

extension GGUFTokenizerData {
    /// The ways, with the names that llama.cpp gives them (`tokenizer.ggml.pre`).
    private enum Way: String, CaseIterable {
        case gpt2 = "gpt-2"
        case phi2 = "phi-2"
        case roberta = "roberta-bpe"
        case jina1 = "jina-v1-en"
        case jinaSpanish = "jina-v2-es"
        case jinaGerman = "jina-v2-de"
        case jinaCode = "jina-v2-code"
        case smollm, starcoder, refact
        case llamaBPE = "llama-bpe"
        case llama3
        case llama3b = "llama-v3"
        case dbrx
        case smaug = "smaug-bpe"
        case qwen2
        case deepseekQwen = "deepseek-r1-qwen"
        case stablelm2
        case gpt4o = "gpt-4o"
    }

    /// The way of `preTokenizer`.
    ///
    /// Throws `SeamError(.unsupported)` for one that is not known.
    func bytePreTokenizer() throws -> BytePreTokenizer {
        guard let way = Way(rawValue: preTokenizer) else {
            let known = Way.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
            throw error(.unsupported, "has the pre-tokenizer \"\(preTokenizer)\", supported are \(known)")
        }
        let bytes = ByteLevelPreTokenizer(addsPrefixSpace: false, cutsWords: false)
        let gpt2 = ByteLevelPreTokenizer(addsPrefixSpace: false, cutsWords: true)
        func cut(_ steps: any PreTokenizer...) -> PreTokenizerSequence { PreTokenizerSequence(steps) }
        switch way {
        case .gpt2, .phi2, .roberta, .jina1, .jinaSpanish, .jinaGerman, .jinaCode:
            return BytePreTokenizer(steps: cut(gpt2))
        case .smollm, .starcoder, .refact:
            return BytePreTokenizer(steps: cut(DigitsPreTokenizer(isolatesEach: true), gpt2))
        case .llamaBPE, .llama3, .llama3b:
            return BytePreTokenizer(
                steps: cut(SplitPreTokenizer(isolating: .llama3(digits: 3)), bytes), ignoresMerges: true)
        case .dbrx, .smaug:
            return BytePreTokenizer(steps: cut(SplitPreTokenizer(isolating: .llama3(digits: 3)), bytes))
        case .qwen2, .deepseekQwen, .stablelm2:
            return BytePreTokenizer(
                steps: cut(SplitPreTokenizer(isolating: .llama3(digits: 1)), bytes), composes: way == .qwen2)
        case .gpt4o:
            let regex = try OnigurumaRegex(Self.gpt4o, in: path)
            return BytePreTokenizer(steps: cut(SplitPreTokenizer(isolating: .regex(regex)), bytes))
        }
    }

    /// The expression of GPT-4o's tokenizer (o200k), as tokenizer.json of its models has it.
    private static let gpt4o = [
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#,
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#,
        #"\p{N}{1,3}"#, #" ?[^\s\p{L}\p{N}]+[\r\n/]*"#, #"\s*[\r\n]+"#, #"\s+(?!\S)"#, #"\s+"#,
    ].joined(separator: "|")
}
