import Engine
import Support

/// The keys and values of a text's tokens, as a backbone's attentions read them: what an adapter on attention.prefix may
/// start from. One call of `encode` and one of `decode` fill it.
package final class TextKeysValues {
    private let slots: [UnsafeMutableBufferPointer<OpaquePointer?>]
    /// By `PrefixAttention` and layer: [2, rows, kv_heads, positions, head_dim]; nil for what is not wanted.
    private var layers: [[Tensor?]]

    /// - Parameter attentions: those that are wanted, of which the backbone's layers may take a prefix.
    init(_ attentions: [PrefixAttention], for info: BackboneInfo) {
        slots = PrefixAttention.allCases.map { attention in
            let count = attentions.contains(attention) ? info.prefixLayers[attention.rawValue] : 0
            let slots = UnsafeMutableBufferPointer<OpaquePointer?>.allocate(capacity: count)
            slots.initialize(repeating: nil)
            return slots
        }
        layers = info.prefixLayers.map { [Tensor?](repeating: nil, count: $0) }
    }

    deinit { for slots in slots { slots.deallocate() } }

    /// Where the backbone puts those of one attention; nil where they are not wanted.
    func slots(_ attention: PrefixAttention) -> UnsafeMutablePointer<OpaquePointer?>? {
        let own = slots[attention.rawValue]
        return own.isEmpty ? nil : own.baseAddress
    }

    /// Reads what the backbone has put there.
    /// - Parameter sizes: rows and positions.
    /// - Throws: `.unsupported` where a layer has none, `.plugin` for tensors of other shapes.
    func check(_ attention: PrefixAttention, _ sizes: Shape, of backbone: Backbone) throws {
        let info = backbone.info
        for (layer, handle) in slots[attention.rawValue].enumerated() {
            guard let tensor = handle.map({ Tensor.from($0) }) else {
                throw SeamError(
                    .unsupported,
                    "\(backbone.name) does not hand out the keys and values of a text, which an adapter is to start from",
                    origin: backbone.origin)
            }
            let heads = info.prefixKVHeads[attention.rawValue][layer]
            let expected: Shape = [2, sizes[0], heads, sizes[1], info.prefixHeadDim[attention.rawValue][layer]]
            guard tensor.dtype == .f32, tensor.shape == expected else {
                throw SeamError(
                    .plugin,
                    "\(backbone.name) must hand out the keys and values of \(attention) attention in layer \(layer) as f32 \(expected), found \(tensor.dtype.name) \(tensor.shape)",
                    origin: backbone.origin)
            }
            layers[attention.rawValue][layer] = tensor
        }
    }

    /// Those of the one row that the text was, as a prefix of its tokens: for each layer of each attention in turn
    /// [2, kv_heads, positions, head_dim].
    func ofOneRow(in context: Context) throws -> [Tensor?] {
        try layers.joined().map { both in
            try both.map { try context.reshape($0, [2, $0.shape[2], $0.shape[3], $0.shape[4]]) }
        }
    }
}
