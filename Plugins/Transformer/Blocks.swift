import SeamPlugin

/// A text in blocks, for attention in which a token sees `radius` others on each side: tokens of a block look up those of
/// three, so that the work grows with the text and not with its square (LongT5, Guo et al. 2022, section 3.1).
///
/// Rows of blocked tensors are the blocks of the first text, then those of the second, and so on.
struct Blocks {
    /// Tokens of a block, and how many blocks there are; a text that a block and its neighbours hold is one.
    private let length, count: Int
    private let batch, tokens: Int
    private let radius: Int

    init(of tokens: Int, batch: Int, radius: Int) {
        let isWhole = tokens <= 3 * (radius + 1)
        length = isWhole ? max(tokens, 1) : radius + 1
        count = isWhole ? 1 : (tokens + length - 1) / length
        (self.batch, self.tokens, self.radius) = (batch, tokens, radius)
    }

    /// Blocks of each text.
    var perText: Int { count }

    /// The places of a block's queries and of the keys that they may look up.
    var places: (queries: Range<Int>, keys: Range<Int>) {
        count == 1 ? (0..<length, 0..<length) : (length..<2 * length, 0..<3 * length)
    }

    /// What hides the keys that are too far away, [1, 1, queries, keys]; nil where there is none.
    func hiding(in context: Context) -> Tensor? {
        if tokens <= radius + 1 { return nil }
        let (queries, keys) = places
        return windowBias(queries: queries, keys: keys, before: radius + 1, after: radius + 1, in: context)
    }

    /// [batch, heads, tokens, width] to [batch * blocks, heads, tokens of a block, width].
    func split(_ x: Tensor, in context: Context) -> Tensor {
        if count == 1 { return x }
        let (heads, width) = (x.size(1), x.size(3))
        return padded(x, before: 0, behind: 0, axis: 2, in: context)
            .reshape([batch, heads, count, length, width]).permute([0, 2, 1, 3, 4])
            .reshape([batch * count, heads, length, width])
    }

    /// The way back.
    func join(_ x: Tensor) -> Tensor {
        if count == 1 { return x }
        let (heads, width) = (x.size(1), x.size(3))
        return x.reshape([batch, count, heads, length, width]).permute([0, 2, 1, 3, 4])
            .reshape([batch, heads, count * length, width]).slice(2, from: 0, length: tokens)
    }

    /// [batch, heads, tokens, width] to what each block looks up, [batch * blocks, heads, keys, width]: itself between its
    /// neighbours.
    func around(_ x: Tensor, in context: Context) -> Tensor {
        if count == 1 { return x }
        let (heads, width) = (x.size(1), x.size(3))
        let all = padded(x, before: length, behind: length, axis: 2, in: context)
            .reshape([batch, heads, count + 2, length, width])
        return neighbours(of: all, axis: 2).permute([0, 2, 1, 3, 4])
            .reshape([batch * count, heads, 3 * length, width])
    }

    /// A mask [batch, tokens] i32 to that of what each block looks up, [batch * blocks, keys].
    func around(mask: Tensor, in context: Context) -> Tensor {
        if count == 1 { return mask }
        let all = padded(mask, before: length, behind: length, axis: 1, .i32, in: context)
            .reshape([batch, count + 2, length])
        return neighbours(of: all, axis: 1).reshape([batch * count, 3 * length])
    }

    /// What every block of a text has alike, [batch, ...] to [batch * blocks, ...].
    func repeated(_ x: Tensor) -> Tensor {
        if count == 1 { return x }
        let rest = Array(x.shape.dropFirst())
        return x.reshape([batch, 1] + rest).expand([batch, count] + rest).reshape([batch * count] + rest)
    }

    /// What all blocks of all texts have alike, [1, ...], for each of them.
    func forEach(_ x: Tensor) -> Tensor { x.expand([batch * count] + x.shape.dropFirst()) }

    private func neighbours(of blocks: Tensor, axis: Int) -> Tensor {
        let parts = (0..<3).map { blocks.slice(axis, from: $0, length: count) }
        return parts[0].concat([parts[1], parts[2]], axis: axis + 1)
    }

    /// Whole blocks, with zeros before and behind them.
    private func padded(
        _ x: Tensor, before: Int, behind: Int, axis: Int, _ type: ElementType = .f32, in context: Context
    ) -> Tensor {
        func zeros(_ length: Int) -> Tensor {
            var shape = x.shape
            shape[axis] = length
            return context.full(0, shape, type)
        }
        let rest = behind + count * length - tokens
        let ended = rest > 0 ? x.concat([zeros(rest)], axis: axis) : x
        return before > 0 ? zeros(before).concat([ended], axis: axis) : ended
    }
}

/// Sums of a text's tokens by blocks of their own, which all tokens of the text see beside those of their window
/// (LongT5's transient-global attention, Guo et al. 2022, section 3.2).
///
/// A row's tokens behind its last whole block count to that one; a row that is shorter than a block has no sums. A block is
/// whole where its last token is not hidden, as transformers counts.
struct GlobalSums {
    private let size, count, batch: Int
    /// 1 for a token, 0 for padding, [batch, tokens, 1] f32.
    private let isToken: Tensor
    /// The last block of each row, [batch, 1] f32; -1: it has none.
    private let last: Tensor
    /// Which sums a row has, [batch, sums] i32.
    let mask: Tensor

    /// Nil for texts that are all shorter than a block. `mask`: of the tokens, [batch, tokens] i32.
    init?(of size: Int, mask tokens: Tensor, in context: Context) {
        let length = tokens.size(1)
        (self.size, count, batch) = (size, max(length, 0) / size, tokens.size(0))
        guard count > 0 else { return nil }
        let shown = tokens.cast(to: .f32)
        isToken = shown.reshape([batch, length, 1])
        let ends = context.constant((0..<length).map { $0 % size == size - 1 ? 1 : 0 } as [Float], [1, length])
        last = (shown * ends).sum(1, keep: true) - 1
        let places = context.constant((0..<count).map { Float($0) }, [1, count])
        mask = (last - places + 1).maximum(context.full(0, [])).minimum(context.full(1, [])).cast(to: .i32)
    }

    /// Of x [batch, tokens, width]: [batch, sums, width].
    func callAsFunction(_ x: Tensor, in context: Context) -> Tensor {
        let (length, width) = (x.size(1), x.size(2))
        let parts = (length + size - 1) / size
        let rest = parts * size - length
        let tokens = x * isToken
        let whole = rest > 0 ? tokens.concat([context.full(0, [batch, rest, width])], axis: 1) : tokens
        // Which parts a sum has: one, and the last of a row those behind it.
        let part = context.constant((0..<parts).map { Float($0) }, [1, 1, parts]).minimum(last.reshape([batch, 1, 1]))
        let sum = context.constant((0..<count).map { Float($0) }, [1, count, 1])
        let belongs = (part - sum).abs().minimum(context.full(1, [])).affine(scale: -1, shift: 1)
        return belongs.matmul(whole.reshape([batch, parts, size, width]).sum(2))
    }

    /// The buckets of distances, in blocks, of the sums from a token's own, [batch, tokens, sums].
    func buckets(of bias: RelativeBias, in context: Context) -> Tensor {
        let length = isToken.size(1)
        let (farthest, buckets) = bias.byDistance
        let own = context.constant((0..<length).map { Float($0 / size) }, [1, length]).minimum(last)
        let sums = context.constant((0..<count).map { Float($0) }, [1, 1, count])
        let apart = (sums - own.reshape([batch, length, 1]))
            .maximum(context.full(Double(-farthest), [])).minimum(context.full(Double(farthest), []))
        // Buckets and distances are far below 2^24, so f32 holds them exactly.
        return context.constant(buckets.map { Float($0) }, [buckets.count, 1])
            .embedding((apart + Double(farthest)).cast(to: .i32)).reshape([batch, length, count]).cast(to: .i32)
    }
}

/// What a token of an encoder sees in blocks: those around it, and sums of the whole text where the family has them.
struct BlockSight {
    let blocks: Blocks
    let sums: GlobalSums?
    /// Added to the scores, [1 or batch * blocks, 1 or heads, queries, keys and sums]; nil: nothing.
    let bias: Tensor?
    /// [batch * blocks, keys and sums]
    let mask: Tensor

    /// - Parameters:
    ///   - mask: [batch, tokens] i32.
    ///   - sumBlock: the tokens of a sum; 0: none.
    ///   - bias: by distance in tokens, and of sums in blocks.
    init(
        radius: Int, sumBlock: Int, mask: Tensor, bias: RelativeBias?, sumBias: RelativeBias?, in context: Context
    ) {
        let blocks = Blocks(of: mask.size(1), batch: mask.size(0), radius: radius)
        let sums = sumBlock > 0 ? GlobalSums(of: sumBlock, mask: mask, in: context) : nil
        let (queries, keys) = blocks.places
        let near = bias.map { $0($0.buckets(queries: queries, keys: keys, in: context), layer: 0, in: context) }
        let hidden = blocks.hiding(in: context)
        let local = near.map { near in hidden.map { near + $0 } ?? near } ?? hidden
        (self.blocks, self.sums) = (blocks, sums)
        guard let sums else {
            (self.bias, self.mask) = (local, blocks.around(mask: mask, in: context))
            return
        }
        self.mask = blocks.around(mask: mask, in: context).concat([blocks.repeated(sums.mask)], axis: 1)
        guard let local, let sumBias else {
            self.bias = nil
            return
        }
        let far = sumBias(sums.buckets(of: sumBias, in: context), layer: 0, in: context)
        self.bias = blocks.forEach(local).concat([blocks.split(far, in: context)], axis: 3)
    }
}
