import Support

/// The parts of a llama model, as ggml and as transformers call them.
public enum LlamaNames {
    /// Parts of a layer.
    private static let parts = [
        "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    ]
    private static let reversedParts = Dictionary(uniqueKeysWithValues: parts.map { ($1, $0) })
    private static let whole = [
        "token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    ]

    /// A tensor of a GGUF file ("blk.0.attn_q.weight") as transformers calls it ("model.layers.0.self_attn.q_proj.weight");
    /// nil for one that no model of so many layers has.
    public static func huggingFace(_ name: String, layers: Int) -> String? {
        if let name = whole[name] { return name }
        let words = name.split(separator: ".", omittingEmptySubsequences: false)
        guard words.count == 4, words[0] == "blk", let layer = Int(words[1]), "\(layer)" == words[1],
            (0..<layers).contains(layer), let part = parts[String(words[2])], ["weight", "bias"].contains(words[3])
        else { return nil }
        return "model.layers.\(layer).\(part).\(words[3])"
    }

    /// The reverse, of a matrix of a layer; nil for any other tensor.
    public static func ggml(ofLayerMatrix name: String) -> String? {
        let words = name.split(separator: ".", omittingEmptySubsequences: false)
        guard words.count == 6, words[0] == "model", words[1] == "layers", words[5] == "weight",
            let part = reversedParts[words[3...4].joined(separator: ".")]
        else { return nil }
        return "blk.\(words[2]).\(part).weight"
    }

    /// The places of a query or key projection's rows in a GGUF file. llama.cpp rotates neighbouring pairs of a head's
    /// values, transformers the first half with the second, so that row 2i + p of a head there is row p d/2 + i here.
    /// - Parameters:
    ///   - rows: a multiple of 2 heads.
    ///   - heads: 1 or more.
    public static func rowOrder(rows: Int, heads: Int) -> [Int] {
        let (size, half) = (rows / heads, rows / heads / 2)
        return (0..<rows).map { $0 / size * size + $0 % half * 2 + $0 % size / half }
    }
}
