import Support

/// The settings of a model in a GGUF file, for the members of its config.json. Sizes are checked when it is made.
struct GGUFSettings: Sendable {
    let file: GGUFFile
    private let architecture: String
    private let names: Set<TextKey>
    let hidden, layers, decoderLayers, heads, kvHeads, headDim, vocabulary: Int

    /// - Parameter architecture: as it stands before the settings' own names.
    init(_ file: GGUFFile, _ architecture: String) throws {
        (self.file, self.architecture) = (file, architecture)
        names = Set(file.tensors.map { TextKey($0.name) })
        func size(_ key: String, _ absent: Int? = nil) throws -> Int {
            try Self.size(file, "\(architecture).\(key)", absent)
        }
        hidden = try size("embedding_length")
        layers = try size("block_count")
        decoderLayers = try size("decoder_block_count", layers)
        heads = try size("attention.head_count")
        kvHeads = try size("attention.head_count_kv", heads)
        headDim = try size("attention.key_length", max(1, hidden / heads))
        guard try size("attention.value_length", headDim) == headDim else {
            throw SeamError(
                .unsupported,
                "\(file.path): \"\(architecture).attention.value_length\" must be the size of a head, \(headDim), found"
                    + " \(try size("attention.value_length"))")
        }
        let rows = file.tensors.first { $0.name == "token_embd.weight" }?.shape[0]
        vocabulary = try size("vocab_size", rows)
        if let rows, rows != vocabulary {
            throw SeamError(
                .format,
                "\(file.path): \"\(architecture).vocab_size\" is \(vocabulary), but \"token_embd.weight\" has \(rows) rows"
            )
        }
    }

    private static func size(_ file: GGUFFile, _ key: String, _ absent: Int? = nil) throws -> Int {
        let value = try file.int(key) ?? absent ?? file.requireInt(key)
        guard (1...Int(Int32.max)).contains(value) else {
            throw SeamError(.format, "\(file.path): \"\(key)\" must be a positive 32-bit integer, found \(value)")
        }
        return value
    }

    /// Of each stack, the encoder's first where there are two.
    var stackLayers: [Int] { [layers, decoderLayers] }
    /// Whether the feed-forward networks have a gate.
    var isGated: Bool { has("blk.0.ffn_gate.weight") || has("enc.blk.0.ffn_gate.weight") }

    /// Whether the file has a tensor.
    func has(_ tensor: String) -> Bool { names.contains(TextKey(tensor)) }

    /// The architecture's setting as the file calls it.
    func key(_ name: String) -> String { "\(architecture).\(name)" }
    func integer(_ name: String) throws -> Int? { try file.int(key(name)) }
    func double(_ name: String) throws -> Double? { try file.double(key(name)) }
    func require(_ name: String) throws -> JSON { .int(Int64(try file.requireInt(key(name)))) }
    func requireDouble(_ name: String) throws -> JSON { .double(try file.requireDouble(key(name))) }
}

/// Members of config.json.
extension GGUFSettings {
    typealias Members = [(key: String, value: JSON)]

    /// The class of transformers, the family, and the vocabulary.
    func identity(_ name: String, _ family: String) -> Members {
        [
            ("architectures", .array([.string(name)])), ("model_type", .string(family)),
            ("vocab_size", .int(Int64(vocabulary))),
        ]
    }

    /// A decoder of the Llama line, without its rotary positions.
    func decoder(
        _ name: String, _ family: String, activation: (key: String, value: JSON) = ("hidden_act", "silu")
    ) throws -> Members {
        identity(name, family) + [
            ("hidden_size", .int(Int64(hidden))), ("intermediate_size", try require("feed_forward_length")),
            ("num_hidden_layers", .int(Int64(layers))), ("num_attention_heads", .int(Int64(heads))),
            ("num_key_value_heads", .int(Int64(kvHeads))), ("head_dim", .int(Int64(headDim))),
            (activation.key, activation.value), ("max_position_embeddings", try require("context_length")),
            ("rms_norm_eps", try requireDouble("attention.layer_norm_rms_epsilon")),
        ]
    }

    /// An encoder of the BERT line, with how its states become one vector.
    func encoder() throws -> Members {
        guard let types = file.tensors.first(where: { $0.name == "token_types.weight" })?.shape else {
            throw SeamError(
                .unsupported,
                "\(file.path) has no tensor \"token_types.weight\": of models like DistilBERT take the folder that it was"
                    + " made from")
        }
        return [
            ("hidden_size", .int(Int64(hidden))), ("intermediate_size", try require("feed_forward_length")),
            ("num_hidden_layers", .int(Int64(layers))), ("num_attention_heads", .int(Int64(heads))),
            ("max_position_embeddings", try require("context_length")),
            ("layer_norm_eps", try requireDouble("attention.layer_norm_epsilon")),
            ("type_vocab_size", .int(Int64(types.count == 2 ? types[0] : 1))),
        ] + (try pooling())
    }

    /// What modules.json of sentence-transformers would say, under the keys by which a backbone reads it.
    private func pooling() throws -> Members {
        let kinds = ["none", "mean", "cls", "last", "rank"]
        guard let number = try integer("pooling_type"), number != 0 else { return [] }
        let kind = kinds.indices.contains(number) ? kinds[number] : "\(number)"
        guard ["mean", "cls"].contains(kind) else {
            return [
                (
                    "modules.json.refusal",
                    .string(
                        "\(file.path) asks for the pooling \"\(kind)\", which is not given: the option pooling=mean gives"
                            + " the mean")
                )
            ]
        }
        return [("modules.json.pooling", .string(kind))]
    }

    /// Frequencies of rotary positions, of all layers.
    func rotary() throws -> Members {
        try requireWhole()
        let base = try double("rope.freq_base") ?? 10_000
        let scaling = try RotaryScaling.config(self, base: base)
        return [("rope_theta", .double(base))] + (scaling.map { [("rope_scaling", $0)] } ?? [])
    }

    /// Layers with a window rotate by other frequencies, which are never stretched.
    func localRotary(_ base: Double) throws -> Members {
        try requireWhole()
        let base = try double("rope.freq_base") ?? base
        let scaling = try RotaryScaling.config(self, base: base)?.objectValue ?? [("rope_type", "default")]
        return [
            (
                "rope_parameters",
                [
                    "full_attention": .object(scaling + [("rope_theta", .double(base))]),
                    "sliding_attention": [
                        "rope_type": "default", "rope_theta": .double(try double("rope.freq_base_swa") ?? 10_000),
                    ],
                ]
            )
        ]
    }

    /// A part of each head is rotated, by frequencies with a factor each for short and for long texts.
    func longRotary() throws -> Members {
        let rotated = try integer("rope.dimension_count") ?? headDim
        guard (1...headDim).contains(rotated), rotated.isMultiple(of: 2) else {
            throw SeamError(
                .format,
                "\(file.path): \"\(key("rope.dimension_count"))\" must be an even number up to the size of a head,"
                    + " \(headDim), found \(rotated)")
        }
        var members: Members = [("rope_theta", .double(try double("rope.freq_base") ?? 10_000))]
        if rotated < headDim {
            members.append(("partial_rotary_factor", .double(Double(rotated) / Double(headDim))))
        }
        // As llama.cpp has it where the file does not say; transformers would take another length.
        let length = try integer("rope.scaling.original_context_length").map { JSON.int(Int64($0)) }
        members.append(("original_max_position_embeddings", try length ?? require("context_length")))
        if let scaling = try RotaryScaling.long(self, count: rotated / 2) { members.append(("rope_scaling", scaling)) }
        return members
    }

    private func requireWhole() throws {
        guard let rotated = try integer("rope.dimension_count"), rotated != headDim else { return }
        throw SeamError(
            .unsupported,
            "\(file.path): \"\(key("rope.dimension_count"))\" must be the size of a head, \(headDim), found \(rotated)")
    }

    /// The number whose root Gemma's queries are divided by. No key tells it: llama.cpp takes the width of a head, and of the
    /// largest model, which it knows by its layers, the model's width divided by its heads.
    func queryScalar(widthAt largest: Int) -> JSON { .int(Int64(layers == largest ? hidden / heads : headDim)) }

    /// Windows of all layers but each `period`th.
    /// - Parameter absent: the window where the file names none; nil: then there are none.
    func windows(_ absent: Int?, every period: Int) throws -> Members {
        let window = try integer("attention.sliding_window") ?? absent ?? 0
        let period = try integer("attention.sliding_window_pattern") ?? period
        guard window >= 0, period > 0, layers <= 1 << 16 else {
            throw SeamError(
                .format,
                "\(file.path): \"\(key("attention.sliding_window"))\" must not be negative,"
                    + " \"\(key("attention.sliding_window_pattern"))\" positive and \"\(key("block_count"))\" at most 65536,"
                    + " found \(window), \(period) and \(layers)")
        }
        let kinds = (0..<layers).map { layer -> JSON in
            window > 0 && layer % period < period - 1 ? "sliding_attention" : "full_attention"
        }
        return [("sliding_window", window > 0 ? .int(Int64(window)) : .null), ("layer_types", .array(kinds))]
    }

    func decoderStart() throws -> JSON { .int(Int64(try integer("decoder_start_token_id") ?? 0)) }

    /// What every config.json ends with. Weights that are not f32 are widened by whoever reads them, so the type is
    /// float32: transformers rounds what it loads to the type that is named here.
    func ending() throws -> Members {
        var members: Members = [("tie_word_embeddings", .bool(!has("output.weight")))]
        for (name, key) in [
            ("bos", "bos_token_id"), ("eos", "eos_token_id"), ("padding", "pad_token_id"), ("mask", "mask_token_id"),
        ] {
            if let id = try file.token(name, below: vocabulary) { members.append((key, .int(Int64(id)))) }
        }
        return members + [("dtype", "float32")]
    }
}
