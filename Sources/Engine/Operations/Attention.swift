import Support

extension Context {
    /// Scaled dot-product attention (Vaswani et al. 2017, eq. 1) with an additive bias.
    ///
    /// - Parameters:
    ///   - query: [b, h, q, dk]; key [b, g, k, dk] and value [b, g, k, dv] with h a multiple of g.
    ///   - bias: nullable, broadcasts to [b, h, q, k], added to the scaled scores.
    ///   - mask: nullable i32 [b, k]; 0 hides a key.
    ///   - causal: query i sees keys 0 ... i + (k - q).
    /// - Returns: [b, h, q, dv], laid out as [b, q, h, dv] in memory, so that joining the heads copies nothing. A
    ///   query that sees no key gives zeros.
    public func attention(
        query: Tensor, key: Tensor, value: Tensor, bias: Tensor?, mask: Tensor?, scale: Double, causal: Bool
    ) throws(SeamError) -> Tensor {
        let own = try AttentionOperands(
            "attention", query: query, key: key, value: value, bias: bias, mask: mask, in: self)
        let all = AttentionSegment(rows: 0..<own.batch, prefix: nil)
        return try attend(own, [all], scale: scale, causal: causal)
    }
}

/// What is added to the scores of an attention, as the kernel reads it.
struct AttentionBias {
    /// The bias as it was given, with its history.
    let given: Tensor
    /// Its keys have stride 1.
    let values: Tensor
    /// The strides of the scores' other axes.
    private let strides: Shape

    /// - Parameters:
    ///   - scores: [b, h, q, k], to which it must broadcast.
    ///   - operation, what: for errors: "attention", "bias".
    init(
        _ bias: Tensor, to scores: Shape, _ operation: String, _ what: @autoclosure () -> String, in context: Context
    ) throws(SeamError) {
        try context.requireF32(bias, operation)
        guard Shape.broadcast(bias.shape, scores) == scores else {
            throw SeamError(.shape, "\(operation): \(what()) \(bias.shape) does not broadcast to \(scores)")
        }
        var read = bias.detached
        let (last, keys) = (bias.rank - 1, scores[3])
        if last < 0 || bias.shape[last] != keys || bias.strides[last] != 1 {
            var shape = last < 0 ? Shape(repeating: 1, count: 1) : bias.shape
            shape[shape.count - 1] = keys
            read = try context.contiguous(try context.expand(read, to: shape))
        }
        (given, values, strides) = (bias, read, broadcastStrides(read, to: scores))
    }

    /// The bias from a row of the batch and a query on.
    func start(row: Int, query: Int) -> (UnsafeMutablePointer<Float>, (Int64, Int64, Int64)) {
        (
            values.f32 + row * strides[0] + query * strides[2],
            (Int64(strides[0]), Int64(strides[1]), Int64(strides[2]))
        )
    }
}

/// The operands of an attention over the tokens' own keys, checked.
struct AttentionOperands {
    let name: String
    /// The operands, with their history.
    let query, key, value: Tensor
    let bias: AttentionBias?
    let mask: Tensor?
    let batch, heads, queries, keys, width: Int

    /// - Parameter name: of the operation, for errors.
    init(
        _ name: String, query: Tensor, key: Tensor, value: Tensor, bias: Tensor?, mask: Tensor?,
        in context: Context
    ) throws(SeamError) {
        for operand in [query, key, value] { try context.requireF32(operand, name) }
        guard query.rank == 4, key.rank == 4, value.rank == 4 else {
            throw SeamError(
                .shape, "\(name): query, key and value need 4 axes, found \(query.shape), \(key.shape), \(value.shape)")
        }
        let (batch, heads, queries) = (query.shape[0], query.shape[1], query.shape[2])
        let (groups, keys) = (key.shape[1], key.shape[2])
        guard key.shape[0] == batch, value.shape[0] == batch, value.shape[1] == groups, value.shape[2] == keys,
            key.shape[3] == query.shape[3], groups > 0, heads % groups == 0
        else {
            throw SeamError(
                .shape, "\(name): query \(query.shape), key \(key.shape) and value \(value.shape) do not fit")
        }
        self.bias = try bias.map { (bias) throws(SeamError) in
            try AttentionBias(bias, to: [batch, heads, queries, keys], name, "bias", in: context)
        }
        var visible: Tensor?
        if let mask {
            guard mask.dtype == .i32, mask.shape == [batch, keys] else {
                throw SeamError(
                    .shape, "\(name): mask must be i32 [\(batch), \(keys)], found \(mask.dtype.name) \(mask.shape)")
            }
            visible = try context.contiguous(mask)
        }
        self.mask = visible
        (self.name, self.query, self.key, self.value) = (name, query, key, value)
        (self.batch, self.heads, self.queries, self.keys) = (batch, heads, queries, keys)
        width = value.shape[3]
    }
}
