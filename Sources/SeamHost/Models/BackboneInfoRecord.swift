import CSeam

/// A backbone's description as plugins and clients read it, with everything that it points at in memory of its own.
///
/// Constant from the moment it is made, so that any thread may read it.
public final class BackboneInfoRecord {
    public let pointer: UnsafePointer<seam_backbone_info>
    private let memory: Arena

    init(_ info: BackboneInfo) {
        let memory = Arena()
        var record = seam_backbone_info()
        record.struct_size = UInt32(MemoryLayout<seam_backbone_info>.size)
        record.kind = Int32(info.isOpaque ? SEAM_BACKBONE_OPAQUE : SEAM_BACKBONE_TRACED)
        record.architecture = info.architecture.rawValue
        record.has_head = info.hasHead ? 1 : 0
        record.family = memory.copy(info.family)
        record.identity = info.identity.map(memory.copy)
        record.seams = memory.copy(info.seams.map { UnsafePointer<CChar>?(memory.copy($0)) })
        record.seam_count = info.seams.count
        record.d_model = Int64(info.dModel)
        record.encoder_layers = Int64(info.encoderLayers)
        record.decoder_layers = Int64(info.decoderLayers)
        record.heads = Int64(info.heads)
        record.kv_heads = Int64(info.kvHeads)
        record.head_dim = Int64(info.headDim)
        record.max_source_positions = Int64(info.maxSourcePositions)
        record.max_target_positions = Int64(info.maxTargetPositions)
        record.vocab_size = Int64(info.vocabSize)
        record.source_vocab_size = Int64(info.sourceVocabSize)
        func id(_ token: Int32?) -> Int64 { token.map(Int64.init) ?? -1 }
        record.decoder_start_token_id = id(info.decoderStartToken)
        record.pad_token_id = id(info.padToken)
        record.bos_token_id = id(info.bosToken)
        record.mask_token_id = id(info.maskToken)
        record.eos_token_ids = memory.copy(info.eosTokens.map(Int64.init))
        record.eos_token_count = info.eosTokens.count
        store(info.prefixLayers, in: &record.prefix_layers)
        store(info.maxPrefixLength, in: &record.max_prefix_length)
        record.feature_width = Int64(info.featureWidth)
        record.feature_stride = Int64(info.featureStride)
        record.encodes_layer_ranges = info.encodesLayerRanges ? 1 : 0
        record.decodes_layer_ranges = info.decodesLayerRanges ? 1 : 0
        // No list is needed where all layers are as kv_heads and head_dim say.
        func lists(_ numbers: [[Int]], unless usual: Int) -> SizesByAttention {
            let lists = numbers.map { $0.allSatisfy { $0 == usual } ? nil : memory.copy($0.map(Int64.init)) }
            return (lists[0], lists[1], lists[2])
        }
        record.prefix_kv_heads = lists(info.prefixKVHeads, unless: info.kvHeads)
        record.prefix_head_dim = lists(info.prefixHeadDim, unless: info.headDim)
        record.points = memory.copy(
            info.points.map { UnsafePointer<seam_point>?(memory.copy([Self.point($0, memory)])!) })
        record.point_count = info.points.count
        pointer = memory.copy([record])!
        self.memory = memory
    }

    private static func point(_ point: Point, _ memory: Arena) -> seam_point {
        var record = seam_point()
        record.struct_size = UInt32(MemoryLayout<seam_point>.size)
        record.stack = point.stack.rawValue
        record.is_transposed = point.isTransposed ? 1 : 0
        record.seam = memory.copy(point.seam)
        record.name = memory.copy(point.name)
        record.layer = Int64(point.layer)
        record.input_width = Int64(point.inputWidth)
        record.output_width = Int64(point.outputWidth)
        record.part_names = memory.copy(point.parts.map { UnsafePointer<CChar>?(memory.copy($0.name)) })
        record.part_widths = memory.copy(point.parts.map { Int64($0.width) })
        record.part_count = point.parts.count
        record.weight_parameter = point.weightParameter.map { memory.copy($0) }
        record.bias_parameter = point.biasParameter.map { memory.copy($0) }
        return record
    }
}
