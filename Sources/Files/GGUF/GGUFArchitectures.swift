import Support

/// The architectures that are read, with the names of ggml's documented tables and of transformers' modules.
extension GGUFArchitecture {
    /// Every architecture that is read. docs/model-folders.md tells them to people.
    static let all = [llama, qwen2, qwen3, gemma2, gemma3, phi3, gpt2, bert, nomicBert, t5]

    /// Llama, and Mistral, whose files have its name and say nothing of a window.
    private static let llama = GGUFArchitecture(
        name: "llama", families: ["llama", "mistral"], whole: llamaWhole, stacks: [llamaLayers()],
        changes: ["attn_q": .pairedQueries, "attn_k": .pairedKeys], settings: rotary.union(["tensor_data_layout"])
    ) { settings in
        try settings.decoder("LlamaForCausalLM", "llama") + settings.rotary()
            + [
                ("attention_bias", .bool(settings.has("blk.0.attn_q.bias"))),
                ("mlp_bias", .bool(settings.has("blk.0.ffn_up.bias"))),
            ]
    }

    private static let qwen2 = GGUFArchitecture(
        name: "qwen2", families: ["qwen2"], whole: llamaWhole, stacks: [llamaLayers()], changes: [:], settings: rotary
    ) { settings in
        try settings.decoder("Qwen2ForCausalLM", "qwen2") + settings.rotary() + [("use_sliding_window", false)]
    }

    private static let qwen3 = GGUFArchitecture(
        name: "qwen3", families: ["qwen3"], whole: llamaWhole, stacks: [llamaLayers(queryKeyNorms)], changes: [:],
        settings: rotary
    ) { settings in
        try settings.decoder("Qwen3ForCausalLM", "qwen3") + settings.rotary()
            + [("attention_bias", .bool(settings.has("blk.0.attn_q.bias"))), ("use_sliding_window", false)]
    }

    private static let gemma2 = GGUFArchitecture(
        name: "gemma2", families: ["gemma2"], whole: llamaWhole, stacks: [gemmaLayers()],
        changes: ["norm.weight": .oneAdded], settings: rotary.union(gemmaSettings).union(["attn_logit_softcapping"])
    ) { settings in
        try settings.decoder("Gemma2ForCausalLM", "gemma2", activation: ("hidden_activation", "gelu_pytorch_tanh"))
            + settings.rotary()
            + [("query_pre_attn_scalar", settings.queryScalar(widthAt: 46))]
            + settings.windows(4096, every: 2)
            + [
                ("attn_logit_softcapping", .double(settings.double("attn_logit_softcapping") ?? 50)),
                ("final_logit_softcapping", .double(settings.double("final_logit_softcapping") ?? 30)),
            ]
    }

    private static let gemma3 = GGUFArchitecture(
        name: "gemma3", families: ["gemma3_text"], whole: llamaWhole, stacks: [gemmaLayers(queryKeyNorms)],
        changes: ["norm.weight": .oneAdded], settings: rotary.union(gemmaSettings).union(["rope.freq_base_swa"])
    ) { settings in
        try settings.decoder("Gemma3ForCausalLM", "gemma3_text", activation: ("hidden_activation", "gelu_pytorch_tanh"))
            + settings.localRotary(1_000_000)
            + [("query_pre_attn_scalar", settings.queryScalar(widthAt: 62))]
            + settings.windows(nil, every: 6)
            + [("final_logit_softcapping", settings.double("final_logit_softcapping").map { .double($0) } ?? .null)]
    }

    private static let phi3 = GGUFArchitecture(
        name: "phi3", families: ["phi3"], whole: llamaWhole,
        stacks: [
            Stack(
                ggml: "blk.", huggingFace: "model.layers.",
                parts: [
                    Part("attn_norm", "input_layernorm"), Part("attn_qkv", "self_attn.qkv_proj"),
                    Part("attn_output", "self_attn.o_proj"), Part("ffn_norm", "post_attention_layernorm"),
                    Part("ffn_up", "mlp.gate_up_proj"), Part("ffn_down", "mlp.down_proj"),
                ])
        ], changes: [:],
        settings: [
            "attention.layer_norm_rms_epsilon", "attention.sliding_window", "rope.dimension_count", "rope.freq_base",
            "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length",
            "rope.scaling.attn_factor",
        ]
    ) { settings in
        let window = try settings.integer("attention.sliding_window") ?? 0
        return try settings.decoder("Phi3ForCausalLM", "phi3") + settings.longRotary()
            + [("sliding_window", window > 0 ? .int(Int64(window)) : .null)]
    }

    private static let gpt2 = GGUFArchitecture(
        name: "gpt2", families: ["gpt2"],
        whole: [
            "token_embd.weight": "transformer.wte.weight", "position_embd.weight": "transformer.wpe.weight",
            "output_norm.weight": "transformer.ln_f.weight", "output_norm.bias": "transformer.ln_f.bias",
            "output.weight": "lm_head.weight",
        ],
        stacks: [
            Stack(
                ggml: "blk.", huggingFace: "transformer.h.",
                parts: [
                    Part("attn_norm", "ln_1"), Part("attn_qkv", "attn.c_attn"), Part("attn_output", "attn.c_proj"),
                    Part("ffn_norm", "ln_2"), Part("ffn_up", "mlp.c_fc"), Part("ffn_down", "mlp.c_proj"),
                ])
        ],
        changes: Dictionary(
            uniqueKeysWithValues: ["attn_qkv", "attn_output", "ffn_up", "ffn_down"].map {
                ("\($0).weight", .transposed)
            }),
        settings: ["attention.layer_norm_epsilon"]
    ) { settings in
        try settings.identity("GPT2LMHeadModel", "gpt2")
            + [
                ("n_embd", .int(Int64(settings.hidden))), ("n_inner", settings.require("feed_forward_length")),
                ("n_layer", .int(Int64(settings.layers))), ("n_head", .int(Int64(settings.heads))),
                ("n_positions", settings.require("context_length")),
                ("activation_function", "gelu_new"),
                ("layer_norm_epsilon", settings.requireDouble("attention.layer_norm_epsilon")),
            ]
    }

    private static let bert = GGUFArchitecture(
        name: "bert", families: ["bert"],
        whole: [
            "token_embd.weight": "embeddings.word_embeddings.weight",
            "position_embd.weight": "embeddings.position_embeddings.weight",
            "token_types.weight": "embeddings.token_type_embeddings.weight",
            "token_embd_norm.weight": "embeddings.LayerNorm.weight",
            "token_embd_norm.bias": "embeddings.LayerNorm.bias",
        ],
        stacks: [
            Stack(
                ggml: "blk.", huggingFace: "encoder.layer.",
                parts: [
                    Part("attn_q", "attention.self.query"), Part("attn_k", "attention.self.key"),
                    Part("attn_v", "attention.self.value"), Part("attn_output", "attention.output.dense"),
                    Part("attn_output_norm", "attention.output.LayerNorm"), Part("ffn_up", "intermediate.dense"),
                    Part("ffn_down", "output.dense"), Part("layer_output_norm", "output.LayerNorm"),
                ])
        ], changes: [:], settings: ["attention.layer_norm_epsilon"], isCausal: false
    ) { settings in
        try settings.identity("BertModel", "bert") + settings.encoder() + [("hidden_act", "gelu")]
    }

    /// Its file has the layout of the first code of its authors, and so transformers writes it.
    private static let nomicBert = GGUFArchitecture(
        name: "nomic-bert", families: ["nomic_bert"],
        whole: [
            "token_embd.weight": "embeddings.word_embeddings.weight",
            "token_types.weight": "embeddings.token_type_embeddings.weight",
            "token_embd_norm.weight": "emb_ln.weight", "token_embd_norm.bias": "emb_ln.bias",
        ],
        stacks: [
            Stack(
                ggml: "blk.", huggingFace: "encoder.layers.",
                parts: [
                    Part("attn_qkv", "attn.Wqkv"), Part("attn_output", "attn.out_proj"),
                    Part("attn_output_norm", "norm1"), Part("ffn_up", "mlp.fc11"), Part("ffn_gate", "mlp.fc12"),
                    Part("ffn_down", "mlp.fc2"), Part("layer_output_norm", "norm2"),
                ])
        ], changes: [:], settings: rotary.union(["attention.layer_norm_epsilon"]), isCausal: false
    ) { settings in
        try settings.identity("NomicBertModel", "nomic_bert") + settings.encoder() + [("hidden_act", "silu")]
            + settings.rotary()
    }

    private static let t5 = GGUFArchitecture(
        name: "t5", families: ["t5", "mt5", "umt5"],
        whole: [
            "token_embd.weight": "shared.weight", "output.weight": "lm_head.weight",
            "enc.output_norm.weight": "encoder.final_layer_norm.weight",
            "dec.output_norm.weight": "decoder.final_layer_norm.weight",
        ],
        stacks: [
            Stack(
                ggml: "enc.blk.", huggingFace: "encoder.block.",
                parts: t5Attention("attn", "layer.0.SelfAttention", "layer.0") + t5FeedForward(1)),
            Stack(
                ggml: "dec.blk.", huggingFace: "decoder.block.",
                parts: t5Attention("attn", "layer.0.SelfAttention", "layer.0")
                    + t5Attention("cross_attn", "layer.1.EncDecAttention", "layer.1") + t5FeedForward(2)),
        ],
        changes: [:],
        settings: [
            "attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "attention.relative_buckets_count",
            "decoder_start_token_id", "decoder_block_count",
        ]
    ) { settings in
        // T5 has its relative positions in the first layer, umT5 in each. The files of T5 and of mT5 are of one form, and
        // mT5 is T5 1.1, which is the version with a matrix of its own for the scores.
        let isSeparate = settings.has("output.weight")
        if let other = try settings.double("attention.layer_norm_epsilon"),
            other != (try settings.double("attention.layer_norm_rms_epsilon") ?? other)
        {
            throw SeamError(
                .unsupported,
                "\(settings.file.path): \"\(settings.key("attention.layer_norm_epsilon"))\" is \(other), and that of its RMS"
                    + " norms is another; one for both is supported")
        }
        return try settings.identity(
            "T5ForConditionalGeneration", settings.has("enc.blk.1.attn_rel_b.weight") ? "umt5" : "t5")
            + [
                ("d_model", .int(Int64(settings.hidden))), ("d_kv", .int(Int64(settings.headDim))),
                ("d_ff", settings.require("feed_forward_length")), ("num_layers", .int(Int64(settings.layers))),
                ("num_decoder_layers", .int(Int64(settings.decoderLayers))), ("num_heads", .int(Int64(settings.heads))),
                ("n_positions", settings.require("context_length")),
                ("relative_attention_num_buckets", settings.require("attention.relative_buckets_count")),
                // No key tells it, and llama.cpp has the number of all published models.
                ("relative_attention_max_distance", 128),
                ("layer_norm_epsilon", settings.requireDouble("attention.layer_norm_rms_epsilon")),
                ("feed_forward_proj", settings.has("enc.blk.0.ffn_gate.weight") ? "gated-gelu" : "relu"),
                ("scale_decoder_outputs", .bool(!isSeparate)), ("is_encoder_decoder", true),
                ("decoder_start_token_id", settings.decoderStart()),
            ]
    }
}

/// What several architectures share.
extension GGUFArchitecture {
    private static let rotary: Set<TextKey> = [
        "attention.layer_norm_rms_epsilon", "rope.dimension_count", "rope.freq_base", "rope.scale_linear",
        "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length", "rope.scaling.finetuned",
        "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
    ]
    private static let gemmaSettings: Set<TextKey> = [
        "attention.sliding_window", "attention.sliding_window_pattern", "final_logit_softcapping",
    ]
    private static let llamaWhole = [
        "token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    ]
    private static let queryKeyNorms = [
        Part("attn_q_norm", "self_attn.q_norm"), Part("attn_k_norm", "self_attn.k_norm"),
    ]
    private static let llamaParts = [
        Part("attn_norm", "input_layernorm"), Part("attn_q", "self_attn.q_proj"), Part("attn_k", "self_attn.k_proj"),
        Part("attn_v", "self_attn.v_proj"), Part("attn_output", "self_attn.o_proj"), Part("ffn_gate", "mlp.gate_proj"),
        Part("ffn_up", "mlp.up_proj"), Part("ffn_down", "mlp.down_proj"),
    ]

    private static func llamaLayers(_ more: [Part] = []) -> Stack {
        Stack(
            ggml: "blk.", huggingFace: "model.layers.",
            parts: llamaParts + [Part("ffn_norm", "post_attention_layernorm")] + more)
    }

    /// Norms before and behind each sub-layer.
    private static func gemmaLayers(_ more: [Part] = []) -> Stack {
        let norms = [
            Part("post_attention_norm", "post_attention_layernorm"), Part("ffn_norm", "pre_feedforward_layernorm"),
            Part("post_ffw_norm", "post_feedforward_layernorm"),
        ]
        return Stack(ggml: "blk.", huggingFace: "model.layers.", parts: llamaParts + norms + more)
    }

    private static func t5Attention(_ ggml: String, _ attention: String, _ layer: String) -> [Part] {
        [
            Part("\(ggml)_norm", "\(layer).layer_norm"), Part("\(ggml)_q", "\(attention).q"),
            Part("\(ggml)_k", "\(attention).k"), Part("\(ggml)_v", "\(attention).v"),
            Part("\(ggml)_o", "\(attention).o"), Part("\(ggml)_rel_b", "\(attention).relative_attention_bias"),
        ]
    }

    private static func t5FeedForward(_ number: Int) -> [Part] {
        let network = "layer.\(number).DenseReluDense"
        return [
            Part("ffn_norm", "layer.\(number).layer_norm"), Part("ffn_gate", "\(network).wi_0"),
            Part("ffn_up", "\(network).wi_1", ungated: "\(network).wi"), Part("ffn_down", "\(network).wo"),
        ]
    }
}
