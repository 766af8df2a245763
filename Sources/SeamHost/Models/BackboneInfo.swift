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
    case encoder = 0
    case decoder = 1
    case cross = 2
}

/// A list for each attention, as C has them.
typealias SizesByAttention = (UnsafePointer<Int64>?, UnsafePointer<Int64>?, UnsafePointer<Int64>?)

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
    /// The vocabulary of targets, and of sources unless they have their own.
    public let vocabSize: Int
    public let sourceVocabSize: Int
    public let decoderStartToken: Int32?
    /// Each ends a text.
    public let eosTokens: [Int32]
    public let padToken: Int32?
    public let bosToken: Int32?
    public let maskToken: Int32?
    public let architecture: Architecture
    /// Whether scores of the vocabulary can be had.
    public let hasHead: Bool
    /// What tells the model apart from others where it has no files; nil: nothing.
    public let identity: String?
    /// Layers whose attention takes a prefix, by `PrefixAttention`; 0: none.
    public let prefixLayers: [Int]
    /// Heads of the keys and values that a prefix has, by `PrefixAttention` and layer, and their width.
    public let prefixKVHeads: [[Int]], prefixHeadDim: [[Int]]
    /// Tokens that a prefix may have where it takes positions, by `PrefixAttention`; 0: it takes none, any length.
    public let maxPrefixLength: [Int]
    /// The numbers of a frame, where sources are features, and how many frames are one hidden state; 0 and
    /// 0: sources are token ids.
    public let featureWidth: Int
    public let featureStride: Int
    /// Whether the encoder and the decoder can run a part of their layers.
    public let encodesLayerRanges: Bool
    public let decodesLayerRanges: Bool
    /// The places inside its layers where adapters attach, in the backbone's order.
    public let points: [Point]

    /// - Parameter mayLackVocabulary: of a model that is described and not run.
    package init(_ source: seam_backbone_info, mayLackVocabulary: Bool = false, origin: String) throws {
        /// A number of the description, small enough that products of a few of them do not overflow.
        func number(_ value: Int64, _ name: String, atMost limit: Int = 1 << 20) throws -> Int {
            guard value >= 0, value <= Int64(limit) else {
                throw SeamError(
                    .plugin, "the backbone describes itself with \(name) \(value), which must be 0 ... \(limit)",
                    origin: origin)
            }
            return Int(value)
        }
        func numbers<Array>(_ values: Array, _ name: String, atMost limit: Int) throws -> [Int] {
            try withUnsafeBytes(of: values) {
                try $0.bindMemory(to: Int64.self).map { try number($0, name, atMost: limit) }
            }
        }
        let (mostLayers, mostTokens) = (1 << 16, Int(Int32.max))
        isOpaque = source.kind == SEAM_BACKBONE_OPAQUE
        guard isOpaque || source.kind == SEAM_BACKBONE_TRACED else {
            throw SeamError(
                .plugin, "the backbone describes itself with the unknown kind \(source.kind)", origin: origin)
        }
        family = source.family.map { String(cString: $0) } ?? ""
        prefixLayers = try numbers(source.prefix_layers, "prefix_layers", atMost: mostLayers)
        maxPrefixLength = try numbers(source.max_prefix_length, "max_prefix_length", atMost: mostTokens)
        let named = try tableEntries(source.seams, source.seam_count, "seam", of: "the backbone", origin: origin) {
            try checkedName($0, "a seam of the backbone", origin: origin)
        }
        try refuseTwice(named, "the seam of the backbone", origin: origin)
        let prefixSeams = prefixLayers.contains { $0 > 0 } ? [SEAM_ATTENTION_PREFIX, SEAM_PREFIX_TOKENS] : []
        // Nothing of the backbone lies behind decoder.output: every backbone has it.
        let implied = prefixSeams + [SEAM_DECODER_OUTPUT]
        dModel = try number(source.d_model, "d_model")
        encoderLayers = try number(source.encoder_layers, "encoder_layers", atMost: mostLayers)
        decoderLayers = try number(source.decoder_layers, "decoder_layers", atMost: mostLayers)
        for (attention, layers) in zip(PrefixAttention.allCases, [encoderLayers, decoderLayers, decoderLayers])
        where prefixLayers[attention.rawValue] > layers {
            throw SeamError(
                .plugin,
                "the backbone describes itself with prefix_layers \(prefixLayers) and \(encoderLayers) encoder and \(decoderLayers) decoder layers: of a stack at most its layers take a prefix",
                origin: origin)
        }
        let places = try Self.points(of: source, layers: (encoderLayers, decoderLayers), dModel: dModel, origin: origin)
        points = places
        let pointSeams = Point.seams.filter { seam in places.contains { $0.seam == seam } }
        if let bare = named.first(where: { Point.seams.contains($0) && !pointSeams.contains($0) }) {
            throw SeamError(.plugin, "the backbone lists the seam \"\(bare)\" and has no point of it", origin: origin)
        }
        seams = named + (pointSeams + implied).filter { !named.contains($0) }
        heads = try number(source.heads, "heads")
        kvHeads = try number(source.kv_heads, "kv_heads")
        headDim = try number(source.head_dim, "head_dim")
        maxSourcePositions = try number(source.max_source_positions, "max_source_positions", atMost: mostTokens)
        maxTargetPositions = try number(source.max_target_positions, "max_target_positions", atMost: mostTokens)
        vocabSize = try number(source.vocab_size, "vocab_size", atMost: mostTokens)
        let ownVocabulary = try number(source.source_vocab_size, "source_vocab_size", atMost: mostTokens)
        sourceVocabSize = ownVocabulary > 0 ? ownVocabulary : vocabSize
        func token(_ id: Int64, _ name: String) throws -> Int32? {
            id < 0 ? nil : Int32(try number(id, name, atMost: mostTokens))
        }
        decoderStartToken = try token(source.decoder_start_token_id, "decoder_start_token_id")
        let ends = source.eos_token_count
        guard (0...1000).contains(ends) else {
            throw SeamError(
                .plugin,
                "the number of eos_token_ids of the backbone must be at most 1000, found \(UInt(bitPattern: ends))",
                origin: origin)
        }
        guard let tokens = source.eos_token_ids ?? (ends == 0 ? UnsafePointer(bitPattern: 8) : nil) else {
            throw SeamError(.plugin, "the backbone has \(ends) eos_token_ids and gives NULL for them", origin: origin)
        }
        eosTokens = try (0..<ends).map { Int32(try number(tokens[$0], "eos_token_ids", atMost: mostTokens)) }
        padToken = try token(source.pad_token_id, "pad_token_id")
        bosToken = try token(source.bos_token_id, "bos_token_id")
        maskToken = try token(source.mask_token_id, "mask_token_id")
        guard let architecture = Architecture(rawValue: source.architecture) else {
            throw SeamError(
                .plugin, "the backbone describes itself with the unknown architecture \(source.architecture)",
                origin: origin)
        }
        self.architecture = architecture
        hasHead = try pluginFlag(source.has_head, "has_head of the backbone", origin: origin)
        identity = source.identity.map { String(cString: $0) }
        prefixKVHeads = try Self.byLayer(
            source.prefix_kv_heads, prefixLayers, usual: kvHeads, "prefix_kv_heads", origin: origin)
        prefixHeadDim = try Self.byLayer(
            source.prefix_head_dim, prefixLayers, usual: headDim, "prefix_head_dim", origin: origin)
        guard
            prefixSeams.isEmpty || !isOpaque && (prefixKVHeads + prefixHeadDim).joined().allSatisfy({ $0 > 0 })
        else {
            throw SeamError(
                .plugin,
                "a backbone that takes prefixes must be traced and name kv_heads and head_dim, found \(isOpaque ? "an opaque one" : "kv_heads \(kvHeads), head_dim \(headDim)")",
                origin: origin)
        }
        featureWidth = try number(source.feature_width, "feature_width")
        featureStride = try number(source.feature_stride, "feature_stride")
        guard (featureWidth > 0) == (featureStride > 0) else {
            throw SeamError(
                .plugin,
                "the backbone describes itself with feature_width \(featureWidth) and feature_stride \(featureStride); both must be positive, or both 0",
                origin: origin)
        }
        guard featureWidth == 0 || architecture == .encoderDecoder || architecture == .encoderOnly else {
            throw SeamError(
                .plugin,
                "the backbone describes itself with feature_width \(featureWidth) and has no encoder, which features are for",
                origin: origin)
        }
        encodesLayerRanges = try pluginFlag(
            source.encodes_layer_ranges, "encodes_layer_ranges of the backbone", origin: origin)
        decodesLayerRanges = try pluginFlag(
            source.decodes_layer_ranges, "decodes_layer_ranges of the backbone", origin: origin)
        guard !isOpaque || !encodesLayerRanges && !decodesLayerRanges else {
            throw SeamError(
                .plugin, "an opaque backbone has no ranges of layers, which adapters inside them are for",
                origin: origin)
        }
        guard vocabSize > 0 || architecture == .text || mayLackVocabulary, dModel > 0 else {
            throw SeamError(
                .plugin,
                "the backbone describes itself with d_model \(dModel) and vocab_size \(vocabSize); both must be positive",
                origin: origin)
        }
    }

    /// A size of each layer that takes a prefix, by attention.
    private static func byLayer(
        _ lists: SizesByAttention, _ layers: [Int], usual: Int, _ name: String, origin: String
    ) throws -> [[Int]] {
        try zip([lists.0, lists.1, lists.2], layers).map { list, count in
            guard let list else { return [Int](repeating: usual, count: count) }
            return try UnsafeBufferPointer(start: list, count: count).map { value in
                guard (1...1 << 20).contains(value) else {
                    throw SeamError(
                        .plugin,
                        "the backbone describes itself with \(name) \(value), which must be 1 ... \(1 << 20)",
                        origin: origin)
                }
                return Int(value)
            }
        }
    }

    private static func points(
        of source: seam_backbone_info, layers: (Int, Int), dModel: Int, origin: String
    ) throws -> [Point] {
        let points = try tableEntries(
            source.points, source.point_count, atMost: 1 << 16, "point", of: "the backbone", origin: origin
        ) { try Point($0, layers: layers, dModel: dModel, origin: origin) }
        guard points.isEmpty || source.kind == SEAM_BACKBONE_TRACED else {
            throw SeamError(.plugin, "an opaque backbone has no points, found \(points.count)", origin: origin)
        }
        try refuseTwice(points.map(\.path), "the point of the backbone", origin: origin)
        return points
    }

    /// Throws `.unsupported` for a backbone that cannot generate.
    func requireDecoder() throws {
        guard architecture == .encoderDecoder || architecture == .decoderOnly else {
            throw SeamError(.unsupported, "the backbone has no decoder to generate with")
        }
    }
}

/// Numbers into a C array of int64_t of the same length.
public func store<Array>(_ numbers: [Int], in array: inout Array) {
    withUnsafeMutableBytes(of: &array) { bytes in
        let places = bytes.bindMemory(to: Int64.self)
        for (place, number) in zip(places.indices, numbers) { places[place] = Int64(number) }
    }
}
