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
        try file.require(revision: Self.revision)
        var weights = CTranslate2Weights(file)
        let embeddings = "decoder/embeddings/weight"
        let sizes = try weights.weight(embeddings, axes: 2).shape
        (vocabulary, width) = (sizes[0], sizes[1])
        melBins = try weights.weight("encoder/conv1/weight", axes: 3).shape[1]
        sourcePositions = try weights.weight("encoder/position_encodings/encodings", axes: 2).shape[0]
        targetPositions = try weights.weight("decoder/position_encodings/encodings", axes: 2).shape[0]
        (encoderLayers, encoderInner) = try weights.layers("encoder")
        (decoderLayers, decoderInner) = try weights.layers("decoder")
        encoderHeads = try weights.heads("encoder", width)
        decoderHeads = try weights.heads("decoder", width)
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
            try weights.takeNorm("\(stack)/layer_norm", as: "model.\(stack).layer_norm", width)
        }
        for layer in 0..<encoderLayers {
            try weights.takeLayer("encoder", layer, width, encoderInner, keysHaveBias: false)
        }
        for layer in 0..<decoderLayers {
            try weights.takeLayer("decoder", layer, width, decoderInner, keysHaveBias: false)
        }
        try weights.take(embeddings, as: "model.decoder.embed_tokens.weight", [vocabulary, width])
        isTied = weights.takeAlias("decoder/projection/weight", of: embeddings)
        if !isTied { try weights.take("decoder/projection/weight", as: "proj_out.weight", [vocabulary, width]) }
        try weights.takeZero("decoder/projection/bias")
        try weights.requireAllUsed()
        type = weights.commonType
        tensors = weights.tensors
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
}
