import CMath
import SeamPlugin

// Attention whose scores are of contents and of distances (DeBERTa, He et al. 2021, section 3.1): beside a query's content
// with a key's there are its content with the vector of their distance, and that vector with the key's content.

/// The vectors of distances, which all layers of an encoder share.
struct DistanceTable {
    /// [2 span, d_model]
    private let table: Parameter
    private let norm: Norm?
    private let disentangled: Family.Disentangled

    /// Nil for a family without them.
    init?(_ weights: Weights, _ names: StackNames, _ family: Family) {
        guard let disentangled = family.disentangled else { return nil }
        self.disentangled = disentangled
        table = weights.parameter(names.stack + "rel_embeddings.weight", [2 * disentangled.span, family.dModel])
        norm = disentangled.norm ? Norm(weights, names.stack + "LayerNorm", family) : nil
    }

    /// Those between any two of `count` tokens.
    func callAsFunction(_ count: Int, in context: Context) -> Distances {
        let rows = (0..<2 * count - 1).map { row(of: $0 - count + 1) }
        let (first, last) = (rows.first ?? 0, rows.last ?? 0)
        // Rows grow with distances: those of a short text are a slice.
        let used = context[table].slice(0, from: first, length: last - first + 1).cast(to: .f32)
        var ids: [Int32] = []
        ids.reserveCapacity(count * count)
        for query in 0..<count {
            for key in 0..<count { ids.append(Int32(rows[query - key + count - 1] - first)) }
        }
        let index = context.constant(ids, [1, 1, count, count])
        return Distances(
            vectors: norm.map { $0(used, in: context) } ?? used, ofKeys: index, ofQueries: index.permute([0, 1, 3, 2]))
    }

    /// The row of a distance, query less key.
    private func row(of distance: Int) -> Int {
        let row = bucket(distance) + disentangled.span
        return min(max(row, 0), 2 * disentangled.span - 1)
    }

    /// In f32, as the models were trained.
    private func bucket(_ distance: Int) -> Int {
        guard let buckets = disentangled.buckets else { return distance }
        let (middle, size) = (buckets.count / 2, abs(distance))
        guard size > middle else { return distance }
        let most = logf(Float(Double(buckets.maxDistance - 1) / Double(middle)))
        let beyond = Int(ceilf(logf(Float(size) / Float(middle)) / most * Float(middle - 1)))
        return distance < 0 ? -(middle + beyond) : middle + beyond
    }
}

/// The distances between the tokens of a pass.
struct Distances {
    /// [rows, d_model], one for each distance that is there.
    let vectors: Tensor
    /// The row of the distance from each query [q] to each key [k], [1, 1, q, k] i32, and the same as [1, 1, k, q].
    let ofKeys, ofQueries: Tensor
}

/// The scores of one attention's contents with distances.
struct DistanceScores {
    /// What makes keys of distances, for the contents of queries, and queries, for those of keys.
    private let key, query: Linear?
    private let heads, headDim: Int

    /// `name` ends before the projections' own names; `query` and `key` are those of the tokens.
    init(
        _ weights: Weights, _ name: String, _ disentangled: Family.Disentangled, query: Linear, key: Linear,
        heads: Int, _ family: Family
    ) {
        func projection(_ part: String, _ shared: Linear) -> Linear {
            if disentangled.sharesProjections { return shared }
            return Linear(
                weights, name + part, from: family.dModel, to: heads * family.headDim, bias: true, family)
        }
        self.key = disentangled.contentToPosition ? projection("self.pos_key_proj", key) : nil
        self.query = disentangled.positionToContent ? projection("self.pos_query_proj", query) : nil
        (self.heads, headDim) = (heads, family.headDim)
    }

    /// [batch, heads, n, n] for queries and keys [batch, heads, n, head_dim]; nil where the family has no such scores.
    func callAsFunction(
        _ queries: Tensor, _ keys: Tensor, _ distances: Distances, scale: Double, in context: Context
    ) -> Tensor? {
        let (batch, count) = (queries.size(0), queries.size(2))
        let shape = [batch, heads, count, count]
        /// The scores of contents with the distances that `index` names.
        func scores(_ contents: Tensor, _ projection: Linear, _ index: Tensor) -> Tensor {
            let vectors = projected(distances.vectors, projection, batch: batch, in: context)
            return (contents * scale).matmul(vectors, transposeOther: true).gather(3, index.expand(shape))
        }
        let ofKeys = key.map { scores(queries, $0, distances.ofKeys) }
        let ofQueries = query.map { scores(keys, $0, distances.ofQueries).permute([0, 1, 3, 2]) }
        guard let ofKeys, let ofQueries else { return ofKeys ?? ofQueries }
        return ofKeys + ofQueries
    }

    /// [1 or batch, heads, rows, head_dim] of vectors [rows, d_model].
    ///
    /// An adapter on a matrix that tokens and distances share is on both, as it is in transformers. Rows of a batch may
    /// have different ones: each has distances of its own then.
    private func projected(
        _ vectors: Tensor, _ projection: Linear, batch: Int, in context: Context
    ) -> Tensor {
        let (rows, width) = (vectors.size(0), vectors.size(1))
        let one = vectors.reshape([1, rows, width])
        let projected: Tensor
        if let visitor = context.visitor, projection.isVisited(in: context) {
            let all = one.expand([batch, rows, width])
            let own = context.visiting(visitor, mask: context.full(1, [batch, rows], .i32), positions: nil)
            projected = projection(all, in: own)
        } else {
            projected = projection(one, in: context)
        }
        return projected.reshape([projected.size(0), rows, heads, headDim]).permute([0, 2, 1, 3])
    }
}
