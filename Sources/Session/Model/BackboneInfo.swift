import CSeam
import Support

/// Which functions a backbone is run with.
public enum Architecture: Int32, Sendable {
    case encoderDecoder = 0
    case encoderOnly = 1
    case decoderOnly = 2
    /// It reads text by itself.
    case text = 3
}

/// What a backbone is (`seam_backbone_info`). Zero: none, unknown or unlimited; token ids: nil for none.
public struct BackboneInfo: Sendable, Equatable {
    public let isOpaque: Bool
    public let family: String
    public let seams: [String]
    public let dModel: Int
    public let encoderLayers: Int
    public let decoderLayers: Int
    public let heads: Int
    public let kvHeads: Int
    public let headDim: Int
    public let maxSourcePositions: Int
    public let maxTargetPositions: Int
    /// Of targets, and of sources unless they have their own.
    public let vocabSize: Int
    public let sourceVocabSize: Int
    public let decoderStartToken: Int32?
    public let eosToken: Int32?
    public let padToken: Int32?
    public let bosToken: Int32?
    public let maskToken: Int32?
    public let architecture: Architecture
    /// Whether scores of the vocabulary can be had.
    public let hasHead: Bool
    /// What tells the model apart from others where it has no files; nil: nothing.
    public let identity: String?

    init(_ source: seam_backbone_info, origin: String) throws {
        isOpaque = source.kind == SEAM_BACKBONE_OPAQUE
        family = source.family.map { String(cString: $0) } ?? ""
        let named = (0..<source.seam_count).compactMap { source.seams?[$0].map { String(cString: $0) } }
        // Nothing of the backbone lies behind it: every backbone has it.
        seams = named + (named.contains(SEAM_DECODER_OUTPUT) ? [] : [SEAM_DECODER_OUTPUT])
        dModel = Int(source.d_model)
        encoderLayers = Int(source.encoder_layers)
        decoderLayers = Int(source.decoder_layers)
        heads = Int(source.heads)
        kvHeads = Int(source.kv_heads)
        headDim = Int(source.head_dim)
        maxSourcePositions = Int(source.max_source_positions)
        maxTargetPositions = Int(source.max_target_positions)
        vocabSize = Int(source.vocab_size)
        sourceVocabSize = source.source_vocab_size > 0 ? Int(source.source_vocab_size) : vocabSize
        func token(_ id: Int64) -> Int32? { id < 0 ? nil : Int32(exactly: id) }
        decoderStartToken = token(source.decoder_start_token_id)
        eosToken = token(source.eos_token_id)
        padToken = token(source.pad_token_id)
        bosToken = token(source.bos_token_id)
        maskToken = token(source.mask_token_id)
        guard let architecture = Architecture(rawValue: source.architecture) else {
            throw SeamError(
                .plugin, "the backbone describes itself with the unknown architecture \(source.architecture)", origin: origin)
        }
        self.architecture = architecture
        hasHead = source.has_head != 0
        identity = source.identity.map { String(cString: $0) }
        guard vocabSize > 0 || architecture == .text, dModel > 0 else {
            throw SeamError(
                .plugin, "the backbone describes itself with d_model \(dModel) and vocab_size \(vocabSize); both must be positive",
                origin: origin)
        }
    }

    /// Throws `.unsupported` for a backbone that cannot generate.
    func requireDecoder() throws {
        guard architecture == .encoderDecoder || architecture == .decoderOnly else {
            throw SeamError(.unsupported, "the backbone has no decoder to generate with")
        }
    }
}
