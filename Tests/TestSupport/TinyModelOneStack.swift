import Files

/// Encoder-only and decoder-only models in their files' layouts.
extension TinyModel {
    var oneStackConfig: [(key: String, value: JSON)] {
        func sizes(_ names: [(String, Int)]) -> [(key: String, value: JSON)] {
            names.map { (key: $0.0, value: .int(Int64($0.1))) }
        }
        if family == .gpt2 {
            return sizes([
                ("n_embd", dModel), ("n_layer", layers), ("n_head", heads), ("n_positions", positions),
                ("n_inner", feedForward),
            ])
        }
        let common = sizes([
            ("hidden_size", dModel), ("num_hidden_layers", layers), ("num_attention_heads", heads),
            ("intermediate_size", feedForward), ("max_position_embeddings", positions),
        ])
        return common
            + (family == .bert
                ? [("mask_token_id", .int(Int64(Self.unknown)))]
                : sizes([("num_key_value_heads", 1)]) + [("tie_word_embeddings", false)])
    }

    /// Names as in the files of transformers.
    var oneStackShapes: [(String, [Int])] {
        switch family {
        case .bert: bert
        case .gpt2: gpt2
        default: llama
        }
    }

    private var bert: [(String, [Int])] {
        let tables = [("word", vocabulary), ("position", positions), ("token_type", 2)]
        var result = tables.map { ("bert.embeddings.\($0.0)_embeddings.weight", [$0.1, dModel]) }
        result += biased("bert.embeddings.LayerNorm", [dModel])
        for index in 0..<layers {
            let layer = "bert.encoder.layer.\(index)"
            for part in ["self.query", "self.key", "self.value", "output.dense"] {
                result += biased("\(layer).attention.\(part)", [dModel, dModel])
            }
            result += biased("\(layer).attention.output.LayerNorm", [dModel])
            result += biased("\(layer).intermediate.dense", [feedForward, dModel])
            result += biased("\(layer).output.dense", [dModel, feedForward])
            result += biased("\(layer).output.LayerNorm", [dModel])
        }
        result += biased("cls.predictions.transform.dense", [dModel, dModel])
        result += biased("cls.predictions.transform.LayerNorm", [dModel])
        return result + [("cls.predictions.bias", [vocabulary])]
    }

    private var gpt2: [(String, [Int])] {
        // Matrices are [in, out] here.
        func transposed(_ name: String, _ input: Int, _ output: Int) -> [(String, [Int])] {
            [(name + ".weight", [input, output]), (name + ".bias", [output])]
        }
        var result = [
            ("transformer.wte.weight", [vocabulary, dModel]), ("transformer.wpe.weight", [positions, dModel]),
        ]
        for index in 0..<layers {
            let layer = "transformer.h.\(index)"
            result += biased("\(layer).ln_1", [dModel]) + biased("\(layer).ln_2", [dModel])
            result += transposed("\(layer).attn.c_attn", dModel, 3 * dModel)
            result += transposed("\(layer).attn.c_proj", dModel, dModel)
            result += transposed("\(layer).mlp.c_fc", dModel, feedForward)
            result += transposed("\(layer).mlp.c_proj", feedForward, dModel)
        }
        return result + biased("transformer.ln_f", [dModel])
    }

    private var llama: [(String, [Int])] {
        var result = [("model.embed_tokens.weight", [vocabulary, dModel]), ("model.norm.weight", [dModel])]
        let group = dModel / heads
        for index in 0..<layers {
            let layer = "model.layers.\(index)"
            for (part, width) in [("q", dModel), ("k", group), ("v", group), ("o", dModel)] {
                result.append(("\(layer).self_attn.\(part)_proj.weight", [width, dModel]))
            }
            result += ["gate", "up"].map { ("\(layer).mlp.\($0)_proj.weight", [feedForward, dModel]) }
            result.append(("\(layer).mlp.down_proj.weight", [dModel, feedForward]))
            result += ["input", "post_attention"].map { ("\(layer).\($0)_layernorm.weight", [dModel]) }
        }
        return result + [("lm_head.weight", [vocabulary, dModel])]
    }
}
