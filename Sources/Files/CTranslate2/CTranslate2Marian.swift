import Support

/// A model of CTranslate2's TransformerSpec as the Marian of transformers that it was made from: sizes and tensors.
///
/// The converter takes away the row of the padding, which in transformers starts a text with a vector of zeros; it is put
/// back behind the others.
struct CTranslate2Marian {
    /// The revision of the specification that is read.
    static let revision = 7

    /// Tokens, without the padding.
    let vocabulary: Int
    let width, encoderLayers, decoderLayers, heads, encoderInner, decoderInner, positions: Int
    let activation: String
    let scalesEmbeddings: Bool
    /// The type that holds all tensors' values without rounding.
    let type: StoredType
    let tensors: [SafetensorsWriter.Tensor]

    /// Throws `SeamError`: `.unsupported` for another revision and for what transformers' Marian cannot hold, `.format`
    /// for what is missing or misshapen.
    init(_ file: CTranslate2File) throws {
        try file.require(revision: Self.revision)
        var weights = CTranslate2Weights(file)
        let embeddings = "encoder/embeddings_0/weight"
        let sizes = try weights.weight(embeddings, axes: 2).shape
        (vocabulary, width) = (sizes[0], sizes[1])
        (encoderLayers, encoderInner) = try weights.layers("encoder")
        (decoderLayers, decoderInner) = try weights.layers("decoder")
        heads = try weights.heads("encoder", width)
        let why = "Marian in transformers has no other form"
        try weights.require("decoder/num_heads", heads, "Marian in transformers has as many in both stacks")
        (activation, scalesEmbeddings) = try Self.settings(&weights, width, why)
        positions = try weights.weight("encoder/position_encodings/encodings", axes: 2).shape[0]
        for stack in ["encoder", "decoder"] {
            try weights.take(
                "\(stack)/position_encodings/encodings", as: "model.\(stack).embed_positions.weight",
                [positions, width])
        }
        for layer in 0..<encoderLayers {
            try weights.takeLayer("encoder", layer, width, encoderInner, keysHaveBias: true)
        }
        for layer in 0..<decoderLayers {
            try weights.takeLayer("decoder", layer, width, decoderInner, keysHaveBias: true)
        }
        try weights.takeWithRow(embeddings, as: "model.shared.weight", [vocabulary, width])
        for name in ["decoder/embeddings/weight", "decoder/projection/weight"] {
            guard weights.takeAlias(name, of: embeddings) else {
                throw SeamError(
                    .unsupported,
                    "\(file.path): \"\(name)\" is not \"\(embeddings)\": models with embeddings of their own in each stack"
                        + " are not converted")
            }
        }
        let bias = "decoder/projection/bias"
        if file[bias] != nil {
            try weights.takeWithRow(bias, as: "final_logits_bias", [vocabulary], stored: [1, vocabulary + 1])
        }
        try weights.requireAllUsed()
        type = weights.commonType
        tensors = weights.tensors
    }

    /// What Marian is, said by settings, and the two that it has a choice of.
    private static func settings(
        _ weights: inout CTranslate2Weights, _ width: Int, _ why: String
    ) throws -> (activation: String, scalesEmbeddings: Bool) {
        for stack in ["encoder", "decoder"] { try weights.require("\(stack)/pre_norm", 0, why) }
        try weights.require("decoder/start_from_zero_embedding", 1, why)
        for name in ["alibi", "alibi_use_positive_positions", "scale_alibi"] {
            try weights.require("decoder/\(name)", 0, absent: 0, why)
        }
        try weights.require("encoder/multi_query_attention", 0, absent: 0, why)
        // What is merged where a source has several embeddings, and what is told besides the text.
        for name in ["encoder/embeddings_merge", "decoder/alignment_heads", "decoder/alignment_layer"] {
            _ = try weights.setting(name, absent: 0)
        }
        // `Activation` of CTranslate2's python/ctranslate2/specs/common_spec.py.
        let names = ["relu", "gelu_new", "swish", "gelu"]
        let number = try weights.setting("encoder/activation")
        guard names.indices.contains(number) else {
            throw SeamError(
                .unsupported,
                "\(weights.file.path): \"encoder/activation\" must be 0 to 3 (\(names.joined(separator: ", "))), found"
                    + " \(number)")
        }
        try weights.require("decoder/activation", number, "Marian in transformers has one activation")
        let scales = try ["encoder", "decoder"].map { try weights.number("\($0)/scale_embeddings") }
        // 1 as a whole number asks for the root of the width.
        let factors = scales.map { $0.isWhole && $0.value == 1 ? Double(width).squareRoot() : $0.value }
        let isScaled = factors.allSatisfy { abs($0 - Double(width).squareRoot()) < 1e-4 * $0 }
        guard isScaled || factors == [1, 1] || scales.allSatisfy({ $0.isWhole && $0.value == 0 }) else {
            throw SeamError(
                .unsupported,
                "\(weights.file.path): \"encoder/scale_embeddings\" and \"decoder/scale_embeddings\" must both be 1 or the"
                    + " root of the width \(width), found \(scales[0].value) and \(scales[1].value)")
        }
        return (names[number], isScaled)
    }
}
