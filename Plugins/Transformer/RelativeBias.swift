import SeamPlugin

/// T5's bias on attention scores: a learned number per head for each bucket of distances.
struct RelativeBias {
    private let table: Parameter
    private let heads: Int
    private let bidirectional: Bool
    /// The bucket of each distance below the largest; all beyond share the last.
    private let buckets: [Int32]

    /// Nil for a family without such a bias.
    init?(_ weights: Weights, _ stack: Family.Stack, bidirectional: Bool, _ family: Family) {
        let (name, count, maxDistance): (String, Int, Int)
        if case .relative(let buckets, let distance) = family.positions {
            let names = stack.names
            let first = names.layer(0) + names.selfAttention
            (name, count, maxDistance) = (first + "relative_attention_bias.weight", buckets, distance)
        } else if let shared = family.sharedBias {
            (name, count, maxDistance) = ("\(shared.name)", shared.buckets, shared.maxDistance)
        } else {
            return nil
        }
        table = weights.parameter(name, [count, stack.heads])
        heads = stack.heads
        self.bidirectional = bidirectional
        buckets = Self.buckets(bidirectional ? count / 2 : count, maxDistance)
    }

    /// [1, heads, queries, keys] for the positions of the queries and for keys from position 0 on.
    func callAsFunction(queries: Range<Int>, keys: Int, in context: Context) -> Tensor {
        let last = buckets.count - 1
        let later = bidirectional ? buckets[last] + 1 : 0
        var ids: [Int32] = []
        ids.reserveCapacity(queries.count * keys)
        for query in queries {
            for key in 0..<keys {
                // A decoder's later keys are hidden by the causal mask; they take the bucket of distance 0.
                let distance = bidirectional ? abs(query - key) : max(query - key, 0)
                ids.append(buckets[min(distance, last)] + (key > query ? later : 0))
            }
        }
        return context[table].embedding(context.constant(ids, [queries.count, keys]))
            .permute([2, 0, 1]).reshape([1, heads, queries.count, keys])
    }

    /// [batch, heads, 1, keys] for one query in each row of a decoder, which stands behind `seen` keys of its own; the mask
    /// hides those after it.
    func callAsFunction(after seen: [Int64], keys: Int, in context: Context) -> Tensor {
        let last = buckets.count - 1
        let ids = seen.flatMap { seen in (0..<keys).map { buckets[min(max(Int(seen) - $0, 0), last)] } }
        return context[table].embedding(context.constant(ids, [seen.count, keys]))
            .permute([0, 2, 1]).reshape([seen.count, heads, 1, keys])
    }

    /// [batch, heads, n, keys] for queries of a decoder at `positions` [batch, n] i32, which count from the first of the
    /// keys. All keys stand before them.
    func callAsFunction(at positions: Tensor, keys: Int, in context: Context) -> Tensor {
        let last = buckets.count - 1
        let byDistance = context[table].embedding(context.constant(buckets, [buckets.count]))
        // Positions are far below 2^24, so f32 holds them exactly.
        let places = positions.cast(to: .f32).reshape([positions.size(0), positions.size(1), 1])
        let distances = (places - context.constant((0..<keys).map { Float($0) }, [1, 1, keys]))
            .maximum(context.full(0, [])).minimum(context.full(Double(last), []))
        return byDistance.embedding(distances.cast(to: .i32)).permute([0, 3, 1, 2])
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
