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

/// Attentions that can be given a prefix, in the order of the ABI.
public enum PrefixAttention: Int, Sendable, CaseIterable {
    /// Of an encoder over its own tokens, of a decoder over its own, of a decoder over the encoder's.
    case encoder = 0, decoder = 1, cross = 2
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
    /// By `PrefixAttention`: layers whose attention takes a prefix; 0: none.
    public let prefixLayers: [Int]
    /// By `PrefixAttention`: tokens that a prefix may have where it takes positions; 0: it takes none, any length.
    public let maxPrefixLength: [Int]

    init(_ source: seam_backbone_info, origin: String) throws {
        isOpaque = source.kind == SEAM_BACKBONE_OPAQUE
        family = source.family.map { String(cString: $0) } ?? ""
        prefixLayers = withUnsafeBytes(of: source.prefix_layers) { $0.bindMemory(to: Int64.self).map { Int($0) } }
        maxPrefixLength = withUnsafeBytes(of: source.max_prefix_length) { $0.bindMemory(to: Int64.self).map { Int($0) } }
        let named = (0..<source.seam_count).compactMap { source.seams?[$0].map { String(cString: $0) } }
        let prefixSeams = prefixLayers.contains { $0 > 0 } ? [SEAM_ATTENTION_PREFIX, SEAM_PREFIX_TOKENS] : []
        // Nothing of the backbone lies behind decoder.output: every backbone has it.
        let implied = prefixSeams + [SEAM_DECODER_OUTPUT]
        seams = named + implied.filter { !named.contains($0) }
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
        guard prefixSeams.isEmpty || (!isOpaque && kvHeads > 0 && headDim > 0) else {
            throw SeamError(
                .plugin,
                "a backbone that takes prefixes must be traced and name kv_heads and head_dim, found \(isOpaque ? "an opaque one" : "kv_heads \(kvHeads), head_dim \(headDim)")",
                origin: origin)
        }
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

    /// What an adapter is told of the place where it is attached.
    func seamSite(named seam: UnsafePointer<CChar>) -> seam_site {
        var site = seam_site()
        site.struct_size = UInt32(MemoryLayout<seam_site>.size)
        site.seam = seam
        site.d_model = Int64(dModel)
        site.encoder_layers = Int64(encoderLayers)
        site.decoder_layers = Int64(decoderLayers)
        site.heads = Int64(heads)
        site.kv_heads = Int64(kvHeads)
        site.head_dim = Int64(headDim)
        site.max_source_positions = Int64(maxSourcePositions)
        site.max_target_positions = Int64(maxTargetPositions)
        site.vocab_size = Int64(vocabSize)
        store(prefixLayers, in: &site.prefix_layers)
        store(maxPrefixLength, in: &site.max_prefix_length)
        return site
    }
}

/// Numbers into a C array of int64_t of the same length.
public func store<Array>(_ numbers: [Int], in array: inout Array) {
    withUnsafeMutableBytes(of: &array) { bytes in
        let places = bytes.bindMemory(to: Int64.self)
        for (place, number) in zip(places.indices, numbers) { places[place] = Int64(number) }
    }
}
