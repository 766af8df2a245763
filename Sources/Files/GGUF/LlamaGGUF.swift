import Support

/// A llama model in a GGUF file as the Hugging Face folder that it was made from: config.json and tensors under their
/// names there.
struct LlamaGGUF {
    /// The architectures that are read (`general.architecture`).
    static let architectures = ["llama"]

    let config: JSON
    /// The members of generation_config.json.
    let generation: [(key: String, value: JSON)]
    let tensors: [TextKey: ModelTensor]

    /// Maps the file; no values of weights are read.
    ///
    /// Throws `SeamError`: `.unsupported` for another architecture, or a setting or tensor that has no counterpart;
    /// `.format` for values that are missing or contradict each other.
    init(_ file: GGUFFile) throws {
        let architecture = try file.requireString("general.architecture")
        guard Self.architectures.contains(architecture) else {
            throw SeamError(
                .unsupported,
                "\(file.path) holds a model of the architecture \"\(architecture)\", which is not read from GGUF files;"
                    + " read are \(Self.architectures.joined(separator: ", "))")
        }
        try Self.refuseUnknownSettings(file)
        let shape = try LlamaShape(file)
        let tensors = try Self.tensors(file, shape)
        self.tensors = tensors
        generation = try GGUFGeneration(file, vocabulary: shape.vocabulary).members
        config = .object(
            try shape.config(
                file, isBiased: { tensors[TextKey("model.layers.0.\($0).bias")] != nil },
                isTied: tensors["lm_head.weight"] == nil))
    }

    /// A setting that is not known could change what the model computes.
    private static func refuseUnknownSettings(_ file: GGUFFile) throws {
        let known: Set<TextKey> = [
            "block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size",
            "attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length",
            "attention.layer_norm_rms_epsilon", "rope.dimension_count", "rope.freq_base", "rope.scale_linear",
            "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length",
            "rope.scaling.finetuned", "tensor_data_layout", "expert_count", "expert_used_count",
        ]
        let settings = file.entries.keys.map(\.text).filter { $0.utf8.starts(with: "llama.".utf8) }.sortedExactly()
        if let key = settings.first(where: { !known.contains(TextKey(String($0.unicodeScalars.dropFirst(6)))) }) {
            throw SeamError(.unsupported, "\(file.path): the setting \"\(key)\" is not supported for llama models")
        }
        for key in ["llama.expert_count", "llama.expert_used_count"] {
            if let count = try file.int(key), count > 0 {
                throw SeamError(
                    .unsupported, "\(file.path): \"\(key)\" is \(count), mixtures of experts are not supported")
            }
        }
    }

    private static func tensors(_ file: GGUFFile, _ shape: LlamaShape) throws -> [TextKey: ModelTensor] {
        var result: [TextKey: ModelTensor] = [:]
        for tensor in file.tensors where tensor.name != RotaryScaling.factorsName {
            guard let name = LlamaNames.huggingFace(tensor.name, layers: shape.layers) else {
                throw SeamError(
                    .unsupported,
                    "\(file.path): a llama model of \(shape.layers) layers has no tensor \"\(tensor.name)\" in"
                        + " transformers")
            }
            var heads: Int?
            if name.contains(".q_proj.") { heads = shape.heads }
            if name.contains(".k_proj.") { heads = shape.kvHeads }
            result[TextKey(name)] = ModelTensor(
                name: name, shape: tensor.shape,
                encoding: tensor.type.plain.map { .plain($0) } ?? .blocks(tensor.type), file: file.file,
                range: tensor.range, rowOrder: try heads.map { try rowOrder(tensor, heads: $0, file.path) })
        }
        return result
    }

    /// The places of a query or key projection's rows in the file.
    private static func rowOrder(_ tensor: GGUFTensor, heads: Int, _ path: String) throws -> [Int64] {
        let rows = tensor.shape[0]
        guard rows % (2 * heads) == 0, tensor.shape.count == 2 || tensor.type.plain != nil else {
            throw SeamError(
                .format,
                "\(path): tensor \"\(tensor.name)\" of \(tensor.type.name) \(tensor.shape) cannot be divided"
                    + " into the even rows of \(heads) heads")
        }
        return LlamaNames.rowOrder(rows: rows, heads: heads).map { Int64($0) }
    }
}

/// The sizes of a llama model.
private struct LlamaShape {
    let hidden, layers, heads, kvHeads, headDim, vocabulary: Int

    init(_ file: GGUFFile) throws {
        func size(_ key: String, _ absent: Int? = nil) throws -> Int {
            let key = "llama." + key
            let value = try file.int(key) ?? absent ?? file.requireInt(key)
            guard (1...Int(Int32.max)).contains(value) else {
                throw SeamError(.format, "\(file.path): \"\(key)\" must be a positive 32-bit integer, found \(value)")
            }
            return value
        }
        hidden = try size("embedding_length")
        layers = try size("block_count")
        heads = try size("attention.head_count")
        kvHeads = try size("attention.head_count_kv", heads)
        headDim = try size("attention.key_length", max(1, hidden / heads))
        for key in ["attention.value_length", "rope.dimension_count"] {
            guard try size(key, headDim) == headDim else {
                throw SeamError(
                    .unsupported,
                    "\(file.path): \"llama.\(key)\" must be the size of a head, \(headDim), found"
                        + " \(try size(key))")
            }
        }
        let rows = file.tensors.first { $0.name == "token_embd.weight" }?.shape[0]
        vocabulary = try size("vocab_size", rows)
        if let rows, rows != vocabulary {
            throw SeamError(
                .format,
                "\(file.path): \"llama.vocab_size\" is \(vocabulary), but \"token_embd.weight\" has \(rows) rows")
        }
    }

    /// The members of config.json. Weights that are not f32 are widened by whoever reads them, so the type is float32:
    /// transformers rounds what it loads to the type that is named here.
    func config(_ file: GGUFFile, isBiased: (String) -> Bool, isTied: Bool) throws -> [(key: String, value: JSON)] {
        func integer(_ value: Int) -> JSON { .int(Int64(value)) }
        var members: [(key: String, value: JSON)] = [
            ("architectures", ["LlamaForCausalLM"]), ("model_type", "llama"),
            ("vocab_size", integer(vocabulary)), ("hidden_size", integer(hidden)),
            ("intermediate_size", integer(try file.requireInt("llama.feed_forward_length"))),
            ("num_hidden_layers", integer(layers)), ("num_attention_heads", integer(heads)),
            ("num_key_value_heads", integer(kvHeads)), ("head_dim", integer(headDim)), ("hidden_act", "silu"),
            ("max_position_embeddings", integer(try file.requireInt("llama.context_length"))),
            ("rms_norm_eps", .double(try file.requireDouble("llama.attention.layer_norm_rms_epsilon"))),
        ]
        let base = try file.double("llama.rope.freq_base") ?? 10000
        members.append(("rope_theta", .double(base)))
        if let scaling = try RotaryScaling.config(file, base: base, headDim: headDim) {
            members.append(("rope_scaling", scaling))
        }
        members += [
            ("attention_bias", .bool(isBiased("self_attn.q_proj"))), ("mlp_bias", .bool(isBiased("mlp.up_proj"))),
            ("tie_word_embeddings", .bool(isTied)),
        ]
        for (name, key) in [("bos", "bos_token_id"), ("eos", "eos_token_id"), ("padding", "pad_token_id")] {
            if let id = try file.token(name, below: vocabulary) { members.append((key, .int(Int64(id)))) }
        }
        members.append(("dtype", "float32"))
        return members
    }
}
