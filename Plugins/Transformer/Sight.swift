import SeamPlugin

/// How the tokens of a pass see each other in a layer.
struct Sight {
    /// Added to the scores, [1 or batch, 1 or heads, queries, keys].
    let bias: Tensor?
    /// The bias of the scores of a prefix's tokens, by route; empty: none.
    var prefixBiases: [Tensor] = []
    /// [batch, keys], 0 hides a key.
    let mask: Tensor?
    /// Later tokens are hidden.
    let causal: Bool
    let rotation: Rotation?
    /// Of an encoder's layers with a window, in the place of bias and mask.
    var blocks: BlockSight?
    /// The first of the text's keys that any of the queries sees; bias and mask are about it and those behind it.
    var firstKey = 0
    /// Of a family whose scores depend on contents and distances.
    var distances: Distances?
}

extension Sight {
    /// The same with mask and order in the bias, for an attention that adds one thing to its scores.
    /// - Parameter keys: of the text, those before `firstKey` among them.
    func inOneBias(queries: Int, keys: Int, in context: Context) -> Sight {
        let sum = CappedAttention.bias(
            bias, mask: mask, causal: causal, queries: queries, keys: keys - firstKey, in: context)
        return Sight(
            bias: sum, prefixBiases: prefixBiases, mask: nil, causal: false, rotation: rotation, blocks: blocks,
            firstKey: firstKey, distances: distances)
    }
}

/// The layers of a stack by what their tokens see, so that this is made once for all layers of a kind.
struct LayerKinds {
    struct Kind {
        /// 0: no window.
        let window: Int
        let isRotated: Bool
    }

    private(set) var all: [Kind] = []
    /// The place of each layer's kind in `all`.
    private(set) var ofLayer: [Int] = []

    init(_ stack: Family.Stack) {
        for layer in 0..<stack.layers {
            let window = layer < stack.windows.count ? stack.windows[layer] : 0
            let isRotated = !stack.unrotatedLayers.contains(layer)
            if let place = all.firstIndex(where: { $0.window == window && $0.isRotated == isRotated }) {
                ofLayer.append(place)
            } else {
                ofLayer.append(all.count)
                all.append(Kind(window: window, isRotated: isRotated))
            }
        }
    }
}

/// What the queries of one pass of a decoder have before them.
///
/// A window counts as transformers counts it: by places among the keys, of which those of a prefix are the first. Only
/// padding does not count that stands before a row's tokens, or between vectors of an adapter and them, so that a row is
/// the same alone and beside others.
struct View {
    /// Keys before the first query, and queries.
    let seen, count: Int
    /// The place of the one query of each row, where they differ.
    let starts: [Int64]?
    /// [batch, keys]; nil: all are tokens.
    let mask: Tensor?
    let prefix: PrefixLengths
    /// Padding may stand between the tokens of a row.
    let countsTokens: Bool

    private var keys: Int { seen + count }

    /// What a layer sees through a window of so many tokens; 0: all.
    /// - Parameters:
    ///   - bias: of the scores of all keys.
    ///   - prefixBiases: of those of each route's prefix; empty: none.
    func sight(
        window: Int, bias: Tensor?, prefixBiases: [Tensor], rotation: Rotation?, in context: Context
    ) -> Sight {
        guard window > 0, prefix.longest + keys > window else {
            return Sight(bias: bias, prefixBiases: prefixBiases, mask: mask, causal: true, rotation: rotation)
        }
        let first = isUniform ? max(0, seen + 1 - window) : 0
        let hidden = keys > window ? hiding(window, from: first, in: context) : nil
        let rest = bias?.slice(3, from: first, length: keys - first)
        let both = rest.map { rest in hidden.map { rest + $0 } ?? rest } ?? hidden
        return Sight(
            bias: both, prefixBiases: hidingPrefix(window, prefixBiases, in: context),
            mask: mask?.slice(1, from: first, length: keys - first), causal: true, rotation: rotation, firstKey: first)
    }

    /// Whether the queries of all rows have the same keys before them.
    private var isUniform: Bool { starts == nil && !(countsTokens && mask != nil) }

    /// Hides the keys from `first` on that a query does not see any more: [1 or batch, 1, count, keys - first]; nil where
    /// there is none.
    private func hiding(_ window: Int, from first: Int, in context: Context) -> Tensor? {
        if isUniform {
            return count == 1
                ? nil : windowBias(queries: seen..<keys, keys: first..<keys, before: window, in: context)
        }
        if countsTokens, let mask {
            let places = mask.cast(to: .f32).runningSum(in: context)
            let distances = own(places).reshape([mask.size(0), count, 1]) - places.reshape([mask.size(0), 1, keys])
            return distances.hiding(from: window, in: context).reshape([mask.size(0), 1, count, keys])
        }
        guard let starts else { return nil }
        let values: [Float] = starts.flatMap { start in (0..<keys).map { Int(start) - $0 < window ? 0 : hiddenScore } }
        return context.constant(values, [starts.count, 1, 1, keys])
    }

    /// Hides what queries do not see any more of each route's prefix.
    private func hidingPrefix(_ window: Int, _ biases: [Tensor], in context: Context) -> [Tensor] {
        prefix.byRoute.indices.map { route in
            let (length, bias) = (prefix.byRoute[route], route < biases.count ? biases[route] : nil)
            guard length > 0, length + keys > window else { return bias ?? context.none }
            let hidden: Tensor
            if let mask {
                let behind = places(mask, in: context).reshape([mask.size(0), count, 1])
                let before = context.constant((0..<length).map { Float($0 - length) }, [1, 1, length])
                hidden = (behind - before).hiding(from: window, in: context)
                    .reshape([mask.size(0), 1, count, length])
            } else {
                let first = length + seen
                hidden = windowBias(queries: first..<first + count, keys: 0..<length, before: window, in: context)
            }
            return bias.map { $0 + hidden } ?? hidden
        }
    }

    /// The places of the queries behind a prefix, [batch, count] f32.
    private func places(_ mask: Tensor, in context: Context) -> Tensor {
        let tokens = mask.cast(to: .f32).runningSum(in: context)
        if countsTokens { return own(tokens) - 1 }
        // Where there is no token yet, there is padding before them all.
        let padding = (-tokens.minimum(context.full(1, [])) + 1).sum(1, keep: true)
        let places =
            starts.map { context.constant($0.map { Float($0) }, [$0.count, 1]) }
            ?? context.constant((seen..<keys).map { Float($0) }, [1, count])
        return places - padding
    }

    /// Of numbers of the keys, [batch, keys], those of the queries: where rows have seen different numbers of tokens the
    /// last ones, which those of a row's own token are until the end.
    private func own(_ tokens: Tensor) -> Tensor {
        tokens.slice(1, from: starts == nil ? seen : keys - 1, length: count)
    }
}

/// What hides a key when it is added to its score. It is finite, so that a padding token, which may see nothing, has
/// states that are numbers.
let hiddenScore: Float = -1e30

/// The bias [1, 1, queries, keys] that hides keys `before` places or more before a query, and, unless it is 0, `after` places
/// or more behind it.
func windowBias(
    queries: Range<Int>, keys: Range<Int>, before: Int, after: Int = 0, in context: Context
) -> Tensor {
    var values: [Float] = []
    values.reserveCapacity(queries.count * keys.count)
    for query in queries {
        for key in keys {
            let isHidden = query - key >= before || after > 0 && key - query >= after
            values.append(isHidden ? hiddenScore : 0)
        }
    }
    return context.constant(values, [1, 1, queries.count, keys.count])
}

extension Tensor {
    /// Of whole numbers: 0 for those below `first`, else what hides a key.
    fileprivate func hiding(from first: Int, in context: Context) -> Tensor {
        (self - Double(first - 1)).maximum(context.full(0, [])).minimum(context.full(1, [])) * Double(hiddenScore)
    }

    /// The sum of each place of x [batch, n] and those before it: within blocks, and of the blocks before, so that the
    /// products stay small for a long text.
    func runningSum(in context: Context) -> Tensor {
        let (batch, length, block) = (size(0), size(1), 64)
        func triangle(_ size: Int, strict: Bool) -> Tensor {
            let values: [Float] = (0..<size * size).map {
                let (row, column) = ($0 / size, $0 % size)
                return row < column || !strict && row == column ? 1 : 0
            }
            return context.constant(values, [size, size])
        }
        if length <= block { return matmul(triangle(length < 0 ? 0 : length, strict: false)) }
        let blocks = (length + block - 1) / block
        let rest = blocks * block - length
        let padded = rest == 0 ? self : concat([context.full(0, [batch, rest])], axis: 1)
        let within = padded.reshape([batch, blocks, block]).matmul(triangle(block, strict: false))
        let sums = within.slice(2, from: block - 1, length: 1).reshape([batch, blocks])
        let before = sums.matmul(triangle(blocks, strict: true)).reshape([batch, blocks, 1])
        return (within + before).reshape([batch, blocks * block]).slice(1, from: 0, length: length)
    }
}
