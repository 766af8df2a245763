import Files
import Session
import Support

/// The methods of PEFT whose folders are read and written.
enum PEFTMethod: String, CaseIterable {
    case prefixTuning = "PREFIX_TUNING"
    case promptTuning = "PROMPT_TUNING"
    case pTuning = "P_TUNING"

    /// The method as sentences name it.
    var name: String {
        switch self {
        case .prefixTuning: "prefix tuning"
        case .promptTuning: "prompt tuning"
        case .pTuning: "P-tuning"
        }
    }

    /// The adapter that a folder of it becomes. The exchange is between two methods, so it names both sides of each.
    var adapter: String {
        switch self {
        case .prefixTuning: "prefix-tuning"
        case .promptTuning, .pTuning: "prompt-tuning"
        }
    }

    /// What it puts before a text.
    var product: String { self == .prefixTuning ? "prefix" : "prompt" }
}

/// What the `adapter_config.json` of PEFT says of a trained prefix or prompt.
struct PEFTConfig {
    static let fileName = "adapter_config.json"
    static let weightsName = "adapter_model.safetensors"
    static let pickleName = "adapter_model.bin"
    /// What is replaced: what PEFT and the export write, and nothing else.
    static let kind = FolderKind(fileName, weightsName, pickleName, "README.md")
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

    /// Keys that do not change what the model computes: where the model is found, who wrote the file, how the prefix
    /// began and was trained, of which what came out is saved.
    private static let harmless = [
        "auto_mapping", "base_model_name_or_path", "encoder_hidden_size", "inference_mode", "init_weights",
        "peft_version",
        "prefix_projection", "revision",
    ]
    /// Keys of a prompt that do not change what the model computes.
    private static let harmlessOfPrompts = [
        "encoder_dropout", "encoder_num_layers", "encoder_reparameterization_type", "prompt_tuning_init",
        "prompt_tuning_init_text", "tokenizer_kwargs", "tokenizer_name_or_path",
    ]
    private static let followed = [
        "modules_to_save", "num_attention_heads", "num_layers", "num_transformer_submodules", "num_virtual_tokens",
        "peft_type", "task_type", "token_dim",
    ]
    /// The heads that PEFT trains along with a prefix, by task.
    private static let headsOfTasks = [
        "SEQ_CLS": ["classifier", "score"], "TOKEN_CLS": ["classifier", "score"], "QUESTION_ANS": ["qa_outputs"],
    ]

    /// The parts of the model that are a head of the config's task.
    var trainedHeads: [String] { Self.headsOfTasks[task] ?? [] }

    /// Reads a config.
    /// - Throws: `.format` for a missing or wrong member, `.unsupported` for another method, for other trained parts of
    ///   the model than a head, and for a key that is not known and asks for something.
    init(reading name: String) throws {
        let json = try JSON.read(name)
        guard json["schema"] == nil || json["peft_type"] != nil else {
            throw SeamError(.invalidArgument, "\(name) is of an adapter of SeamKit: it needs no import")
        }
        let type = try json.requireString("peft_type", in: name)
        guard let method = PEFTMethod(rawValue: type) else {
            let known = PEFTMethod.allCases.map(\.rawValue).joined(separator: ", ")
            throw SeamError(
                .unsupported, "\(name): peft_type must be one of \(known), those that can be read, found \(type)")
        }
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
            method == .prefixTuning ? (try count("num_attention_heads"), try count("num_layers")) : (0, 0)
        submodules = try json.optionalInt("num_transformer_submodules", in: name) ?? (task == "SEQ_2_SEQ_LM" ? 2 : 1)
        try checkModules(json, name)
        let known = Self.harmless + Self.followed + (method == .prefixTuning ? [] : Self.harmlessOfPrompts)
        for (key, value) in json.objectValue ?? [] where !known.containsExactly(key) {
            guard [.null, .bool(false), [], .object([])].contains(value) else {
                throw SeamError(
                    .unsupported,
                    "\(name): \(key) is no key of PEFT's \(method.name) that is known, and could change what the"
                        + " \(method.product) does: expected none, found \(try value.serialized()); take it out if it does not"
                )
            }
        }
    }

    private func checkModules(_ json: JSON, _ name: String) throws {
        guard let value = json["modules_to_save"], value != .null else { return }
        let modules = value.arrayValue?.compactMap(\.stringValue) ?? []
        guard modules.count == value.arrayValue?.count else {
            throw SeamError(
                .format, "\(name): modules_to_save must be an array of strings, found \(try value.serialized())")
        }
        if let stranger = modules.first(where: { !trainedHeads.containsExactly($0) }) {
            throw SeamError(
                .unsupported,
                "\(name): modules_to_save names \"\(stranger)\", a part of the model that was trained along:"
                    + " only a \(method.product) alone can be read")
        }
    }

    /// The config of a prompt of so many vectors for a backbone.
    init(promptOf tokens: Int, for info: BackboneInfo) {
        (method, task) = (.promptTuning, Self.task(of: info))
        (self.tokens, tokenDim) = (tokens, info.dModel)
        (heads, layers) = (0, 0)
        // PEFT gives an encoder-decoder's encoder the first of these.
        submodules = 1
    }

    private static func task(of info: BackboneInfo) -> String {
        switch info.architecture {
        case .encoderDecoder: "SEQ_2_SEQ_LM"
        case .decoderOnly: "CAUSAL_LM"
        // SEQ_CLS and the like want a head in the file.
        case .encoderOnly, .text: "FEATURE_EXTRACTION"
        }
    }

    /// The config of a prefix for a backbone.
    init(_ layout: PEFTLayout, for info: BackboneInfo) {
        (method, task) = (.prefixTuning, Self.task(of: info))
        tokens = layout.tokens
        tokenDim = layout.heads * layout.headDim
        heads = layout.heads
        layers = layout.storedLayers
        submodules = layout.submodules
    }

    /// The members that every release of PEFT knows, in its order.
    func json(baseModel: String?) -> JSON {
        guard method == .prefixTuning else { return promptJSON(baseModel: baseModel) }
        return [
            "auto_mapping": .null,
            "base_model_name_or_path": baseModel.map { .string($0) } ?? .null,
            "encoder_hidden_size": .int(Int64(tokenDim)),
            "inference_mode": true,
            "num_attention_heads": .int(Int64(heads)),
            "num_layers": .int(Int64(layers)),
            "num_transformer_submodules": .int(Int64(submodules)),
            "num_virtual_tokens": .int(Int64(tokens)),
            "peft_type": "PREFIX_TUNING",
            "prefix_projection": false,
            "revision": .null,
            "task_type": .string(task),
            "token_dim": .int(Int64(tokenDim)),
        ]
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
    private static func tasks(of info: BackboneInfo) -> [String] {
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
