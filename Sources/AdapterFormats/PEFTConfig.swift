import Files
import SeamHost
import Support

/// What the `adapter_config.json` of PEFT says of a trained prefix or prompt.
struct PEFTConfig {
    /// The tensor of the prefix or of the prompt, and the only one without a head.
    static let tensorName = "prompt_embeddings"

    let method: PEFTMethod
    let task: String
    let tokens: Int
    let tokenDim: Int
    /// The heads of the keys; 0 for a prompt, which has none.
    let heads: Int
    /// The layers of the prefix; 0 for a prompt.
    let layers: Int
    let submodules: Int
    /// The first tokens of a cartridge that are not trained; else 0.
    let frozenTokens: Int

    /// Keys that do not change what the model computes: how the prefix began and was trained, of which what came out is
    /// saved.
    private static let harmless = ["encoder_hidden_size", "init_weights", "prefix_projection"]
    /// Keys of a prompt that do not change what the model computes.
    private static let harmlessOfPrompts = [
        "encoder_dropout", "encoder_num_layers", "encoder_reparameterization_type", "prompt_tuning_init",
        "prompt_tuning_init_text", "tokenizer_kwargs", "tokenizer_name_or_path",
    ]
    private static let frozenKey = "num_frozen_tokens"
    private static let followed = [
        "modules_to_save", "num_attention_heads", "num_layers", "num_transformer_submodules", "num_virtual_tokens",
        "peft_type", "task_type", "token_dim",
    ]
    /// Takes a config's members.
    /// - Throws: `.format` for a missing or wrong member, `.unsupported` for another method, for other trained parts of
    ///   the model than a head, and for a key that is not known and asks for something.
    init(_ folder: PEFTFolder) throws {
        let (json, name, method) = (folder.config, folder.configPath, folder.method)
        self.method = method
        guard let task = try json.optionalString("task_type", in: name) else {
            throw SeamError(
                .unsupported,
                "\(name): task_type must name a task, found none, with which PEFT leaves the \(method.product) unused")
        }
        self.task = task
        func count(_ key: String) throws -> Int {
            let value = try json.requireInt(key, in: name)
            guard value > 0 else { throw SeamError(.format, "\(name): \(key) must be positive, found \(value)") }
            return value
        }
        tokens = try count("num_virtual_tokens")
        tokenDim = try count("token_dim")
        (heads, layers) =
            method.isPrefix ? (try count("num_attention_heads"), try count("num_layers")) : (0, 0)
        submodules = try json.optionalInt("num_transformer_submodules", in: name) ?? (task == "SEQ_2_SEQ_LM" ? 2 : 1)
        frozenTokens = method == .cartridge ? try json.optionalInt(Self.frozenKey, in: name) ?? 1 : 0
        guard (0...tokens).contains(frozenTokens) else {
            throw SeamError(
                .format,
                "\(name): \(Self.frozenKey) must be 0 ... \(tokens), the num_virtual_tokens, found \(frozenTokens)")
        }
        try folder.checkModules()
        let own =
            switch method {
            case .cartridge: [Self.frozenKey]
            case .prefixTuning: Self.harmless
            default: Self.harmless + Self.harmlessOfPrompts
            }
        try folder.refuseUnknownKeys(besides: Self.followed + own)
    }

    /// The config of a prompt of so many vectors for a backbone.
    init(promptOf tokens: Int, for info: BackboneInfo) {
        (method, task) = (.promptTuning, Self.task(of: info))
        (self.tokens, tokenDim) = (tokens, info.dModel)
        (heads, layers, frozenTokens) = (0, 0, 0)
        // PEFT gives an encoder-decoder's encoder the first of these.
        submodules = 1
    }

    /// The task of PEFT that an exported folder is for.
    static func task(of info: BackboneInfo) -> String {
        switch info.architecture {
        case .encoderDecoder: "SEQ_2_SEQ_LM"
        case .decoderOnly: "CAUSAL_LM"
        // SEQ_CLS and the like want a head in the file.
        case .encoderOnly, .text: "FEATURE_EXTRACTION"
        }
    }

    /// The config of a prefix for a backbone.
    /// - Parameter frozenTokens: of a cartridge; nil: it is none.
    init(_ layout: PEFTLayout, frozenTokens: Int? = nil, for info: BackboneInfo) {
        (method, task) = (frozenTokens == nil ? .prefixTuning : .cartridge, Self.task(of: info))
        self.frozenTokens = frozenTokens ?? 0
        tokens = layout.tokens
        tokenDim = layout.heads * layout.headDim
        heads = layout.heads
        layers = layout.storedLayers
        submodules = layout.submodules
    }

    /// The members that every release of PEFT knows, in its order.
    func json(baseModel: String?) -> JSON {
        guard method.isPrefix else { return promptJSON(baseModel: baseModel) }
        let common: JSON = [
            "auto_mapping": .null,
            "base_model_name_or_path": baseModel.map { .string($0) } ?? .null,
            "inference_mode": true,
            "num_attention_heads": .int(Int64(heads)),
            "num_layers": .int(Int64(layers)),
            "num_transformer_submodules": .int(Int64(submodules)),
            "num_virtual_tokens": .int(Int64(tokens)),
            "peft_type": .string(method.rawValue),
            "revision": .null,
            "task_type": .string(task),
            "token_dim": .int(Int64(tokenDim)),
        ]
        let own: JSON =
            method == .cartridge
            ? [Self.frozenKey: .int(Int64(frozenTokens))]
            : ["encoder_hidden_size": .int(Int64(tokenDim)), "prefix_projection": false]
        return .object((common.objectValue! + own.objectValue!).sorted { $0.key < $1.key })
    }

    private func promptJSON(baseModel: String?) -> JSON {
        [
            "auto_mapping": .null,
            "base_model_name_or_path": baseModel.map { .string($0) } ?? .null,
            "inference_mode": true,
            // PEFT asks for them and reads neither.
            "num_attention_heads": 1,
            "num_layers": 1,
            "num_transformer_submodules": .int(Int64(submodules)),
            "num_virtual_tokens": .int(Int64(tokens)),
            "peft_type": .string(method.rawValue),
            "prompt_tuning_init": "RANDOM",
            "prompt_tuning_init_text": .null,
            "revision": .null,
            "task_type": .string(task),
            "token_dim": .int(Int64(tokenDim)),
            "tokenizer_name_or_path": .null,
        ]
    }

    /// The tasks of PEFT that a backbone is of.
    static func tasks(of info: BackboneInfo) -> [String] {
        switch info.architecture {
        case .encoderDecoder: ["SEQ_2_SEQ_LM"]
        case .decoderOnly: ["CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"]
        case .encoderOnly: ["FEATURE_EXTRACTION", "SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS"]
        case .text: []
        }
    }

    /// Whether the prompt is one for this backbone.
    /// - Throws: `.incompatible`, one sentence of what does not fit.
    func checkPrompt(for info: BackboneInfo, in name: String) throws {
        let tasks = Self.tasks(of: info)
        let checks = [
            ("task_type", tasks.joined(separator: " or "), task, tasks.contains(task)),
            ("token_dim", "\(info.dModel), the width of its embeddings,", "\(tokenDim)", tokenDim == info.dModel),
            ("num_transformer_submodules", "1 or 2", "\(submodules)", (1...2).contains(submodules)),
        ]
        for (key, expected, found, holds) in checks where !holds {
            throw SeamError(.incompatible, "\(name): \(key) must be \(expected) for this model, found \(found)")
        }
    }

    /// Whether the prefix is one for this backbone.
    /// - Throws: `.incompatible`, one sentence of what does not fit.
    func check(for info: BackboneInfo, in name: String) throws {
        let own = info.prefixLayers[PEFTLayout.attention(of: info).rawValue]
        guard own > 0 else { throw SeamError(.unsupported, "this model takes no prefix, and \(name) is of one") }
        func require(_ holds: Bool, _ key: String, _ expected: String, _ found: String) throws {
            guard holds else {
                throw SeamError(.incompatible, "\(name): \(key) must be \(expected) for this model, found \(found)")
            }
        }
        let tasks = Self.tasks(of: info)
        try require(tasks.contains(task), "task_type", tasks.joined(separator: " or "), task)
        let expected = info.architecture == .encoderDecoder ? 2 : 1
        try require(submodules == expected, "num_transformer_submodules", "\(expected)", "\(submodules)")
        try require(heads == info.kvHeads, "num_attention_heads", "\(info.kvHeads), the heads of its keys,", "\(heads)")
        let width = info.kvHeads * info.headDim
        try require(tokenDim == width, "token_dim", "\(width), the width of its keys,", "\(tokenDim)")
        // An encoder-decoder's is the encoder's number where PEFT chose it; layers beyond the decoder's are not read.
        if info.architecture == .encoderDecoder {
            try require(layers >= own, "num_layers", "at least \(own), the decoder's,", "\(layers)")
        } else {
            try require(layers == own, "num_layers", "\(own)", "\(layers)")
        }
    }
}
