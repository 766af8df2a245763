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

/// What is computed at once of a segment: some of its rows and of their queries.
private struct AttentionBlock {
    let rows, queries: Range<Int>
    let prefix: SegmentPrefix?
    /// How many of the tokens' own keys, from the first on, a query of the block may see.
    let keys: Int

    /// Columns of the scores of the tokens' own keys.
    var own: Range<Int> { (prefix?.tokens ?? 0)..<(prefix?.tokens ?? 0) + keys }

    /// Whether the prefix is trained.
    var wantsGradient: Bool { prefix?.keysValues.gradient != nil || prefix?.bias?.given.gradient != nil }

    /// The most scores that are computed at once: 8 MiB, which stay near the processor from one product to the next.
    private static let scores = 1 << 21
    /// The most scores of one attention that are kept for its gradient: 64 MiB. Beyond that they are computed again, so
    /// that memory grows with the length of a text and not with its square.
    static let keptScores = 1 << 24

    /// The blocks of a segment, the last queries first: they see every key, so that what is summed over blocks begins
    /// with all of it.
    static func blocks(of segment: AttentionSegment, _ own: AttentionOperands, causal: Bool) -> [AttentionBlock] {
        let row = own.heads * ((segment.prefix?.tokens ?? 0) + own.keys)
        let queries = min(own.queries, max(16, Self.scores / max(row, 1) / 16 * 16))
        let rows = queries < own.queries ? 1 : max(1, Self.scores / max(row * own.queries, 1))
        var blocks: [AttentionBlock] = []
        for first in stride(from: segment.rows.lowerBound, to: segment.rows.upperBound, by: rows) {
            var end = own.queries
            while end > 0 {
                let start = max(0, end - queries)
                // A block of queries that see no key has one, which is hidden.
                let seen = causal ? max(min(1, own.keys), own.keys - own.queries + end) : own.keys
                blocks.append(
                    AttentionBlock(
                        rows: first..<min(first + rows, segment.rows.upperBound), queries: start..<end,
                        prefix: segment.prefix, keys: seen))
                end = start
            }
        }
        return blocks
    }

    /// The whole segment at once.
    init(_ segment: AttentionSegment, _ own: AttentionOperands) {
        self.init(rows: segment.rows, queries: 0..<own.queries, prefix: segment.prefix, keys: own.keys)
    }

    private init(rows: Range<Int>, queries: Range<Int>, prefix: SegmentPrefix?, keys: Int) {
        (self.rows, self.queries, self.prefix, self.keys) = (rows, queries, prefix, keys)
    }
}

extension Context {
    /// Attention, segment by segment: [b, h, q, dv], laid out as [b, q, h, dv] in memory.
    ///
    /// The scores of short texts are computed at once and kept for the gradient. Those of long ones are computed block by
    /// block and dropped, and once more in the backward pass.
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
        let attention = AttentionValues(own, scale: Float(scale), causal: causal)
        let count = segments.reduce(0) {
            $0 + $1.rows.count * own.heads * own.queries * (($1.prefix?.tokens ?? 0) + own.keys)
        }
        let areKept = count <= AttentionBlock.keptScores
        let blocks = segments.flatMap { (segment) -> [AttentionBlock] in
            areKept
                ? [AttentionBlock(segment, own)] : AttentionBlock.blocks(of: segment, own, causal: causal)
        }
        var probabilities: [Tensor?] = []
        for block in blocks {
            let scores = try self.probabilities(of: block, attention)
            try weigh(scores, block, attention, into: part(result, block.rows, block.queries))
            if isRecorded { probabilities.append(areKept ? scores : nil) }
        }
        let slots = AttentionSlots(own)
        record(result) { [unowned self] (gradient) throws(SeamError) in
            try self.differentiate(Array(zip(blocks, probabilities)), attention, slots, gradient)
        }
        return result
    }

    /// softmax(scale q k^T + bias) of a block, [rows, h, queries, prefix + keys].
    private func probabilities(of block: AttentionBlock, _ attention: AttentionValues) throws(SeamError) -> Tensor {
        let prefix = block.prefix?.tokens ?? 0
        let (rows, queries) = (block.rows.count, block.queries.count)
        let scores = try makeTensor([rows, attention.query.shape[1], queries, prefix + block.keys])
        let query = part(attention.query, block.rows, block.queries)
        if let given = block.prefix {
            try multiply(query, shared: given.keys, transposed: true, into: columns(scores, 0..<prefix))
        }
        try multiply(
            query, part(attention.key, block.rows, 0..<block.keys), false, true, into: columns(scores, block.own))
        var kernel = sk_attention()
        kernel.scores = scores.f32
        kernel.scale = attention.scale
        if let (start, strides) = attention.bias?.start(block) {
            (kernel.bias, kernel.bias_strides) = (UnsafePointer(start), strides)
        }
        if let (start, strides) = block.prefix?.bias?.start(block) {
            (kernel.prefix_bias, kernel.prefix_bias_strides) = (UnsafePointer(start), strides)
        }
        let keys = attention.key.shape[2]
        if let mask = attention.mask {
            kernel.mask = UnsafePointer(mask.i32 + block.rows.lowerBound * keys)
            kernel.mask_stride = Int64(keys)
        }
        kernel.causal = attention.causal ? 1 : 0
        kernel.causal_offset = Int64(keys - attention.query.shape[2] + block.queries.lowerBound)
        (kernel.batch, kernel.heads, kernel.queries) = (Int64(rows), Int64(scores.shape[1]), Int64(queries))
        (kernel.prefix, kernel.keys) = (Int64(prefix), Int64(block.keys))
        withExtendedLifetime((attention, block)) { sk_attention_softmax(&kernel) }
        return scores
    }

    /// The values, weighted: of the prefix, and then of the tokens.
    private func weigh(
        _ probabilities: Tensor, _ block: AttentionBlock, _ attention: AttentionValues, into result: Tensor
    ) throws(SeamError) {
        if let given = block.prefix {
            try multiply(
                columns(probabilities, 0..<given.tokens), shared: given.values, transposed: false, into: result)
        }
        try multiply(
            columns(probabilities, block.own), part(attention.value, block.rows, 0..<block.keys), false, false,
            adding: block.prefix != nil, into: result)
    }

    // MARK: Gradients

    private func differentiate(
        _ blocks: [(AttentionBlock, Tensor?)], _ attention: AttentionValues, _ slots: AttentionSlots,
        _ gradient: Tensor
    ) throws(SeamError) {
        let (heads, scale) = (attention.query.shape[1], attention.scale)
        func target(_ slot: GradientSlot?, _ x: Tensor) throws(SeamError) -> Tensor? {
            slot == nil ? nil : try makeLike([x.shape[0], heads, x.shape[2], x.shape[3]], heads: heads)
        }
        let query = try target(slots.query, attention.query)
        let key = try target(slots.key, attention.key)
        let value = try target(slots.value, attention.value)
        // Rows whose keys and values have been given a sum, of which later blocks add to a part.
        var begun = 0
        for (block, kept) in blocks {
            var again: Tensor?
            if kept == nil { again = try self.probabilities(of: block, attention) }
            guard let probabilities = kept ?? again else { continue }
            let upstream = part(gradient, block.rows, block.queries)
            let isFirst = block.rows.upperBound > begun
            begun = block.rows.upperBound
            if let value {
                try multiply(
                    columns(probabilities, block.own), upstream, true, false, adding: !isFirst,
                    into: part(value, block.rows, 0..<block.keys))
            }
            guard query != nil || key != nil || slots.bias != nil || block.wantsGradient else { continue }
            let scores = try scoreGradient(block, probabilities, attention, upstream)
            if let slot = slots.bias { try add(columns(scores, block.own), of: block, to: slot) }
            if let query {
                let target = part(query, block.rows, block.queries)
                if let prefix = block.prefix {
                    try multiply(
                        columns(scores, 0..<prefix.tokens), shared: prefix.keys, transposed: false, scale: scale,
                        into: target)
                }
                try multiply(
                    columns(scores, block.own), part(attention.key, block.rows, 0..<block.keys), false, false,
                    scale: scale, adding: block.prefix != nil, into: target)
            }
            if let key {
                try multiply(
                    columns(scores, block.own), part(attention.query, block.rows, block.queries), true, false,
                    scale: scale, adding: !isFirst, into: part(key, block.rows, 0..<block.keys))
            }
            try differentiatePrefix(block, probabilities, attention, scores, upstream)
        }
        if let query { try slots.query?.add(shared: query, in: self) }
        if let key, let slot = slots.key { try slot.add(shared: try ungrouped(key, to: slot.shape), in: self) }
        if let value, let slot = slots.value { try slot.add(shared: try ungrouped(value, to: slot.shape), in: self) }
    }

    /// The gradient with respect to the scores before the softmax, [rows, h, queries, prefix + keys].
    private func scoreGradient(
        _ block: AttentionBlock, _ probabilities: Tensor, _ attention: AttentionValues, _ upstream: Tensor
    ) throws(SeamError) -> Tensor {
        let weighted = try makeTensor(probabilities.shape)
        if let prefix = block.prefix {
            try multiply(
                upstream, shared: prefix.values, transposed: true, into: columns(weighted, 0..<prefix.tokens))
        }
        try multiply(
            upstream, part(attention.value, block.rows, 0..<block.keys), false, true, into: columns(weighted, block.own)
        )
        let scores = try full(0, .f32, probabilities.shape)
        sk_softmax_gradient(
            scores.f32, weighted.f32, probabilities.f32, Int64(probabilities.shape.dropLast().reduce(1, *)),
            Int64(probabilities.shape[3]))
        return scores
    }

    /// Adds the gradient of a block's scores [rows, h, queries, keys] to that of a bias, which broadcasts to the scores
    /// of all rows and queries.
    private func add(_ scores: Tensor, of block: AttentionBlock, to slot: GradientSlot) throws(SeamError) {
        let whole = try slot.zeroedAccumulator(in: self)
        let lead = 4 - whole.rank
        var (shape, strides, offset) = (scores.shape, scores.strides, whole.offset)
        for axis in 0..<4 {
            let size = axis < lead ? 1 : whole.shape[axis - lead]
            strides[axis] = axis < lead ? 0 : whole.strides[axis - lead]
            guard size > 1 else {
                shape[axis] = 1
                continue
            }
            if axis == 0 { offset += block.rows.lowerBound * strides[0] }
            if axis == 2 { offset += block.queries.lowerBound * strides[2] }
        }
        let sum = try contiguous(try unbroadcast(scores, to: shape))
        let target = whole.view(shape: shape, strides: strides, offset: offset)
        strides.withInt64 { strides in
            shape.withInt64 { sk_accumulate_strided(target.f32, strides, sum.f32, $0, 4) }
        }
    }

    /// Sums over the rows that share a prefix.
    private func differentiatePrefix(
        _ block: AttentionBlock, _ probabilities: Tensor, _ attention: AttentionValues, _ scores: Tensor,
        _ upstream: Tensor
    ) throws(SeamError) {
        guard let prefix = block.prefix else { return }
        let own = columns(scores, 0..<prefix.tokens)
        if let slot = prefix.bias?.given.gradient { try add(own, of: block, to: slot) }
        guard let slot = prefix.keysValues.gradient else { return }
        let (heads, groups, width) = (scores.shape[1], slot.shape[1], slot.shape[3])
        let both = try makeTensor([2, heads, prefix.tokens, width])
        func half(_ index: Int) -> Tensor {
            both.view(
                shape: [1, heads, prefix.tokens, width], strides: both.strides, offset: index * both.strides[0])
        }
        let query = part(attention.query, block.rows, block.queries)
        try sumOfProducts(own, query, scale: attention.scale, into: half(0))
        try sumOfProducts(columns(probabilities, 0..<prefix.tokens), upstream, scale: 1, into: half(1))
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
                part(a, row..<row + 1, 0..<a.shape[2]), part(b, row..<row + 1, 0..<b.shape[2]), true, false,
                scale: scale, adding: row > 0, into: result)
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

    /// Some rows of the batch and some positions of x [b, h, n, d], without history.
    private func part(_ x: Tensor, _ rows: Range<Int>, _ positions: Range<Int>) -> Tensor {
        var shape = x.shape
        (shape[0], shape[2]) = (rows.count, positions.count)
        return x.view(
            shape: shape, strides: x.strides,
            offset: x.offset + rows.lowerBound * x.strides[0] + positions.lowerBound * x.strides[2])
    }

    /// The scores of some keys, without history.
    private func columns(_ scores: Tensor, _ keys: Range<Int>) -> Tensor {
        var shape = scores.shape
        shape[3] = keys.count
        return scores.view(shape: shape, strides: scores.strides, offset: scores.offset + keys.lowerBound)
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

/// An attention without its history: what the products and the softmax read.
private struct AttentionValues {
    let query, key, value: Tensor
    let bias: AttentionBias?
    let mask: Tensor?
    let scale: Float
    let causal: Bool

    init(_ own: AttentionOperands, scale: Float, causal: Bool) {
        (query, key, value) = (own.query.detached, own.key.detached, own.value.detached)
        (bias, mask, self.scale, self.causal) = (own.bias, own.mask, scale, causal)
    }
}

extension AttentionBias {
    /// The bias from the first row and query of a block on.
    fileprivate func start(_ block: AttentionBlock) -> (UnsafeMutablePointer<Float>, (Int64, Int64, Int64)) {
        start(row: block.rows.lowerBound, query: block.queries.lowerBound)
    }
}

/// The slots that the gradients of the operands go to.
private struct AttentionSlots {
    let query, key, value, bias: GradientSlot?

    init(_ own: AttentionOperands) {
        (query, key, value) = (own.query.gradient, own.key.gradient, own.value.gradient)
        bias = own.bias?.given.gradient
    }
}
