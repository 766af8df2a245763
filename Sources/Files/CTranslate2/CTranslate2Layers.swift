import Support

// The layers of CTranslate2's Transformers as those of the BART line in transformers, of which Whisper and Marian are.
extension CTranslate2Weights {
    /// The number of a stack's layers and the inner width of their feed-forward networks.
    func layers(_ stack: String) throws -> (count: Int, inner: Int) {
        let inner = try weight("\(stack)/layer_0/ffn/linear_0/weight", axes: 2).shape[0]
        var count = 1
        while file["\(stack)/layer_\(count)/ffn/linear_0/weight"] != nil { count += 1 }
        return (count, inner)
    }

    mutating func heads(_ stack: String, _ width: Int) throws -> Int {
        let heads = try setting("\(stack)/num_heads")
        guard heads > 0, width % heads == 0 else {
            throw SeamError(
                .format, "\(file.path): \"\(stack)/num_heads\" must divide the width \(width), found \(heads)")
        }
        return heads
    }

    mutating func takeNorm(_ source: String, as target: String, _ width: Int) throws {
        try take("\(source)/gamma", as: "\(target).weight", [width])
        try take("\(source)/beta", as: "\(target).bias", [width])
    }

    /// Takes the tensors of one layer. CTranslate2 puts the projections that read the same input under each other.
    /// - Parameter keysHaveBias: else they have zeros here, and none in transformers.
    mutating func takeLayer(
        _ stack: String, _ number: Int, _ width: Int, _ inner: Int, keysHaveBias: Bool
    ) throws {
        let source = "\(stack)/layer_\(number)"
        let target = "model.\(stack).layers.\(number)"
        func takeLinear(
            _ weights: inout Self, _ linear: String, as names: [String], _ rows: Int, _ columns: Int
        ) throws {
            try weights.take("\(source)/\(linear)/weight", as: names.map { "\(target).\($0).weight" }, [rows, columns])
            try weights.take(
                "\(source)/\(linear)/bias",
                as: names.map { $0.hasSuffix("k_proj") && !keysHaveBias ? nil : "\(target).\($0).bias" }, [rows])
        }
        try takeNorm("\(source)/self_attention/layer_norm", as: "\(target).self_attn_layer_norm", width)
        try takeLinear(
            &self, "self_attention/linear_0", as: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], width,
            width)
        try takeLinear(&self, "self_attention/linear_1", as: ["self_attn.out_proj"], width, width)
        if stack == "decoder" {
            try takeNorm("\(source)/attention/layer_norm", as: "\(target).encoder_attn_layer_norm", width)
            try takeLinear(&self, "attention/linear_0", as: ["encoder_attn.q_proj"], width, width)
            try takeLinear(
                &self, "attention/linear_1", as: ["encoder_attn.k_proj", "encoder_attn.v_proj"], width, width)
            try takeLinear(&self, "attention/linear_2", as: ["encoder_attn.out_proj"], width, width)
        }
        try takeNorm("\(source)/ffn/layer_norm", as: "\(target).final_layer_norm", width)
        try takeLinear(&self, "ffn/linear_0", as: ["fc1"], inner, width)
        try takeLinear(&self, "ffn/linear_1", as: ["fc2"], width, inner)
    }
}
