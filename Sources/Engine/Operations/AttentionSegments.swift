import Kernels
import Support

// What attention with and without a prefix share: rows of the batch in segments, each over the keys of its prefix, where
// it has one, and over its own. The scores of a row lie behind each other, those of the prefix first.

/// The prefix of a segment's rows.
struct SegmentPrefix {
    let tokens: Int
    /// [1, heads of keys, tokens, width], views: every row reads the same.
    let keys, values: Tensor
    /// Both in one tensor [2, heads of keys, tokens, width], with its history.
    let keysValues: Tensor
    let bias: AttentionBias?
}

/// Rows of the batch that are next to each other and take the same prefix.
struct AttentionSegment {
    var rows: Range<Int>
    let prefix: SegmentPrefix?
}

extension Context {
    /// Attention, segment by segment: [b, h, q, dv], laid out as [b, q, h, dv] in memory.
    func attend(_ own: AttentionOperands, _ segments: [AttentionSegment], scale: Double, causal: Bool)
        throws(SeamError) -> Tensor
    {
        let shape: Shape = [own.batch, own.heads, own.queries, own.width]
        var operands: [Tensor?] = [own.query, own.key, own.value, own.bias?.given]
        for segment in segments { operands += [segment.prefix?.keysValues, segment.prefix?.bias?.given] }
        let isRecorded = wantsGradient(operands)
        let packed = try makeResult([own.batch, own.queries, own.heads, own.width])
        let result = Tensor(
            shape: shape,
            strides: [packed.strides[0], packed.strides[2], packed.strides[1], packed.strides[3]], offset: 0,
            dtype: .f32, storage: packed.storage, gradient: isRecorded ? GradientSlot(shape: shape) : nil)
        let values = AttentionValues(own)
        var probabilities: [Tensor] = []
        for segment in segments {
            let scores = try probabilitiesOf(segment, own, values, scale: scale, causal: causal)
            try weigh(scores, segment, values, into: rows(result, segment.rows))
            if isRecorded { probabilities.append(scores) }
        }
        let slots = AttentionSlots(own)
        let steps = zip(segments, probabilities).map { AttentionStep(segment: $0, probabilities: $1) }
        record(result) { [unowned self] (gradient) throws(SeamError) in
            try self.differentiate(steps, values, slots, gradient, scale: Float(scale))
        }
        return result
    }

    /// softmax(scale q k^T + bias) of a segment, [rows, h, q, prefix + k].
    private func probabilitiesOf(
        _ segment: AttentionSegment, _ own: AttentionOperands, _ values: AttentionValues, scale: Double, causal: Bool
    ) throws(SeamError) -> Tensor {
        let prefix = segment.prefix?.tokens ?? 0
        let (count, first) = (segment.rows.count, segment.rows.lowerBound)
        let scores = try makeTensor([count, own.heads, own.queries, prefix + own.keys])
        let query = rows(values.query, segment.rows)
        if let given = segment.prefix {
            try multiply(query, shared: given.keys, transposed: true, into: columns(scores, 0..<prefix))
        }
        try multiply(
            query, rows(values.key, segment.rows), false, true, into: columns(scores, prefix..<prefix + own.keys))
        var kernel = sk_attention()
        kernel.scores = scores.f32
        kernel.scale = Float(scale)
        if let (start, strides) = own.bias?.start(at: first) {
            (kernel.bias, kernel.bias_strides) = (UnsafePointer(start), strides)
        }
        if let (start, strides) = segment.prefix?.bias?.start(at: first) {
            (kernel.prefix_bias, kernel.prefix_bias_strides) = (UnsafePointer(start), strides)
        }
        if let mask = own.mask { kernel.mask = UnsafePointer(mask.i32 + first * own.keys) }
        kernel.causal = causal ? 1 : 0
        kernel.causal_offset = Int64(own.keys - own.queries)
        (kernel.batch, kernel.heads, kernel.queries) = (Int64(count), Int64(own.heads), Int64(own.queries))
        (kernel.prefix, kernel.keys) = (Int64(prefix), Int64(own.keys))
        withExtendedLifetime((own, segment)) { sk_attention_softmax(&kernel) }
        return scores
    }

    /// The values, weighted: of the prefix, and then of the tokens.
    private func weigh(
        _ probabilities: Tensor, _ segment: AttentionSegment, _ values: AttentionValues, into result: Tensor
    ) throws(SeamError) {
        let prefix = segment.prefix?.tokens ?? 0
        if let given = segment.prefix {
            try multiply(columns(probabilities, 0..<prefix), shared: given.values, transposed: false, into: result)
        }
        try multiply(
            columns(probabilities, prefix..<probabilities.shape[3]), rows(values.value, segment.rows), false, false,
            adding: prefix > 0, into: result)
    }

    // MARK: Gradients

    private func differentiate(
        _ steps: [AttentionStep], _ values: AttentionValues, _ slots: AttentionSlots, _ gradient: Tensor, scale: Float
    ) throws(SeamError) {
        let heads = values.query.shape[1]
        let query = slots.query == nil ? nil : try makeLike(values.query.shape, heads: heads)
        let key = slots.key == nil ? nil : try makeLike(values.key.shape, heads: heads)
        let value = slots.value == nil ? nil : try makeLike(values.value.shape, heads: heads)
        var bias: Tensor?
        if slots.bias != nil {
            bias = try makeTensor([values.query.shape[0], heads, values.query.shape[2], values.key.shape[2]])
        }
        for step in steps {
            let (segment, probabilities) = (step.segment, step.probabilities)
            let (own, upstream) = (step.own, rows(gradient, segment.rows))
            if let value {
                try multiply(
                    columns(probabilities, own), upstream, true, false, into: rows(value, segment.rows))
            }
            guard query != nil || key != nil || bias != nil || step.wantsGradient else { continue }
            let scores = try scoreGradient(step, values, upstream)
            if let bias { try copy(columns(scores, own), intoPart: rows(bias, segment.rows)) }
            if let query {
                let target = rows(query, segment.rows)
                if let prefix = segment.prefix {
                    try multiply(
                        columns(scores, 0..<prefix.tokens), shared: prefix.keys, transposed: false, scale: scale,
                        into: target)
                }
                try multiply(
                    columns(scores, own), rows(values.key, segment.rows), false, false, scale: scale,
                    adding: segment.prefix != nil, into: target)
            }
            if let key {
                try multiply(
                    columns(scores, own), rows(values.query, segment.rows), true, false, scale: scale,
                    into: rows(key, segment.rows))
            }
            try differentiatePrefix(step, values, scores, upstream, scale: scale)
        }
        if let query { try slots.query?.add(shared: query, in: self) }
        if let key, let slot = slots.key { try slot.add(shared: try ungrouped(key, to: slot.shape), in: self) }
        if let value, let slot = slots.value { try slot.add(shared: try ungrouped(value, to: slot.shape), in: self) }
        if let bias, let slot = slots.bias { try slot.add(shared: try unbroadcast(bias, to: slot.shape), in: self) }
    }

    /// With respect to the scores before the softmax, [rows, h, q, prefix + k].
    private func scoreGradient(_ step: AttentionStep, _ values: AttentionValues, _ upstream: Tensor) throws(SeamError)
        -> Tensor
    {
        let probabilities = step.probabilities
        let weighted = try makeTensor(probabilities.shape)
        if let prefix = step.segment.prefix {
            try multiply(
                upstream, shared: prefix.values, transposed: true, into: columns(weighted, 0..<prefix.tokens))
        }
        try multiply(
            upstream, rows(values.value, step.segment.rows), false, true, into: columns(weighted, step.own))
        let scores = try full(0, .f32, probabilities.shape)
        let width = probabilities.shape[3]
        sk_softmax_gradient(
            scores.f32, weighted.f32, probabilities.f32, Int64(probabilities.shape.dropLast().reduce(1, *)),
            Int64(width))
        return scores
    }

    /// Sums over the rows that share a prefix.
    private func differentiatePrefix(
        _ step: AttentionStep, _ values: AttentionValues, _ scores: Tensor, _ upstream: Tensor, scale: Float
    ) throws(SeamError) {
        guard let prefix = step.segment.prefix else { return }
        let part = columns(scores, 0..<prefix.tokens)
        if let slot = prefix.bias?.given.gradient {
            // A bias that has rows of its own for the batch gets them at their places.
            var whole = part
            if slot.shape.count == 4, slot.shape[0] > 1 {
                var shape = part.shape
                shape[0] = values.query.shape[0]
                whole = try full(0, .f32, shape)
                try copy(part, intoPart: rows(whole, step.segment.rows))
            }
            try slot.add(shared: try unbroadcast(whole, to: slot.shape), in: self)
        }
        guard let slot = prefix.keysValues.gradient else { return }
        let (heads, groups, width) = (scores.shape[1], slot.shape[1], slot.shape[3])
        let both = try makeTensor([2, heads, prefix.tokens, width])
        func half(_ index: Int) -> Tensor {
            both.view(
                shape: [1, heads, prefix.tokens, width], strides: both.strides, offset: index * both.strides[0])
        }
        try sumOfProducts(part, rows(values.query, step.segment.rows), scale: scale, into: half(0))
        try sumOfProducts(columns(step.probabilities, 0..<prefix.tokens), upstream, scale: 1, into: half(1))
        guard groups != heads else { return try slot.add(shared: both, in: self) }
        let split = try reshape(both, [2, groups, heads / groups, prefix.tokens, width])
        try slot.add(shared: try reshape(try reduceRaw(SK_SUM, split, axis: 2), slot.shape), in: self)
    }

    /// result [1, h, m, n] = scale * the sum over rows of a^T b, for a [rows, h, q, m] and b [rows, h, q, n].
    private func sumOfProducts(_ a: Tensor, _ b: Tensor, scale: Float, into result: Tensor) throws(SeamError) {
        if a.shape[2] == 1 {
            return try multiply(exchanged(a), exchanged(b), true, false, scale: scale, into: result)
        }
        for row in 0..<a.shape[0] {
            try multiply(
                rows(a, row..<row + 1), rows(b, row..<row + 1), true, false, scale: scale, adding: row > 0, into: result
            )
        }
    }

    // MARK: Products and views

    /// result [rows, h, q, n] = scale * x [rows, h, q, m] times what all rows share, [1, heads of keys, m, n], or
    /// `transposed` [1, heads of keys, n, m].
    private func multiply(
        _ x: Tensor, shared: Tensor, transposed: Bool, scale: Float = 1, into result: Tensor
    ) throws(SeamError) {
        if x.shape[2] == 1 {
            // A step of a generation: one product a head for all rows, in place of one a row.
            return try multiply(exchanged(x), shared, false, transposed, scale: scale, into: exchanged(result))
        }
        try multiply(x, shared, false, transposed, scale: scale, into: result)
    }

    /// Rows and queries exchanged: [q, h, rows, d].
    private func exchanged(_ x: Tensor) -> Tensor {
        x.view(
            shape: [x.shape[2], x.shape[1], x.shape[0], x.shape[3]],
            strides: [x.strides[2], x.strides[1], x.strides[0], x.strides[3]], offset: x.offset)
    }

    /// Some rows of the batch, without history.
    private func rows(_ x: Tensor, _ rows: Range<Int>) -> Tensor {
        var shape = x.shape
        shape[0] = rows.count
        return x.view(shape: shape, strides: x.strides, offset: x.offset + rows.lowerBound * x.strides[0])
    }

    /// The scores of some keys, without history.
    private func columns(_ scores: Tensor, _ keys: Range<Int>) -> Tensor {
        var shape = scores.shape
        shape[3] = keys.count
        return scores.view(shape: shape, strides: scores.strides, offset: scores.offset + keys.lowerBound)
    }

    /// Copies into a part of a tensor that lies in one piece.
    private func copy(_ source: Tensor, intoPart target: Tensor) throws(SeamError) {
        let values = try contiguous(source)
        target.f32.update(from: values.f32, count: values.elementCount)
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

/// The operands' values, which the products read.
private struct AttentionValues {
    let query, key, value: Tensor

    init(_ own: AttentionOperands) { (query, key, value) = (own.query.detached, own.key.detached, own.value.detached) }
}

/// Where the gradients of the operands go.
private struct AttentionSlots {
    let query, key, value, bias: GradientSlot?

    init(_ own: AttentionOperands) {
        (query, key, value) = (own.query.gradient, own.key.gradient, own.value.gradient)
        bias = own.bias?.given.gradient
    }
}

/// What the gradient of a segment needs.
private struct AttentionStep {
    let segment: AttentionSegment
    let probabilities: Tensor

    /// Columns of the scores of the tokens' own keys.
    var own: Range<Int> { (segment.prefix?.tokens ?? 0)..<probabilities.shape[3] }

    /// Whether the prefix is trained.
    var wantsGradient: Bool {
        segment.prefix?.keysValues.gradient != nil || segment.prefix?.bias?.given.gradient != nil
    }
}
