import SeamPlugin

extension Family {
    /// How a family is read from config.json.
    private typealias Reader = (Options) throws(PluginError) -> Family

    /// Every family there is, by its `model_type` in config.json. docs/model-families.md tells them to people.
    private static var all: [(modelType: StaticString, read: Reader)] {
        [
            ("t5", { config throws(PluginError) in try .t5(config, multilingual: false) }),
            ("mt5", { config throws(PluginError) in try .t5(config, multilingual: true) }),
            ("umt5", { config throws(PluginError) in try .umt5(config) }),
            ("longt5", { config throws(PluginError) in try .longT5(config) }),
            ("bart", { config throws(PluginError) in try .bart(config) }),
            ("mbart", { config throws(PluginError) in try .mbart(config) }),
            ("mvp", { config throws(PluginError) in try .mvp(config) }),
            ("plbart", { config throws(PluginError) in try .plbart(config) }),
            ("marian", { config throws(PluginError) in try .marian(config) }),
            ("pegasus", { config throws(PluginError) in try .pegasus(config) }),
            ("m2m_100", { config throws(PluginError) in try .m2m100(config) }),
            ("blenderbot", { config throws(PluginError) in try .blenderbot(config) }),
            ("blenderbot-small", { config throws(PluginError) in try .blenderbotSmall(config) }),
            ("whisper", { config throws(PluginError) in try .whisper(config) }),
            ("bert", { config throws(PluginError) in try .bert(config) }),
            ("roberta", { config throws(PluginError) in try .roberta(config, "roberta") }),
            ("xlm-roberta", { config throws(PluginError) in try .roberta(config, "xlm-roberta") }),
            ("camembert", { config throws(PluginError) in try .roberta(config, "camembert") }),
            ("distilbert", { config throws(PluginError) in try .distilbert(config) }),
            ("electra", { config throws(PluginError) in try .electra(config) }),
            ("mpnet", { config throws(PluginError) in try .mpnet(config) }),
            ("modernbert", { config throws(PluginError) in try .modernbert(config) }),
            ("deberta-v2", { config throws(PluginError) in try .debertaV2(config) }),
            ("nomic_bert", { config throws(PluginError) in try .nomicBert(config) }),
            ("gpt2", { config throws(PluginError) in try .gpt2(config) }),
            ("llama", { config throws(PluginError) in try .llama(config) }),
            ("mistral", { config throws(PluginError) in try .mistral(config) }),
            ("qwen2", { config throws(PluginError) in try .qwen2(config) }),
            ("qwen3", { config throws(PluginError) in try .qwen3(config) }),
            ("gemma2", { config throws(PluginError) in try .gemma2(config) }),
            ("gemma3_text", { config throws(PluginError) in try .gemma3(config) }),
            ("phi3", { config throws(PluginError) in try .phi3(config) }),
            ("smollm3", { config throws(PluginError) in try .smolLM3(config) }),
            ("olmo2", { config throws(PluginError) in try .olmo2(config) }),
            ("gpt_neox", { config throws(PluginError) in try .gptNeoX(config) }),
            ("opt", { config throws(PluginError) in try .opt(config) }),
        ]
    }

    /// Reads config.json, or throws a sentence that names the key, what was expected and what was found.
    init(_ config: Options) throws(PluginError) {
        let all = Self.all
        let modelType = try config.string("model_type")
        guard let family = all.first(where: { modelType == $0.modelType }) else {
            var known = "\(all[0].modelType)"
            for index in 1..<all.count { known += (index < all.count - 1 ? ", " : " or ") + "\(all[index].modelType)" }
            if let nearest = Self.nearest(to: modelType, among: all.map { $0.modelType }, config) {
                known += "; the nearest is \(nearest)"
            }
            throw PluginError(.unsupported, "config.json: 'model_type' is '\(modelType)'; expected \(known)")
        }
        self = try family.read(config)
        let isCausal = try config.bool("is_causal", default: true)
        guard isCausal || decoder == nil else {
            throw PluginError(
                .unsupported, "config.json: 'is_causal' is false; expected true, tokens that see those before them")
        }
        let both = architecture == .encoderDecoder
        guard try config.bool("is_encoder_decoder", default: both) == both else {
            throw PluginError(
                .unsupported,
                both
                    ? "config.json: 'is_encoder_decoder' is false; expected true, an encoder-decoder model"
                    : "config.json: 'is_encoder_decoder' is true; expected false for '\(name)'")
        }
    }

    /// Whether config.json is of a family above, without a look at the rest of it.
    static func accepts(_ config: Options) -> Bool {
        guard let modelType = try? config.string("model_type") else { return false }
        return all.contains { modelType == $0.modelType }
    }
}
