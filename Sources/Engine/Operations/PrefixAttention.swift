import Support

/// Keys and values that stand before those of the tokens in an attention: one prefix for each route, and each row of the
/// batch takes that of its route.
public struct AttentionPrefix {
    /// [2, heads of keys, prefix, width], keys at 0 and values at 1, by route; nil: the route's rows have none.
    public let keysValues: [Tensor?]
    /// The route of each row; nil: all rows take the first.
    public let rows: [Int32]?
    /// By route, what is added to the scaled scores of the prefix's tokens, broadcast to [b, h, q, prefix], of which a row
    /// reads its own; nil: nothing. Empty: nothing for any route.
    public let biases: [Tensor?]

    public init(keysValues: [Tensor?], rows: [Int32]? = nil, biases: [Tensor?] = []) {
        (self.keysValues, self.rows, self.biases) = (keysValues, rows, biases)
    }
}

extension Context {
    /// Scaled dot-product attention over two segments, the keys and values of a prefix and the tokens' own, with one
    /// softmax over both. A prefix is one for all rows of its route, and never copied for them.
    ///
    /// - Parameter prefix: seen by every query; neither `mask` nor `causal` is about it.
    /// - Returns: as `attention`, whose other parameters these are.
    /// - Throws: `.invalidArgument` for a route that is not there or routes of another number of rows, `.shape` for keys,
    ///   values or a bias that do not fit.
    public func attentionWithPrefix(
        query: Tensor, key: Tensor, value: Tensor, prefix: AttentionPrefix, bias: Tensor?, mask: Tensor?, scale: Double,
        causal: Bool
    ) throws(SeamError) -> Tensor {
        let own = try AttentionOperands(
            "attention_with_prefix", query: query, key: key, value: value, bias: bias, mask: mask, in: self)
        return try attend(own, try segments(of: prefix, own), scale: scale, causal: causal)
    }

    /// Rows that are next to each other and take the same prefix.
    private func segments(of prefix: AttentionPrefix, _ own: AttentionOperands) throws(SeamError) -> [AttentionSegment]
    {
        let count = prefix.keysValues.count
        guard count > 0 else {
            throw SeamError(.invalidArgument, "\(own.name): a prefix needs one route or more, found 0")
        }
        let routes = prefix.rows ?? [Int32](repeating: 0, count: own.batch)
        guard routes.count == own.batch else {
            throw SeamError(
                .invalidArgument,
                "\(own.name): the prefix must name the route of each of the \(own.batch) rows, found \(routes.count)")
        }
        for (row, route) in routes.enumerated() where route < 0 || Int(route) >= count {
            throw SeamError(
                .invalidArgument,
                "\(own.name): the route of row \(row) must be 0 ... \(count - 1), found \(route)")
        }
        var known: [SegmentPrefix?] = []
        for route in 0..<count { known.append(try segmentPrefix(prefix, route, own)) }
        var segments: [AttentionSegment] = []
        for row in 0..<own.batch {
            if row > 0, routes[row] == routes[row - 1] {
                segments[segments.count - 1].rows = segments[segments.count - 1].rows.lowerBound..<row + 1
            } else {
                segments.append(AttentionSegment(rows: row..<row + 1, prefix: known[Int(routes[row])]))
            }
        }
        return segments
    }

    /// The prefix of a route, checked; nil where it has none.
    private func segmentPrefix(_ prefix: AttentionPrefix, _ route: Int, _ own: AttentionOperands) throws(SeamError)
        -> SegmentPrefix?
    {
        guard let both = prefix.keysValues[route] else { return nil }
        let (groups, width) = (own.key.shape[1], own.key.shape[3])
        guard both.dtype == .f32, both.rank == 4, both.shape == [2, groups, both.shape[2], width], own.width == width
        else {
            throw SeamError(
                .shape,
                "\(own.name): keys_values of route \(route) must be f32 [2, \(groups), prefix, \(width)] for key \(own.key.shape) and value \(own.value.shape), found \(both.dtype.name) \(both.shape)"
            )
        }
        let tokens = both.shape[2]
        guard tokens > 0 else { return nil }
        func half(_ index: Int) -> Tensor {
            both.view(
                shape: [1, groups, tokens, width], strides: both.strides, offset: both.offset + index * both.strides[0])
        }
        let bias = route < prefix.biases.count ? prefix.biases[route] : nil
        return SegmentPrefix(
            tokens: tokens, keys: half(0), values: half(1), keysValues: both,
            bias: try bias.map { (bias) throws(SeamError) in
                try AttentionBias(
                    bias, to: [own.batch, own.heads, own.queries, tokens], own.name, "prefix_biases of route \(route)",
                    in: self)
            })
    }
}
