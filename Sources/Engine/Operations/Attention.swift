import Kernels
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
        for operand in [query, key, value] { try requireF32(operand, "attention") }
        guard query.rank == 4, key.rank == 4, value.rank == 4 else {
            throw SeamError(
                .shape,
                "attention: query, key and value need 4 axes, found \(query.shape), \(key.shape), \(value.shape)")
        }
        let (batch, heads, queries) = (query.shape[0], query.shape[1], query.shape[2])
        let (groups, keys, width) = (key.shape[1], key.shape[2], value.shape[3])
        guard key.shape[0] == batch, value.shape[0] == batch, value.shape[1] == groups, value.shape[2] == keys,
            key.shape[3] == query.shape[3], groups > 0, heads % groups == 0
        else {
            throw SeamError(
                .shape, "attention: query \(query.shape), key \(key.shape) and value \(value.shape) do not fit")
        }
        let scoreShape: Shape = [batch, heads, queries, keys]
        var biasStrides = Shape(repeating: 0, count: 4)
        var biasValues: Tensor?
        if let bias {
            try requireF32(bias, "attention")
            guard Shape.broadcast(bias.shape, scoreShape) == scoreShape else {
                throw SeamError(.shape, "attention: bias \(bias.shape) does not broadcast to \(scoreShape)")
            }
            var read = bias.detached
            if bias.shape[bias.rank - 1] != keys || bias.strides[bias.rank - 1] != 1 {
                var shape = bias.shape
                shape[bias.rank - 1] = keys
                read = try contiguous(try expand(read, to: shape))
            }
            biasStrides = broadcastStrides(read, to: scoreShape)
            biasValues = read
        }
        var visible: Tensor?
        if let mask {
            guard mask.dtype == .i32, mask.shape == [batch, keys] else {
                throw SeamError(
                    .shape, "attention: mask must be i32 [\(batch), \(keys)], found \(mask.dtype.name) \(mask.shape)")
            }
            visible = try contiguous(mask)
        }

        let queryValues = query.detached
        let keyValues = key.detached
        let valueValues = value.detached
        let probabilities = try makeTensor(scoreShape)
        try multiply(queryValues, keyValues, false, true, into: probabilities)
        biasStrides.withInt64 { strides in
            sk_attention_softmax(
                probabilities.f32, Float(scale), biasValues?.f32, strides, visible?.i32, causal ? 1 : 0,
                Int64(keys - queries), Int64(batch), Int64(heads), Int64(queries), Int64(keys))
        }

        let packed = try makeResult([batch, queries, heads, width])
        let strides = packed.strides
        let result = Tensor(
            shape: [batch, heads, queries, width], strides: [strides[0], strides[2], strides[1], strides[3]],
            offset: 0, dtype: .f32, storage: packed.storage,
            gradient: wantsGradient([query, key, value, bias])
                ? GradientSlot(shape: [batch, heads, queries, width]) : nil)
        try multiply(probabilities, valueValues, false, false, into: result)

        let slots = (query: query.gradient, key: key.gradient, value: value.gradient, bias: bias?.gradient)
        record(result) { [unowned self] (gradient) throws(SeamError) in
            if let slot = slots.value {
                let product = try self.makeLike(valueValues.shape, heads: heads)
                try self.multiply(probabilities, gradient, true, false, into: product)
                try slot.add(shared: try self.ungrouped(product, to: slot.shape), in: self)
            }
            guard slots.query != nil || slots.key != nil || slots.bias != nil else { return }
            let upstream = try self.makeTensor(scoreShape)
            try self.multiply(gradient, valueValues, false, true, into: upstream)
            let scores = try self.full(0, .f32, scoreShape)
            sk_softmax_gradient(
                scores.f32, upstream.f32, probabilities.f32, Int64(batch * heads * queries), Int64(keys))
            if let slot = slots.bias {
                try slot.add(shared: try self.unbroadcast(scores, to: slot.shape), in: self)
            }
            if let slot = slots.query {
                let product = try self.makeLike(queryValues.shape, heads: heads)
                try self.multiply(scores, keyValues, false, false, scale: Float(scale), into: product)
                try slot.add(shared: product, in: self)
            }
            if let slot = slots.key {
                let product = try self.makeLike(keyValues.shape, heads: heads)
                try self.multiply(scores, queryValues, true, false, scale: Float(scale), into: product)
                try slot.add(shared: try self.ungrouped(product, to: slot.shape), in: self)
            }
        }
        return result
    }

    /// A tensor [b, heads, t, d] for a gradient, in memory as [b, t, heads, d]: the layout of projections split
    /// into heads, so that the gradient flows back through permute and reshape as views.
    private func makeLike(_ shape: Shape, heads: Int) throws(SeamError) -> Tensor {
        let (batch, length, width) = (shape[0], shape[2], shape[3])
        let packed = try makeTensor([batch, length, heads, width])
        return packed.view(
            shape: [batch, heads, length, width],
            strides: [length * heads * width, width, heads * width, 1], offset: 0)
    }

    /// Sums the heads of each group: [b, h, k, d] -> [b, g, k, d].
    private func ungrouped(_ x: Tensor, to shape: Shape) throws(SeamError) -> Tensor {
        if x.shape == shape { return x }
        let split = try reshape(try contiguous(x), [shape[0], shape[1], x.shape[1] / shape[1], shape[2], shape[3]])
        return try reshape(try reduceRaw(SK_SUM, split, axis: 2), shape)
    }
}
