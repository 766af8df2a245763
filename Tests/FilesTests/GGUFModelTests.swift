import Files
import Support
import TestSupport
import Testing

/// A GGUF file as a pretrained model: configuration, names, order of rows, tokenizer.
@Suite struct GGUFModelTests {
    let scratch: ScratchFolder
    init() throws { scratch = try ScratchFolder() }

    private func open(_ change: (inout GGUFBuilder) -> Void = { _ in }) throws -> ModelFiles {
        var builder = GGUFBuilder.llama()
        change(&builder)
        return try ModelFiles(scratch.write("model.gguf", bytes: builder.bytes))
    }

    private func refuse(
        _ code: ErrorCode, _ words: String, line: SourceLocation = #_sourceLocation,
        _ change: (inout GGUFBuilder) -> Void
    ) {
        expectError(code, words, scratch.path, sourceLocation: line) { try open(change) }
    }

    @Test func configurationIsThatOfTheFolder() throws {
        let config = try open().config
        let expected: JSON = [
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 3, "hidden_size": 8,
            "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
            "head_dim": 4, "hidden_act": "silu", "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "attention_bias": false, "mlp_bias": false, "tie_word_embeddings": true,
            "dtype": "float32",
        ]
        #expect(config == expected)
        let other = try open {
            $0["llama.rope.freq_base"] = .float(500000)
            $0["llama.attention.head_count_kv"] = nil
            $0["tokenizer.ggml.bos_token_id"] = .uint32(1)
            $0["tokenizer.ggml.eos_token_id"] = .uint32(2)
            $0["tokenizer.ggml.padding_token_id"] = .uint32(.max)
            $0.add("output.weight", [3, 8], [Float](repeating: 0, count: 24))
            $0.add("blk.0.attn_q.bias", [8], [Float](repeating: 0, count: 8))
        }.config
        #expect(other["rope_theta"] == 500000.0)
        #expect(other["num_key_value_heads"] == 2)
        #expect(other["bos_token_id"] == 1)
        #expect(other["eos_token_id"] == 2)
        #expect(other["pad_token_id"] == nil)
        #expect(other["tie_word_embeddings"] == false)
        #expect(other["attention_bias"] == true)
    }

    @Test func tensorsHaveTheNamesOfTransformers() throws {
        let model = try open { $0.add("blk.0.ffn_gate.weight", [1, 8], [Float](repeating: 0, count: 8)) }
        #expect(
            model.tensorNames == [
                "model.embed_tokens.weight", "model.layers.0.mlp.gate_proj.weight",
                "model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.q_proj.weight",
                "model.layers.0.self_attn.v_proj.weight", "model.norm.weight",
            ])
        #expect(model.folder == nil)
        #expect(model.configPath == model.path)
        // Heads of four rows: pairs 0 1, 2 3 become the first half 0 2 and the second 1 3.
        #expect(try model.requireTensor("model.layers.0.self_attn.q_proj.weight").rowOrder == [0, 2, 1, 3, 4, 6, 5, 7])
        #expect(try model.requireTensor("model.layers.0.self_attn.k_proj.weight").rowOrder == [0, 2, 1, 3])
        #expect(try model.requireTensor("model.layers.0.self_attn.v_proj.weight").rowOrder == nil)
        expectError(.notFound, model.path, "has no tensor \"x\"") { try model.requireTensor("x") }
    }

    @Test func aFolderWithOneFileIsThatFile() throws {
        let path = try open().path
        let model = try ModelFiles(scratch.path)
        #expect(model.path == path)
        #expect(model.fingerprint() == (try ModelFiles(path).fingerprint()))
        let changed = try open { $0.data[0] = 1 }
        #expect(model.fingerprint() != changed.fingerprint())
        try scratch.write("other.gguf", bytes: GGUFBuilder.llama().bytes)
        expectError(.invalidArgument, "holds 2 GGUF files, name one of them: model.gguf, other.gguf") {
            try ModelFiles(scratch.path)
        }
        try scratch.write("config.json", "{}")
        expectError(.notFound, "has no model.safetensors") { try ModelFiles(scratch.path) }
    }

    @Test func whatHasNoCounterpartIsRefused() throws {
        refuse(
            .unsupported,
            "holds a model of the architecture \"mamba\", which is not read from GGUF files; read are llama, qwen2, qwen3,"
                + " gemma2, gemma3, phi3, gpt2, bert, nomic-bert, t5"
        ) {
            $0["general.architecture"] = .string("mamba")
        }
        refuse(.format, "\"general.architecture\" is missing") { $0["general.architecture"] = nil }
        refuse(.unsupported, "the setting \"llama.attention.sliding_window\" is not supported") {
            $0["llama.attention.sliding_window"] = .uint32(8)
        }
        refuse(.unsupported, "\"llama.expert_count\" is 8, mixtures of experts are not supported") {
            $0["llama.expert_count"] = .uint32(8)
        }
        refuse(.unsupported, "\"llama.rope.dimension_count\" must be the size of a head, 4, found 2") {
            $0["llama.rope.dimension_count"] = .uint32(2)
        }
        for name in ["blk.1.attn_q.weight", "blk.00.attn_q.weight", "blk.0.attn_q.scale", "blk.-1.attn_q.weight", "x"] {
            refuse(.unsupported, "a llama model of 1 layers has no tensor \"\(name)\"") { $0.tensors[2].name = name }
        }
    }

    @Test func contradictionsAreRefused() throws {
        refuse(.format, "\"llama.embedding_length\" is missing, it must be an integer") {
            $0["llama.embedding_length"] = nil
        }
        refuse(.format, "\"llama.attention.head_count\" must be a positive 32-bit integer, found 0") {
            $0["llama.attention.head_count"] = .uint32(0)
        }
        refuse(.format, "\"llama.attention.head_count_kv\" must be an integer, found an array") {
            $0["llama.attention.head_count_kv"] = .array(4, [little(UInt32(1))])
        }
        refuse(.format, "\"llama.vocab_size\" is 5, but \"token_embd.weight\" has 3 rows") {
            $0["llama.vocab_size"] = .uint32(5)
        }
        refuse(.format, "\"blk.0.attn_k.weight\" of F32 [4, 8] cannot be divided into the even rows of 3 heads") {
            $0["llama.attention.head_count_kv"] = .uint32(3)
        }
        refuse(.format, "\"tokenizer.ggml.eos_token_id\" must be a token id below 3, found 3") {
            $0["tokenizer.ggml.eos_token_id"] = .uint32(3)
        }
    }

    @Test func rotaryScaling() throws {
        #expect(
            try open { $0["llama.rope.scaling.factor"] = .float(2.5) }.config["rope_scaling"]
                == ["rope_type": "linear", "factor": 2.5])
        #expect(
            try open { $0["llama.rope.scale_linear"] = .float(4) }.config["rope_scaling"]
                == ["rope_type": "linear", "factor": 4.0])
        #expect(
            try open {
                $0["llama.rope.scaling.type"] = .string("none")
                $0["llama.rope.scaling.factor"] = .float(4)
            }.config["rope_scaling"] == nil)
        #expect(try open { $0.add("rope_freqs.weight", [2], [1, 1]) }.config["rope_scaling"] == nil)
        refuse(
            .unsupported,
            "rotary scaling of type \"su\" by 4.0 is not supported; linear scaling, YaRN and that of Llama 3 are"
        ) {
            $0["llama.rope.scaling.type"] = .string("su")
            $0["llama.rope.scaling.factor"] = .float(4)
        }
        refuse(.unsupported, "the factors in \"rope_freqs.weight\" are not those of Llama 3") {
            $0.add("rope_freqs.weight", [2], [2, 3])
        }
        refuse(.format, "tensor \"rope_freqs.weight\" must be F32 [2], found F32 [3]") {
            $0.add("rope_freqs.weight", [3], [1, 1, 1])
        }
        refuse(.unsupported, "tensor \"rope_factors_long.weight\" is not supported for such models") {
            $0.add("rope_factors_long.weight", [2], [1, 1])
        }
        #expect(
            try open {
                $0["llama.rope.scaling.type"] = .string("yarn")
                $0["llama.rope.scaling.factor"] = .float(4)
                $0["llama.rope.scaling.original_context_length"] = .uint32(32)
            }.config["rope_scaling"]
                == ["rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32])
    }

    /// What Gemma's files do not tell, and llama.cpp knows by the number of layers.
    @Test func queriesOfTheLargestGemmaAreDividedByAnotherNumber() throws {
        func scalar(_ architecture: String, layers: UInt32) throws -> JSON? {
            let builder = GGUFBuilder.model(
                architecture,
                [
                    ("block_count", .uint32(layers)), ("context_length", .uint32(64)),
                    ("embedding_length", .uint32(32)),
                    ("feed_forward_length", .uint32(12)), ("attention.head_count", .uint32(4)),
                    ("attention.key_length", .uint32(16)), ("attention.value_length", .uint32(16)),
                    ("attention.layer_norm_rms_epsilon", .float(1e-5)),
                ])
            return try ModelFiles(scratch.write("gemma.gguf", bytes: builder.bytes)).config["query_pre_attn_scalar"]
        }
        #expect(try scalar("gemma2", layers: 42) == 16)
        #expect(try scalar("gemma2", layers: 46) == 8)
        #expect(try scalar("gemma3", layers: 48) == 16)
        #expect(try scalar("gemma3", layers: 62) == 8)
    }

    /// Values that are changed as they are read.
    @Test func layouts() throws {
        var gemma = GGUFBuilder.model(
            "gemma2",
            [
                ("block_count", .uint32(1)), ("context_length", .uint32(64)), ("embedding_length", .uint32(8)),
                ("feed_forward_length", .uint32(12)), ("attention.head_count", .uint32(2)),
                ("attention.layer_norm_rms_epsilon", .float(1e-5)),
            ])
        gemma.add("blk.0.post_ffw_norm.weight", [8], [Float](repeating: 1, count: 8))
        let model = try ModelFiles(scratch.write("gemma.gguf", bytes: gemma.bytes))
        let norm = try model.requireTensor("model.layers.0.post_feedforward_layernorm.weight")
        #expect(norm.layout == .oneAdded && norm.shape == [8])
        gemma.tensors[1].type = 1
        expectError(.format, "\"blk.0.post_ffw_norm.weight\" of F16 [8] must be F32") {
            try ModelFiles(scratch.write("gemma.gguf", bytes: gemma.bytes))
        }
        var gpt2 = GGUFBuilder.model(
            "gpt2",
            [
                ("block_count", .uint32(1)), ("context_length", .uint32(64)), ("embedding_length", .uint32(8)),
                ("feed_forward_length", .uint32(12)), ("attention.head_count", .uint32(2)),
                ("attention.layer_norm_epsilon", .float(1e-5)),
            ])
        gpt2.add("blk.0.ffn_up.weight", [12, 8], [Float](repeating: 1, count: 96))
        gpt2.add("blk.0.ffn_up.bias", [12], [Float](repeating: 1, count: 12))
        let other = try ModelFiles(scratch.write("gpt2.gguf", bytes: gpt2.bytes))
        let up = try other.requireTensor("transformer.h.0.mlp.c_fc.weight")
        #expect(up.layout == .transposed && up.shape == [8, 12])
        #expect(try other.requireTensor("transformer.h.0.mlp.c_fc.bias").layout == .same)
    }

    /// Ends as llama.cpp has them; sampling under the names of transformers, and what has none under its own.
    @Test func generationSettings() throws {
        #expect(try open().generation == nil)
        #expect(try open { $0["tokenizer.ggml.eos_token_id"] = .uint32(2) }.generation == nil)
        let ends = try open {
            for (name, id) in [("eos", 2), ("eot", 1), ("eom", 2), ("fim_pad", .max), ("fim_sep", 0)]
                as [(String, UInt32)]
            {
                $0["tokenizer.ggml.\(name)_token_id"] = .uint32(id)
            }
        }
        #expect(ends.generation == ["eos_token_id": [2, 1, 0]])
        #expect(ends.config["eos_token_id"] == 2)
        #expect(try open { $0["tokenizer.ggml.eot_token_id"] = .uint32(1) }.generation == ["eos_token_id": [1]])
        refuse(.format, "\"tokenizer.ggml.eot_token_id\" must be a token id below 3, found 3") {
            $0["tokenizer.ggml.eot_token_id"] = .uint32(3)
        }
        func sampling(_ values: [(String, GGUFBuilder.Value)]) throws -> JSON? {
            try open { for (key, value) in values { $0["general.sampling.\(key)"] = value } }.generation
        }
        #expect(
            try sampling([
                ("top_k", .uint32(7)), ("top_p", .float(0.5)), ("min_p", .float(0.25)), ("temp", .float(0.5)),
                ("penalty_repeat", .float(1.5)), ("penalty_last_n", .uint32(64)), ("mirostat", .uint32(2)),
                ("mirostat_tau", .float(5)), ("xtc_probability", .float(0.5)), ("sequence", .string("top_k")),
            ]) == [
                "top_k": 7, "top_p": 0.5, "min_p": 0.25, "temperature": 0.5, "general.sampling.penalty_repeat": 1.5,
                "general.sampling.xtc_probability": 0.5, "general.sampling.mirostat": 2,
                "general.sampling.sequence": "top_k",
            ])
        let all = GGUFBuilder.Value(type: 5, bytes: little(Int32(-1)))
        #expect(
            try sampling([
                ("top_k", all), ("temp", .float(0)), ("penalty_repeat", .float(1.5)), ("penalty_last_n", all),
            ])
                == ["top_k": 0, "do_sample": false, "repetition_penalty": 1.5])
        #expect(try sampling([("penalty_repeat", .float(1.5)), ("penalty_last_n", .uint32(0))]) == nil)
        refuse(.format, "\"general.sampling.top_p\" must be a number, found a string") {
            $0["general.sampling.top_p"] = .string("0.5")
        }
    }

    @Test func tokenizerValues() throws {
        var builder = GGUFBuilder.llama()
        func read() throws -> GGUFTokenizerData {
            try GGUFTokenizerData(GGUFFile(scratch.write("model.gguf", bytes: builder.bytes)))
        }
        expectError(.notFound, "model.gguf holds no tokenizer") { try read() }
        builder["tokenizer.ggml.model"] = .string("llama")
        builder["tokenizer.ggml.tokens"] = .strings(["<s>", "\u{2581}a", "b"])
        let plain = try read()
        #expect(plain.tokens == ["<s>", "\u{2581}a", "b"])
        #expect(plain.tokenTypes.isEmpty && plain.merges.isEmpty && plain.scores.isEmpty)
        #expect(plain.preTokenizer == "default")
        #expect(plain.bosToken == nil && plain.padToken == nil)
        #expect(plain.addBos && !plain.addEos && plain.addSpacePrefix)
        builder["tokenizer.ggml.model"] = .string("gpt2")
        builder["tokenizer.ggml.pre"] = .string("smollm")
        builder["tokenizer.ggml.token_type"] = .array(5, [3, 1, 1].map { little(Int32($0)) })
        builder["tokenizer.ggml.scores"] = .array(6, [0, -1, -2].map { little(Float($0).bitPattern) })
        builder["tokenizer.ggml.merges"] = .strings(["\u{2581} a"])
        builder["tokenizer.ggml.bos_token_id"] = .uint32(1)
        builder["tokenizer.ggml.eos_token_id"] = .uint32(2)
        builder["tokenizer.ggml.unknown_token_id"] = .uint32(0)
        builder["tokenizer.ggml.padding_token_id"] = .uint32(2)
        let full = try read()
        #expect(full.model == "gpt2" && full.preTokenizer == "smollm")
        #expect(full.tokenTypes == [3, 1, 1] && full.scores == [0, -1, -2] && full.merges == ["\u{2581} a"])
        #expect([full.bosToken, full.eosToken, full.unknownToken, full.padToken] == [1, 2, 0, 2])
        #expect(!full.addBos && !full.addEos && !full.addSpacePrefix)
        builder["tokenizer.ggml.add_eos_token"] = .init(type: 7, bytes: [1])
        builder["tokenizer.ggml.pre"] = .string("llama-bpe")
        #expect(try read().addEos && read().addBos)
        builder["tokenizer.ggml.scores"] = .array(6, [little(Float(1).bitPattern)])
        expectError(.format, "\"tokenizer.ggml.scores\" must have as many elements as there are tokens, 3, found 1") {
            try read()
        }
    }
}
