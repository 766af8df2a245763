import Support

/// A model of CTranslate2's WhisperSpec as the Whisper of transformers that it was made from: sizes and tensors.
struct CTranslate2Whisper {
    /// The revision of the specification that is read.
    static let revision = 3

    let vocabulary, width, melBins, encoderLayers, decoderLayers, encoderHeads, decoderHeads: Int
    let encoderInner, decoderInner, sourcePositions, targetPositions: Int
    /// Whether the output projection is the embeddings.
    let isTied: Bool
    /// The type that holds all tensors' values without rounding.
    let type: StoredType
    let tensors: [SafetensorsWriter.Tensor]

    /// Throws `SeamError`: `.unsupported` for another revision and for what transformers' Whisper cannot hold, `.format`
    /// for what is missing or misshapen.
    init(_ file: CTranslate2File) throws {
        guard file.revision == Self.revision else {
            throw SeamError(
                .unsupported,
                "\(file.path): revision \(file.revision) of \(file.specification) is not read, only \(Self.revision) is;"
                    + " convert the original model with a newer CTranslate2")
        }
        var weights = CTranslate2Weights(file)
        let embeddings = "decoder/embeddings/weight"
        let sizes = try weights.weight(embeddings, axes: 2).shape
        (vocabulary, width) = (sizes[0], sizes[1])
        melBins = try weights.weight("encoder/conv1/weight", axes: 3).shape[1]
        sourcePositions = try weights.weight("encoder/position_encodings/encodings", axes: 2).shape[0]
        targetPositions = try weights.weight("decoder/position_encodings/encodings", axes: 2).shape[0]
        (encoderLayers, encoderInner) = try Self.layers(weights, "encoder")
        (decoderLayers, decoderInner) = try Self.layers(weights, "decoder")
        encoderHeads = try Self.heads(&weights, "encoder", width)
        decoderHeads = try Self.heads(&weights, "decoder", width)
        try Self.checkSettings(&weights)

        try weights.take("encoder/conv1/weight", as: "model.encoder.conv1.weight", [width, melBins, 3])
        try weights.take("encoder/conv2/weight", as: "model.encoder.conv2.weight", [width, width, 3])
        for layer in ["conv1", "conv2"] {
            try weights.take("encoder/\(layer)/bias", as: "model.encoder.\(layer).bias", [width])
        }
        for (stack, positions) in [("encoder", sourcePositions), ("decoder", targetPositions)] {
            try weights.take(
                "\(stack)/position_encodings/encodings", as: "model.\(stack).embed_positions.weight",
                [positions, width])
            try Self.takeNorm(&weights, "\(stack)/layer_norm", as: "model.\(stack).layer_norm", width)
        }
        for layer in 0..<encoderLayers { try Self.takeLayer(&weights, "encoder", layer, width, encoderInner) }
        for layer in 0..<decoderLayers { try Self.takeLayer(&weights, "decoder", layer, width, decoderInner) }
        try weights.take(embeddings, as: "model.decoder.embed_tokens.weight", [vocabulary, width])
        isTied = weights.takeAlias("decoder/projection/weight", of: embeddings)
        if !isTied { try weights.take("decoder/projection/weight", as: "proj_out.weight", [vocabulary, width]) }
        try weights.takeZero("decoder/projection/bias")
        try weights.requireAllUsed()
        type = weights.commonType
        tensors = weights.tensors
    }

    /// The number of a stack's layers and the inner width of their feed-forward networks.
    private static func layers(_ weights: CTranslate2Weights, _ stack: String) throws -> (count: Int, inner: Int) {
        let inner = try weights.weight("\(stack)/layer_0/ffn/linear_0/weight", axes: 2).shape[0]
        var count = 1
        while weights.file["\(stack)/layer_\(count)/ffn/linear_0/weight"] != nil { count += 1 }
        return (count, inner)
    }

    private static func heads(_ weights: inout CTranslate2Weights, _ stack: String, _ width: Int) throws -> Int {
        let heads = try weights.setting("\(stack)/num_heads")
        guard heads > 0, width % heads == 0 else {
            throw SeamError(
                .format,
                "\(weights.file.path): \"\(stack)/num_heads\" must divide the width \(width), found \(heads)")
        }
        return heads
    }

    /// What Whisper is, said by settings; the two of alignment choose what is told besides the text and change none of it.
    private static func checkSettings(_ weights: inout CTranslate2Weights) throws {
        let why = "Whisper in transformers has no other form"
        try weights.require("decoder/activation", 3, "3 is GELU, and Whisper's encoder has no other")
        try weights.require("decoder/pre_norm", 1, why)
        try weights.require("decoder/scale_embeddings", 0, why)
        for name in ["alibi", "alibi_use_positive_positions", "scale_alibi", "start_from_zero_embedding"] {
            try weights.require("decoder/\(name)", 0, absent: 0, why)
        }
        for name in ["alignment_heads", "alignment_layer"] { _ = try weights.setting("decoder/\(name)", absent: 0) }
    }

    private static func takeNorm(
        _ weights: inout CTranslate2Weights, _ source: String, as target: String, _ width: Int
    ) throws {
        try weights.take("\(source)/gamma", as: "\(target).weight", [width])
        try weights.take("\(source)/beta", as: "\(target).bias", [width])
    }

    /// Takes the tensors of one layer. CTranslate2 puts the projections that read the same input under each other. Keys
    /// have no bias in Whisper, and zeros there.
    private static func takeLayer(
        _ weights: inout CTranslate2Weights, _ stack: String, _ number: Int, _ width: Int, _ inner: Int
    ) throws {
        let source = "\(stack)/layer_\(number)"
        let target = "model.\(stack).layers.\(number)"
        func take(_ linear: String, as names: [String], _ rows: Int, _ columns: Int) throws {
            try weights.take("\(source)/\(linear)/weight", as: names.map { "\(target).\($0).weight" }, [rows, columns])
            try weights.take(
                "\(source)/\(linear)/bias", as: names.map { $0.hasSuffix("k_proj") ? nil : "\(target).\($0).bias" },
                [rows])
        }
        try takeNorm(&weights, "\(source)/self_attention/layer_norm", as: "\(target).self_attn_layer_norm", width)
        try take(
            "self_attention/linear_0", as: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], width, width)
        try take("self_attention/linear_1", as: ["self_attn.out_proj"], width, width)
        if stack == "decoder" {
            try takeNorm(&weights, "\(source)/attention/layer_norm", as: "\(target).encoder_attn_layer_norm", width)
            try take("attention/linear_0", as: ["encoder_attn.q_proj"], width, width)
            try take("attention/linear_1", as: ["encoder_attn.k_proj", "encoder_attn.v_proj"], width, width)
            try take("attention/linear_2", as: ["encoder_attn.out_proj"], width, width)
        }
        try takeNorm(&weights, "\(source)/ffn/layer_norm", as: "\(target).final_layer_norm", width)
        try take("ffn/linear_0", as: ["fc1"], inner, width)
        try take("ffn/linear_1", as: ["fc2"], width, inner)
    }
}
