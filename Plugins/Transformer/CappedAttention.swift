import SeamPlugin

/// Attention whose scores are cap * tanh(score / cap) (Gemma 2, section 2), of the operations that the table has: the table's
/// own attention knows no function of the scores.
struct CappedAttention {
    let scale, cap: Double
    let prefix: LayerPrefix?
    let prefixBiases: [Tensor]

    /// What hides the keys that `mask` hides and, where `causal`, later ones, with `bias`: one tensor to be added to the
    /// scores, so that a pass makes it once for all layers of a kind. Nil where there is nothing to add.
    static func bias(
        _ bias: Tensor?, mask: Tensor?, causal: Bool, queries: Int, keys: Int, in context: Context
    ) -> Tensor? {
        var sum = bias
        func add(_ other: Tensor) { sum = sum.map { $0 + other } ?? other }
        if let mask {
            let most = Double(hiddenScore)
            add(mask.cast(to: .f32).affine(scale: -most, shift: most).reshape([mask.size(0), 1, 1, keys]))
        }
        if causal, queries > 1 {
            let seen = keys - queries
            add(windowBias(queries: seen..<keys, keys: 0..<keys, before: Int.max, after: 1, in: context))
        }
        return sum
    }

    /// As `Tensor.attention`: [batch, heads, queries, head_dim] for queries of that shape.
    func callAsFunction(
        _ query: Tensor, _ memory: KeysValues, bias: Tensor?, mask: Tensor?, causal: Bool, in context: Context
    ) -> Tensor {
        let (batch, queries, keys) = (query.size(0), query.size(2), memory.keys.size(2))
        let hidden = Self.bias(bias, mask: mask, causal: causal, queries: queries, keys: keys, in: context)
        var scores = self.scores(query, memory.keys)
        if let hidden { scores = scores + hidden }
        guard let prefix, let own = RoutedPrefix(prefix, prefixBiases, batch: batch, queries: queries, in: context)
        else {
            return weighted(scores.softmax(), memory.values)
        }
        let before = self.scores(query, own.memory.keys)
        let all = (own.bias.map { before + $0 } ?? before).concat([scores], axis: 3).softmax()
        let length = own.memory.keys.size(2)
        return weighted(all.slice(3, from: 0, length: length), own.memory.values)
            + weighted(all.slice(3, from: length, length: keys), memory.values)
    }

    /// [batch, heads, queries, keys]; the query heads that share keys lie behind each other.
    private func scores(_ query: Tensor, _ keys: Tensor) -> Tensor {
        let (batch, heads, queries, width) = (query.size(0), query.size(1), query.size(2), query.size(3))
        let groups = keys.size(1)
        let products = query.reshape([batch, groups, heads / max(groups, 1) * queries, width])
            .matmul(keys, transposeOther: true)
        return (products * (scale / cap)).tanh().reshape([batch, heads, queries, keys.size(2)]) * cap
    }

    private func weighted(_ probabilities: Tensor, _ values: Tensor) -> Tensor {
        let (batch, heads, queries) = (probabilities.size(0), probabilities.size(1), probabilities.size(2))
        let groups = values.size(1)
        return probabilities.reshape([batch, groups, heads / max(groups, 1) * queries, probabilities.size(3)])
            .matmul(values).reshape([batch, heads, queries, values.size(3)])
    }
}

/// The prefix of each row of a batch, as long as the longest, and what hides its rest.
private struct RoutedPrefix {
    /// [1 or batch, kv heads, prefix, head_dim]
    let memory: KeysValues
    /// [1 or batch, 1 or heads, 1 or queries, prefix]
    let bias: Tensor?

    /// Nil where no row has a prefix.
    init?(_ prefix: LayerPrefix, _ biases: [Tensor], batch: Int, queries: Int, in context: Context) {
        let lengths = prefix.lengths
        let rows = prefix.rows ?? [Int](repeating: 0, count: batch)
        guard rows.allSatisfy({ lengths.indices.contains($0) }) else { return nil }
        let route = rows.first ?? 0
        let isOne = rows.allSatisfy { $0 == route }
        let longest = isOne ? lengths[route] : rows.map { lengths[$0] }.max() ?? 0
        let shape = lengths.indices.compactMap { prefix.keysValues(ofRoute: $0)?.shape }.first
        guard longest > 0, let shape, shape.count == 4 else { return nil }
        /// Of a route, with zeros behind its prefix, [1, 2, kv heads, longest, head_dim].
        func numbers(_ route: Int) -> Tensor {
            let length = min(lengths[route], longest)
            func rest() -> Tensor { context.full(0, [2, shape[1], longest - length, shape[3]]) }
            let own = length == 0 ? nil : prefix.keysValues(ofRoute: route)?.slice(2, from: 0, length: length)
            let all = own.map { length == longest ? $0 : $0.concat([rest()], axis: 2) } ?? rest()
            return all.reshape([1, 2, shape[1], longest, shape[3]])
        }
        /// Of a route, [batch, 1, queries, longest].
        func bias(_ route: Int) -> Tensor {
            let length = min(lengths[route], longest)
            func rest() -> Tensor { context.full(Double(hiddenScore), [batch, 1, queries, longest - length]) }
            if length == 0 { return rest() }
            let given = route < biases.count && biases[route].size(3) == length ? biases[route] : nil
            let own = (given ?? context.full(0, [1, 1, 1, length])).expand([batch, 1, queries, length])
            return length == longest ? own : own.concat([rest()], axis: 3)
        }
        func half(_ all: Tensor, _ index: Int) -> Tensor {
            all.slice(1, from: index, length: 1).reshape([all.size(0), shape[1], longest, shape[3]])
                .expand([batch, shape[1], longest, shape[3]])
        }
        if isOne {
            let all = numbers(route)
            memory = KeysValues(keys: half(all, 0), values: half(all, 1))
            self.bias = route < biases.count && biases[route].size(3) == longest ? biases[route] : nil
            return
        }
        let others = 1..<lengths.count
        let all = numbers(0).concat(others.map(numbers), axis: 0)
            .indexSelect(0, context.constant(rows.map { Int32($0) }, [batch]))
        memory = KeysValues(keys: half(all, 0), values: half(all, 1))
        let places = rows.indices.map { Int32(rows[$0] * batch + $0) }
        self.bias = bias(0).concat(others.map(bias), axis: 0).indexSelect(0, context.constant(places, [batch]))
    }
}
