import CMath
import SeamPlugin

extension Family {
    /// Whisper (Radford et al. 2022): frames of a log-mel spectrogram behind two convolutions, norms first, stored
    /// positions in the encoder and learned ones in the decoder. Tensors have the names of the BART line.
    static func whisper(_ config: Options) throws(PluginError) -> Family {
        let dModel = try config.size("d_model")
        let (encoder, decoder) = try stacks(config, width: dModel)
        let vocabulary = try config.size("vocab_size")
        let tied = try config.bool("tie_word_embeddings", default: true)
        return Family(
            name: "whisper", dModel: dModel, headDim: dModel / encoder.heads, encoder: encoder, decoder: decoder,
            positions: .learned(limit: try config.size("max_target_positions", default: 448), offset: 0),
            features: Features(
                width: try config.size("num_mel_bins", default: 80),
                limit: try config.size("max_source_positions", default: 1500),
                firstConvolution: "conv1", secondConvolution: "conv2"),
            norm: .layer, epsilon: 1e-5, normFirst: true, finalNorm: true,
            biases: Biases(queryKeyValue: true, attentionOutput: true, feedForward: true, key: false),
            activation: try Activation(
                named: try config.string("activation_function", default: "gelu"), key: "activation_function"),
            // 'scale_embedding' of config.json scales nothing in transformers either.
            attentionScale: 1 / sqrt(Double(dModel / encoder.heads)),
            head: Head(weight: tied ? .tied : .separate, weightName: "proj_out.weight"),
            sourceVocabulary: vocabulary, targetVocabulary: vocabulary)
    }
}
