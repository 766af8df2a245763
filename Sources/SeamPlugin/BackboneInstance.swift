import CSeam

/// What the host holds as `self` of a backbone: any backbone behind one class, so that the same C
/// functions serve every type.
final class BackboneInstance {
    let backbone: any Backbone
    let parameters: [Parameter]
    private let info: BackboneInfo
    private let seams: UnsafeMutablePointer<UnsafePointer<CChar>?>

    init(_ backbone: any Backbone) {
        self.backbone = backbone
        parameters = backbone.parameters
        info = backbone.info
        seams = .allocate(capacity: max(info.seams.count, 1))
        seams.initialize(from: info.seams.map { $0.cString }, count: info.seams.count)
        Parameter.number(parameters)
    }

    deinit { seams.deallocate() }

    static func at(_ pointer: UnsafeMutableRawPointer?) -> BackboneInstance {
        Unmanaged<BackboneInstance>.fromOpaque(pointer!).takeUnretainedValue()
    }

    func describe(_ out: UnsafeMutablePointer<seam_backbone_info>) {
        info.describe(out, kind: seam_backbone_kind(SEAM_BACKBONE_TRACED), seams: UnsafePointer(seams))
    }

    func encode(_ io: UnsafeMutablePointer<seam_encode>?) {
        guard let io, io.pointee.struct_size >= Version1.encode, let pass = Pass(io.pointee.ops, io.pointee.ctx)
        else { return }
        let source = Source(
            ids: pass.tensor(io.pointee.input_ids), mask: pass.tensor(io.pointee.attention_mask),
            tokenTypes: io.pointee.token_type_ids.map(pass.tensor), prefix: io.pointee.prefix.map(pass.tensor))
        let context = context(pass, io.pointee.parameters, io.pointee.parameter_count, io.pointee.training)
        io.pointee.hidden = backbone.encode(source, in: context).handle
    }

    func decode(_ io: UnsafeMutablePointer<seam_decode>?) {
        guard let io, io.pointee.struct_size >= Version1.decode, let pass = Pass(io.pointee.ops, io.pointee.ctx)
        else { return }
        let target = Target(
            ids: pass.tensor(io.pointee.decoder_input_ids), encoder: io.pointee.encoder_hidden.map(pass.tensor),
            encoderMask: io.pointee.encoder_attention_mask.map(pass.tensor),
            mask: io.pointee.attention_mask.map(pass.tensor), positions: io.pointee.position_ids.map(pass.tensor),
            state: StateInstance.at(io.pointee.state)?.state, hiddenOnly: io.pointee.hidden_only != 0,
            prefix: io.pointee.prefix.map(pass.tensor), crossPrefix: io.pointee.cross_prefix.map(pass.tensor))
        let context = context(pass, io.pointee.parameters, io.pointee.parameter_count, io.pointee.training)
        let (logits, hidden) = backbone.decode(target, in: context)
        io.pointee.logits = logits?.handle
        io.pointee.hidden = hidden.handle
    }

    func head(_ io: UnsafeMutablePointer<seam_head>?) {
        guard let io, io.pointee.struct_size >= Version1.head, let pass = Pass(io.pointee.ops, io.pointee.ctx)
        else { return }
        let context = context(pass, io.pointee.parameters, io.pointee.parameter_count, io.pointee.training)
        io.pointee.logits = backbone.head(pass.tensor(io.pointee.hidden), in: context).handle
    }

    func pool(_ io: UnsafeMutablePointer<seam_pool>?) {
        guard let io, io.pointee.struct_size >= Version1.pool, let pass = Pass(io.pointee.ops, io.pointee.ctx)
        else { return }
        let context = context(pass, io.pointee.parameters, io.pointee.parameter_count, io.pointee.training)
        io.pointee.pooled = backbone.pool(
            pass.tensor(io.pointee.hidden), mask: pass.tensor(io.pointee.attention_mask), in: context).handle
    }

    private func context(
        _ pass: Pass, _ parameters: UnsafePointer<OpaquePointer?>?, _ count: Int, _ training: Int32
    ) -> Context {
        Context(pass, parameters: parameters, count: count, training: training != 0)
    }

    func makeState(
        _ context: OpaquePointer?, _ ops: UnsafePointer<seam_ops>?, batch: Int, capacity: Int
    ) -> OpaquePointer? {
        guard let pass = Pass(ops, context) else { return nil }
        return backbone.makeState(batch: batch, capacity: capacity, in: Context(pass)).map {
            OpaquePointer(Unmanaged.passRetained(StateInstance($0)).toOpaque())
        }
    }
}

extension BackboneInfo {
    /// Fills the host's struct; `seams` are those of this description; both pointers live as long as the backbone.
    func describe(
        _ out: UnsafeMutablePointer<seam_backbone_info>, kind: seam_backbone_kind,
        seams: UnsafePointer<UnsafePointer<CChar>?>?, identity: UnsafePointer<CChar>? = nil
    ) {
        var value = seam_backbone_info()
        value.kind = kind
        value.family = family.cString
        value.seams = seams
        value.seam_count = self.seams.count
        value.d_model = Int64(dModel)
        value.encoder_layers = Int64(encoderLayers)
        value.decoder_layers = Int64(decoderLayers)
        value.heads = Int64(heads)
        value.kv_heads = Int64(keyValueHeads)
        value.head_dim = Int64(headDim)
        value.max_source_positions = Int64(maxSourcePositions)
        value.max_target_positions = Int64(maxTargetPositions)
        value.vocab_size = Int64(vocabSize)
        value.source_vocab_size = Int64(sourceVocabSize)
        value.decoder_start_token_id = Int64(decoderStartToken)
        value.eos_token_id = Int64(endToken)
        value.pad_token_id = Int64(padToken)
        value.bos_token_id = Int64(beginToken)
        value.mask_token_id = Int64(maskToken)
        value.identity = identity
        value.architecture = architecture.rawValue
        value.has_head = hasHead ? 1 : 0
        store(prefixLayers, in: &value.prefix_layers)
        store(maxPrefixLength, in: &value.max_prefix_length)
        fill(out, out.pointee.struct_size, with: &value)
    }
}

/// What the host holds as a decoding state.
final class StateInstance {
    let state: any DecodingState

    init(_ state: any DecodingState) { self.state = state }

    static func at(_ pointer: OpaquePointer?) -> StateInstance? {
        pointer.map { Unmanaged<StateInstance>.fromOpaque(UnsafeRawPointer($0)).takeUnretainedValue() }
    }

    static func release(_ pointer: OpaquePointer?) {
        if let pointer { Unmanaged<StateInstance>.fromOpaque(UnsafeRawPointer(pointer)).release() }
    }

    static func select(
        _ pointer: OpaquePointer?, _ context: OpaquePointer?, _ ops: UnsafePointer<seam_ops>?,
        _ rows: UnsafePointer<Int32>?, _ count: Int
    ) {
        guard let instance = at(pointer), let pass = Pass(ops, context) else { return }
        instance.state.select(UnsafeBufferPointer(start: rows, count: count), in: Context(pass))
    }
}
