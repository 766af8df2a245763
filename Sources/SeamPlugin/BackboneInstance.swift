import CSeam

/// What the host holds as `self` of a backbone: any backbone behind one class, so that the same C
/// functions serve every type.
final class BackboneInstance {
    let backbone: any Backbone
    let parameters: [Parameter]
    private let info: BackboneTable

    init(_ backbone: any Backbone) {
        self.backbone = backbone
        parameters = backbone.parameters
        Parameter.number(parameters)
        info = BackboneTable(backbone.info)
    }

    static func at(_ pointer: UnsafeMutableRawPointer?) -> BackboneInstance {
        Unmanaged<BackboneInstance>.fromOpaque(pointer!).takeUnretainedValue()
    }

    func describe(_ out: UnsafeMutablePointer<seam_backbone_info>) {
        info.describe(out, kind: seam_backbone_kind(SEAM_BACKBONE_TRACED))
    }

    func encode(_ pass: UnsafePointer<seam_pass>?, _ io: UnsafeMutablePointer<seam_encode>?) {
        guard let io, let given = bounded(io, SEAM_ENCODE_SIZE_1_0), let context = Context(pass) else { return }
        let tensor = context.pass.tensor
        let source = Source(
            ids: given.input_ids.map(tensor), features: given.input_features.map(tensor),
            mask: tensor(given.attention_mask), tokenTypes: given.token_type_ids.map(tensor),
            prefix: LayerPrefixes(given.prefix, context.pass),
            visitor: Visitor(given.visitor, pass), keysValues: LayerKeysValues(given.keys_values),
            layers: LayerRange(
                start: given.start_layer, state: given.start_state, stop: given.stop_layer, tensor))
        io.pointee.hidden = backbone.encode(source, in: context).handle
    }

    func decode(_ pass: UnsafePointer<seam_pass>?, _ io: UnsafeMutablePointer<seam_decode>?) {
        guard let io, let given = bounded(io, SEAM_DECODE_SIZE_1_0), let context = Context(pass) else { return }
        let tensor = context.pass.tensor
        let target = Target(
            ids: tensor(given.decoder_input_ids), encoder: given.encoder_hidden.map(tensor),
            encoderMask: given.encoder_attention_mask.map(tensor), mask: given.attention_mask.map(tensor),
            positions: given.position_ids.map(tensor), state: StateInstance.at(given.state)?.state,
            hiddenOnly: given.hidden_only != 0, prefix: LayerPrefixes(given.prefix, context.pass),
            crossPrefix: LayerPrefixes(given.cross_prefix, context.pass), visitor: Visitor(given.visitor, pass),
            keysValues: LayerKeysValues(given.keys_values), crossKeysValues: LayerKeysValues(given.cross_keys_values),
            layers: LayerRange(
                start: given.start_layer, state: given.start_state, stop: given.stop_layer, tensor))
        let (logits, hidden) = backbone.decode(target, in: context)
        io.pointee.logits = logits?.handle
        io.pointee.hidden = hidden.handle
    }

    func head(_ pass: UnsafePointer<seam_pass>?, _ io: UnsafeMutablePointer<seam_head>?) {
        guard let io, let given = bounded(io, SEAM_HEAD_SIZE_1_0), let context = Context(pass) else { return }
        io.pointee.logits = backbone.head(context.pass.tensor(given.hidden), in: context).handle
    }

    func pool(_ pass: UnsafePointer<seam_pass>?, _ io: UnsafeMutablePointer<seam_pool>?) {
        guard let io, let given = bounded(io, SEAM_POOL_SIZE_1_0), let context = Context(pass) else { return }
        let tensor = context.pass.tensor
        io.pointee.pooled =
            backbone.pool(
                tensor(given.hidden), mask: tensor(given.attention_mask), in: context
            ).handle
    }

    func makeState(_ pass: UnsafePointer<seam_pass>?, batch: Int, capacity: Int) -> OpaquePointer? {
        guard let context = Context(pass) else { return nil }
        return backbone.makeState(batch: batch, capacity: capacity, in: context).map {
            OpaquePointer(Unmanaged.passRetained(StateInstance($0)).toOpaque())
        }
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
        _ pass: UnsafePointer<seam_pass>?, _ pointer: OpaquePointer?, _ rows: UnsafePointer<Int32>?, _ count: Int
    ) {
        guard let instance = at(pointer), let context = Context(pass) else { return }
        instance.state.select(UnsafeBufferPointer(start: rows, count: count), in: context)
    }

    static func append(_ pass: UnsafePointer<seam_pass>?, _ pointer: OpaquePointer?, _ other: OpaquePointer?) {
        guard let instance = at(pointer), let other = at(other), let context = Context(pass) else { return }
        instance.state.append(other.state, in: context)
    }
}
