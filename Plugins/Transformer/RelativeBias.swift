import SeamPlugin

/// T5's bias on attention scores: a learned number per head for each bucket of distances. All layers of a stack share that
/// of its first, or each has its own (umT5, Chung et al. 2023).
struct RelativeBias {
    /// One, or one for each layer.
    private let tables: [Parameter]
    private let isBidirectional: Bool
    /// The bucket of each distance below the largest; all beyond share the last.
    private let distances: [Int32]

    /// Nil for a family without such a bias. `table`: what the tensor is called in a layer's self-attention.
    init?(
        _ weights: Weights, _ stack: Family.Stack, bidirectional: Bool, _ family: Family,
        table: String = "relative_attention_bias"
    ) {
        let (count, maxDistance): (Int, Int)
        if case .relative(let buckets, let distance) = family.positions {
            (count, maxDistance) = (buckets, distance)
            let names = stack.names
            tables = (0..<(family.relativeBiasPerLayer ? stack.layers : 1)).map {
                weights.parameter(names.layer($0) + names.selfAttention + "\(table).weight", [count, stack.heads])
            }
        } else if let shared = family.sharedBias {
            (count, maxDistance) = (shared.buckets, shared.maxDistance)
            tables = [weights.parameter("\(shared.name)", [count, stack.heads])]
        } else {
            return nil
        }
        isBidirectional = bidirectional
        distances = Self.buckets(bidirectional ? count / 2 : count, maxDistance)
    }

    /// Layers differ, so that there is none for all of them.
    var isPerLayer: Bool { tables.count > 1 }

    /// The bias of a layer for buckets [1 or batch, queries, keys]: [1 or batch, heads, queries, keys]. Nothing of no
    /// buckets.
    func callAsFunction(_ buckets: Tensor, layer: Int, in context: Context) -> Tensor {
        context[tables[isPerLayer ? layer : 0]].embedding(buckets).permute([0, 3, 1, 2])
    }

    /// The bucket of each distance of a key from its query, from -`farthest` to `farthest`, behind which all have that of
    /// the last; i32 of one axis.
    var byDistance: (farthest: Int, buckets: [Int32]) {
        let last = distances.count - 1
        return (last, (-last...last).map { bucket($0) })
    }

    /// [1, queries, keys] for the positions of both.
    func buckets(queries: Range<Int>, keys: Range<Int>, in context: Context) -> Tensor {
        var ids: [Int32] = []
        ids.reserveCapacity(queries.count * keys.count)
        for query in queries {
            for key in keys { ids.append(bucket(key - query)) }
        }
        return context.constant(ids, [1, queries.count, keys.count])
    }

    /// [batch, 1, keys] for one query in each row of a decoder, which stands behind `seen` keys of its own; the mask hides
    /// those after it.
    func buckets(after seen: [Int64], keys: Int, in context: Context) -> Tensor {
        context.constant(seen.flatMap { seen in (0..<keys).map { bucket($0 - Int(seen)) } }, [seen.count, 1, keys])
    }

    /// [batch, n, keys] for queries of a decoder at `positions` [batch, n] i32, which count from the first of the keys. All
    /// keys stand before them.
    func buckets(at positions: Tensor, keys: Int, in context: Context) -> Tensor {
        let last = distances.count - 1
        let (batch, count) = (positions.size(0), positions.size(1))
        // Positions and buckets are far below 2^24, so f32 holds them exactly.
        let places = positions.cast(to: .f32).reshape([batch, count, 1])
        let apart = (places - context.constant((0..<keys).map { Float($0) }, [1, 1, keys]))
            .maximum(context.full(0, [])).minimum(context.full(Double(last), []))
        return context.constant(distances.map { Float($0) }, [distances.count, 1]).embedding(apart.cast(to: .i32))
            .reshape([batch, count, keys]).cast(to: .i32)
    }

    /// Of a key that stands so far behind its query. A decoder's later keys are hidden by the causal mask; they take the
    /// bucket of distance 0.
    private func bucket(_ offset: Int) -> Int32 {
        let last = distances.count - 1
        let later = isBidirectional && offset > 0 ? distances[last] + 1 : 0
        return distances[min(isBidirectional ? abs(offset) : max(-offset, 0), last)] + later
    }

    /// The first half of the buckets holds one distance each; distance r of the rest goes to bucket
    /// half + floor(log(r / half) / log(maxDistance / half) * rest). Comparing powers instead of logarithms
    /// is exact where a distance meets a bucket's edge.
    private static func buckets(_ count: Int, _ maxDistance: Int) -> [Int32] {
        let half = count / 2
        let rest = count - half
        let ratio = Double(maxDistance) / Double(half)
        return (0...maxDistance).map { distance in
            if distance < half { return Int32(distance) }
            let power = (0..<rest).reduce(1.0) { power, _ in power * Double(distance) / Double(half) }
            var (step, edge) = (0, ratio)
            while step < rest - 1, power >= edge { (step, edge) = (step + 1, edge * ratio) }
            return Int32(half + step)
        }
    }
}

/// The relative bias of one pass, by the buckets of its tokens, which all layers share.
struct RelativeScores {
    private let bias: RelativeBias
    /// [1 or batch, queries, keys]
    private let buckets: Tensor
    /// Of the tokens of a prefix, by route; a null tensor for a route that has none.
    private let prefixBuckets: [Tensor]

    init(of bias: RelativeBias, buckets: Tensor, prefixBuckets: [Tensor] = []) {
        (self.bias, self.buckets, self.prefixBuckets) = (bias, buckets, prefixBuckets)
    }

    func bias(of layer: Int, in context: Context) -> Tensor { bias(buckets, layer: layer, in: context) }

    func prefixBiases(of layer: Int, in context: Context) -> [Tensor] {
        prefixBuckets.map { $0.isNull ? $0 : bias($0, layer: layer, in: context) }
    }
}
