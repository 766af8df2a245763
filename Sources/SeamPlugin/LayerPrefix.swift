import CSeam

/// What stands before the keys and values of the tokens in one attention (`Seam.attentionPrefix`), for each of its layers.
/// Valid during the call that it was given to.
public struct LayerPrefixes {
    private let pass: Pass
    private let layers: UnsafePointer<UnsafePointer<seam_prefix>?>

    /// Nil for no prefix.
    init?(_ layers: UnsafePointer<UnsafePointer<seam_prefix>?>?, _ pass: Pass) {
        guard let layers else { return nil }
        (self.layers, self.pass) = (layers, pass)
    }

    /// The prefix of a layer, one of `BackboneInfo.prefixLayers`.
    public subscript(layer: Int) -> LayerPrefix? { LayerPrefix(layers[layer], pass) }
}

/// What stands before the keys and values of the tokens in the attention of one layer: a prefix for each route, and each
/// row of the batch takes that of its route.
public struct LayerPrefix {
    let raw: UnsafePointer<seam_prefix>
    private let pass: Pass
    private let given: seam_prefix

    /// Nil where the host's struct is incomplete.
    init?(_ raw: UnsafePointer<seam_prefix>?, _ pass: Pass) {
        guard let raw, let given = bounded(raw, SEAM_PREFIX_SIZE_1_0), given.keys_values != nil else { return nil }
        (self.raw, self.pass, self.given) = (raw, pass, given)
    }

    public var routeCount: Int { Int(given.route_count) }

    /// [2, kv heads, prefix, head_dim], keys at 0 and values at 1; nil: the route's rows have no prefix.
    public func keysValues(ofRoute route: Int) -> Tensor? {
        guard route >= 0, route < routeCount else { return nil }
        return given.keys_values[route].map(pass.tensor)
    }

    /// Tokens of each route's prefix.
    public var lengths: [Int] { (0..<routeCount).map { keysValues(ofRoute: $0)?.size(2) ?? 0 } }

    /// Calls `body` with the struct for a batch in which each row stands for `count` in sequence.
    func forRows<Result>(ofEach count: Int, _ body: (UnsafePointer<seam_prefix>) -> Result) -> Result {
        guard count > 1, let rows else { return body(raw) }
        let routes = rows.flatMap { [Int32](repeating: Int32($0), count: count) }
        return routes.withUnsafeBufferPointer {
            var repeated = given
            (repeated.routes, repeated.row_count) = ($0.baseAddress, $0.count)
            return body(&repeated)
        }
    }

    /// The route of each row; nil: all rows take the first.
    public var rows: [Int]? {
        guard let routes = given.routes else { return nil }
        return (0..<given.row_count).map { Int(routes[$0]) }
    }
}

/// Where a backbone puts the keys and values of a text in one attention, for each of its layers that takes a prefix: an
/// adapter on `Seam.attentionPrefix` may start from them. Valid during the call that it was given to.
public struct LayerKeysValues {
    private let layers: UnsafeMutablePointer<OpaquePointer?>

    /// Nil where nobody wants them.
    init?(_ layers: UnsafeMutablePointer<OpaquePointer?>?) {
        guard let layers else { return nil }
        self.layers = layers
    }

    /// Hands over the keys and values of a layer, one of `BackboneInfo.prefixLayers`, as its attention reads them:
    /// [batch, kv heads, positions, head_dim] each.
    /// - Returns: what has to live until the call returns; a scope around the layer has to keep it.
    public func put(keys: Tensor, values: Tensor, of layer: Int) -> Tensor {
        let shape = [1] + keys.shape
        let both = keys.reshape(shape).concat([values.reshape(shape)], axis: 0)
        layers[layer] = both.handle
        return both
    }
}

extension Tensor {
    /// `attention(key:value:bias:mask:scale:causal:)` with the keys and values of a prefix before those of
    /// `key` and `value`, seen by every query; neither `mask` nor `causal` is about them. The prefix is not copied for the
    /// rows that read it. Nil: no prefix.
    ///
    /// `prefixBiases`: for each route what is added to the scaled scores of its tokens, broadcast to [b, h, q, prefix], of
    /// which a row reads its own; a null tensor: nothing. Empty: nothing for any route.
    ///
    /// `rowsOfEach`: how many rows in sequence each of the prefix's rows stands for, where a text is split over several.
    public func attention(
        key: Tensor, value: Tensor, prefix: LayerPrefix?, prefixBiases: [Tensor] = [], rowsOfEach: Int = 1,
        bias: Tensor? = nil,
        mask: Tensor? = nil, scale: Double, causal: Bool = false
    ) -> Tensor {
        guard let prefix else {
            return attention(key: key, value: value, bias: bias, mask: mask, scale: scale, causal: causal)
        }
        func call(_ biases: UnsafePointer<OpaquePointer?>?) -> OpaquePointer? {
            prefix.forRows(ofEach: rowsOfEach) {
                pass.ops.pointee.attention_with_prefix(
                    pass.raw, handle, key.handle, value.handle, $0, biases, bias?.handle, mask?.handle, scale,
                    causal ? 1 : 0)
            }
        }
        if prefixBiases.isEmpty { return pass.tensor(call(nil)) }
        let biases = (0..<prefix.routeCount).map { $0 < prefixBiases.count ? prefixBiases[$0].handle : nil }
        return pass.tensor(biases.withUnsafeBufferPointer { call($0.baseAddress) })
    }
}
