import CSeam

/// A backbone's description with the C arrays that the host's struct points to; they live as long as this object.
final class BackboneTable {
    let info: BackboneInfo
    private let seams: UnsafeMutableBufferPointer<UnsafePointer<CChar>?>
    private let endTokens: UnsafeMutableBufferPointer<Int64>
    /// Heads and widths of the layers that take a prefix, by attention.
    private let prefixHeads, prefixWidths: [UnsafeMutableBufferPointer<Int64>]
    private let points: UnsafeMutableBufferPointer<seam_point>
    private let pointList: UnsafeMutableBufferPointer<UnsafePointer<seam_point>?>
    private var parts: [(UnsafeMutableBufferPointer<UnsafePointer<CChar>?>, UnsafeMutableBufferPointer<Int64>)] = []

    /// The backbone's parameters have their places.
    init(_ info: BackboneInfo) {
        self.info = info
        seams = array(info.seams.map { $0.cString })
        endTokens = array(info.endTokens.map { Int64($0) })
        prefixHeads = info.prefixKeyValueHeads.map { array($0.map { Int64($0) }) }
        prefixWidths = info.prefixHeadDim.map { array($0.map { Int64($0) }) }
        points = array(
            info.points.map { point in
                var value = seam_point()
                value.struct_size = UInt32(MemoryLayout<seam_point>.size)
                value.stack = point.stack.rawValue
                value.is_transposed = point.isTransposed ? 1 : 0
                value.seam = point.seam.cString
                value.name = point.name.cString
                value.layer = Int64(point.layer)
                value.input_width = Int64(point.inputWidth)
                value.output_width = Int64(point.outputWidth)
                value.part_count = point.parts.count
                value.weight_parameter = point.weight?.pointerToName
                value.bias_parameter = point.bias?.pointerToName
                return value
            })
        pointList = .allocate(capacity: points.count)
        for index in points.indices {
            pointList.initializeElement(at: index, to: UnsafePointer(points.baseAddress! + index))
        }
        for (index, point) in info.points.enumerated() where !point.parts.isEmpty {
            let names: UnsafeMutableBufferPointer<UnsafePointer<CChar>?> = array(point.parts.map { $0.name.cString })
            let widths = array(point.parts.map { Int64($0.width) })
            points[index].part_names = UnsafePointer(names.baseAddress)
            points[index].part_widths = UnsafePointer(widths.baseAddress)
            parts.append((names, widths))
        }
    }

    deinit {
        seams.deallocate()
        endTokens.deallocate()
        for list in prefixHeads + prefixWidths { list.deallocate() }
        points.deallocate()
        pointList.deallocate()
        for (names, widths) in parts {
            names.deallocate()
            widths.deallocate()
        }
    }

    /// Fills the host's struct; `identity` lives as long as the backbone.
    func describe(
        _ out: UnsafeMutablePointer<seam_backbone_info>, kind: seam_backbone_kind, identity: UnsafePointer<CChar>? = nil
    ) {
        var value = seam_backbone_info()
        value.kind = kind
        value.architecture = info.architecture.rawValue
        value.has_head = info.hasHead ? 1 : 0
        value.family = info.family.cString
        value.identity = identity
        value.seams = UnsafePointer(seams.baseAddress)
        value.seam_count = seams.count
        value.d_model = Int64(info.dModel)
        value.encoder_layers = Int64(info.encoderLayers)
        value.decoder_layers = Int64(info.decoderLayers)
        value.heads = Int64(info.heads)
        value.kv_heads = Int64(info.keyValueHeads)
        value.head_dim = Int64(info.headDim)
        value.max_source_positions = Int64(info.maxSourcePositions)
        value.max_target_positions = Int64(info.maxTargetPositions)
        value.vocab_size = Int64(info.vocabSize)
        value.source_vocab_size = Int64(info.sourceVocabSize)
        value.decoder_start_token_id = Int64(info.decoderStartToken)
        value.pad_token_id = Int64(info.padToken)
        value.bos_token_id = Int64(info.beginToken)
        value.mask_token_id = Int64(info.maskToken)
        value.eos_token_ids = UnsafePointer(endTokens.baseAddress)
        value.eos_token_count = endTokens.count
        store(info.prefixLayers, in: &value.prefix_layers)
        store(info.maxPrefixLength, in: &value.max_prefix_length)
        func lists(_ given: [UnsafeMutableBufferPointer<Int64>]) -> [UnsafePointer<Int64>?] {
            info.prefixLayers.indices.map { attention in
                // A list that is not of all layers would be read beyond its end.
                guard attention < given.count, info.prefixLayers[attention] > 0,
                    given[attention].count >= info.prefixLayers[attention]
                else { return nil }
                return UnsafePointer(given[attention].baseAddress)
            }
        }
        let (heads, widths) = (lists(prefixHeads), lists(prefixWidths))
        value.prefix_kv_heads = (heads[0], heads[1], heads[2])
        value.prefix_head_dim = (widths[0], widths[1], widths[2])
        value.feature_width = Int64(info.featureWidth)
        value.feature_stride = Int64(info.featureStride)
        value.encodes_layer_ranges = info.encodesLayerRanges ? 1 : 0
        value.decodes_layer_ranges = info.decodesLayerRanges ? 1 : 0
        value.points = points.isEmpty ? nil : UnsafePointer(pointList.baseAddress)
        value.point_count = points.count
        fill(out, out.pointee.struct_size, with: &value)
    }
}

/// A C array, which its owner deallocates.
private func array<Element>(_ elements: [Element]) -> UnsafeMutableBufferPointer<Element> {
    let array = UnsafeMutableBufferPointer<Element>.allocate(capacity: elements.count)
    _ = array.initialize(from: elements)
    return array
}
