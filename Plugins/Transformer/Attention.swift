import SeamPlugin

/// Keys and values of one attention: [batch, heads, positions, head_dim] each.
struct KeysValues {
    let keys, values: Tensor

    /// Hands them to those that want a layer's; gives what has to live on for that.
    func put(into wanted: LayerKeysValues, of layer: Int) -> Tensor {
        wanted.put(keys: keys, values: values, of: layer)
    }

    /// Those of position `first` and later ones.
    func from(_ first: Int) -> KeysValues {
        guard first > 0 else { return self }
        let rest = keys.size(2) - first
        return KeysValues(
            keys: keys.slice(2, from: first, length: rest), values: values.slice(2, from: first, length: rest))
    }
}

/// Multi-head attention over its own sequence or another's.
struct Attention {
    private let projections: Projections
    private let output: Linear
    private let distanceScores: DistanceScores?
    private let heads, keyValueHeads, headDim: Int
    private let scale, cap: Double
    private let norms: (query: Norm, key: Norm)?
    private let normsHeads: Bool

    private enum Projections {
        case separate(query: Linear, key: Linear, value: Linear)
        case fused(Linear)
        case fusedByHead(Linear)
    }

    /// `name` ends before the projections' own names.
    init(
        _ weights: Weights, _ name: String, _ layer: LayerPlace, _ points: AttentionPoints, _ stack: Family.Stack,
        _ family: Family
    ) {
        let (width, bias) = (family.headDim, family.biases.queryKeyValue)
        func projection(_ part: String, _ heads: Int, _ place: ProjectionPlace, bias: Bool) -> Linear {
            Linear(weights, name + part, from: family.dModel, to: heads * width, bias: bias, family, at: place)
        }
        switch stack.names.projections {
        case .separate(let query, let key, let value):
            projections = .separate(
                query: projection(query, stack.heads, layer.projection(points.query), bias: bias),
                key: projection(
                    key, stack.keyValueHeads, layer.projection(points.key), bias: bias && family.biases.key),
                value: projection(value, stack.keyValueHeads, layer.projection(points.value), bias: bias))
        case .fused(let part):
            let groups = stack.keyValueHeads
            let parts = [(points.query, stack.heads), (points.key, groups), (points.value, groups)]
            let place = layer.projection("qkv", parts: parts.map { Point.Part($0, width: $1 * width) })
            projections = .fused(projection(part, stack.heads + 2 * groups, place, bias: bias))
        case .fusedByHead(let part):
            // Its parts are not one behind the other, so that the point is one.
            projections = .fusedByHead(projection(part, 3 * stack.heads, layer.projection("qkv"), bias: bias))
        }
        func norm(_ part: String, _ heads: Int) -> Norm {
            Norm(
                weights, name + part, family, width: family.queryKeyNorm == .head ? width : heads * width)
        }
        norms = family.queryKeyNorm.map { _ in
            (norm(stack.names.queryNorm, stack.heads), norm(stack.names.keyNorm, stack.keyValueHeads))
        }
        normsHeads = family.queryKeyNorm == .head
        output = Linear(
            weights, name + stack.names.output, from: stack.heads * width, to: family.dModel,
            bias: family.biases.attentionOutput, family, at: layer.projection(points.output))
        (heads, keyValueHeads, headDim) = (stack.heads, stack.keyValueHeads, width)
        (scale, cap) = (family.attentionScale, family.attentionCap)
        if let disentangled = family.disentangled, case .separate(let query, let key, _) = projections {
            distanceScores = DistanceScores(
                weights, name, disentangled, query: query, key: key, heads: stack.heads, family)
        } else {
            distanceScores = nil
        }
    }

    /// What the queries of x [batch, positions, d_model] ask for: [batch, heads, positions, head_dim].
    func query(of x: Tensor, in context: Context) -> Tensor {
        switch projections {
        case .separate(let query, _, _): split(query(x, in: context), heads, norms?.query, in: context)
        case .fused(let all), .fusedByHead(let all): query(fused: all(x, in: context), in: context)
        }
    }

    /// What the attention looks up in a sequence x [batch, positions, d_model].
    func keysValues(of x: Tensor, in context: Context) -> KeysValues {
        switch projections {
        case .separate(_, let key, let value):
            KeysValues(
                keys: split(key(x, in: context), keyValueHeads, norms?.key, in: context),
                values: split(value(x, in: context), keyValueHeads, in: context))
        case .fused(let all), .fusedByHead(let all): keysValues(fused: all(x, in: context), in: context)
        }
    }

    /// Both for one sequence, rotated where the family does.
    func project(_ x: Tensor, rotation: Rotation?, in context: Context) -> (query: Tensor, memory: KeysValues) {
        let query: Tensor
        let memory: KeysValues
        switch projections {
        case .separate: (query, memory) = (self.query(of: x, in: context), keysValues(of: x, in: context))
        case .fused(let all), .fusedByHead(let all):
            let projected = all(x, in: context)
            (query, memory) = (
                self.query(fused: projected, in: context), keysValues(fused: projected, in: context)
            )
        }
        guard let rotation else { return (query, memory) }
        return (rotation(query), KeysValues(keys: rotation(memory.keys), values: memory.values))
    }

    /// The states that queries gather from a memory and the prefix before it. `bias`, or what `distances` say, is added to
    /// the scores of the memory, of which `mask` hides keys, and `prefixBiases`, by route, to those of the prefix.
    func callAsFunction(
        _ query: Tensor, over memory: KeysValues, behind prefix: LayerPrefix?, prefixBiases: [Tensor] = [],
        bias: Tensor? = nil, distances: Distances? = nil, mask: Tensor? = nil, causal: Bool = false,
        in context: Context
    ) -> Tensor {
        var bias = bias
        if let distances, let distanceScores {
            bias = distanceScores(query, memory.keys, distances, scale: scale, in: context)
        }
        let attended: Tensor
        if cap > 0 {
            let capped = CappedAttention(scale: scale, cap: cap, prefix: prefix, prefixBiases: prefixBiases)
            attended = capped(
                query, memory, bias: bias, mask: mask, causal: causal, in: context)
        } else {
            attended = query.attention(
                key: memory.keys, value: memory.values, prefix: prefix, prefixBiases: prefixBiases, bias: bias,
                mask: mask, scale: scale, causal: causal)
        }
        return output(join(attended), in: context)
    }

    /// The same in blocks: `memory` is that of all tokens, and `sums` what they see of the whole text.
    func callAsFunction(
        _ query: Tensor, over memory: KeysValues, and sums: KeysValues?, behind prefix: LayerPrefix?,
        _ sight: BlockSight, in context: Context
    ) -> Tensor {
        let blocks = sight.blocks
        func lookedUp(_ own: Tensor, _ sums: Tensor?) -> Tensor {
            let near = blocks.around(own, in: context)
            return sums.map { near.concat([blocks.repeated($0)], axis: 2) } ?? near
        }
        let attended = blocks.split(query, in: context).attention(
            key: lookedUp(memory.keys, sums?.keys), value: lookedUp(memory.values, sums?.values), prefix: prefix,
            rowsOfEach: blocks.perText, bias: sight.bias, mask: sight.mask, scale: scale)
        return output(join(blocks.join(attended)), in: context)
    }

    private func query(fused x: Tensor, in context: Context) -> Tensor {
        part(x, 0, from: 0, heads, norms?.query, in: context)
    }

    private func keysValues(fused x: Tensor, in context: Context) -> KeysValues {
        KeysValues(
            keys: part(x, 1, from: heads, keyValueHeads, norms?.key, in: context),
            values: part(x, 2, from: heads + keyValueHeads, keyValueHeads, nil, in: context))
    }

    /// Some heads of a fused projection: those behind `first` others or, where each head has its three together, part
    /// `index` of every head.
    private func part(
        _ x: Tensor, _ index: Int, from first: Int, _ heads: Int, _ norm: Norm?, in context: Context
    ) -> Tensor {
        guard case .fusedByHead = projections else {
            return split(x.slice(2, from: first * headDim, length: heads * headDim), heads, norm, in: context)
        }
        let (batch, count) = (x.size(0), x.size(1))
        let own = x.reshape([batch, count, heads, 3 * headDim]).slice(3, from: index * headDim, length: headDim)
        return split(own.reshape([batch, count, heads * headDim]), heads, norm, in: context)
    }

    /// [batch, n, heads * head_dim] to [batch, heads, n, head_dim], with the norm that they have. With one position, as in
    /// every decoding step, the order in memory is the same already and nothing has to move.
    private func split(_ x: Tensor, _ heads: Int, _ norm: Norm? = nil, in context: Context) -> Tensor {
        let (batch, count) = (x.size(0), x.size(1))
        let whole = normsHeads ? x : norm.map { $0(x, in: context) } ?? x
        let apart = whole.reshape([batch, count, heads, headDim])
        let normed = normsHeads ? norm.map { $0(apart, in: context) } ?? apart : apart
        return count == 1 ? normed.reshape([batch, heads, 1, headDim]) : normed.permute([0, 2, 1, 3])
    }

    /// The way back.
    private func join(_ x: Tensor) -> Tensor {
        let (batch, count) = (x.size(0), x.size(2))
        let ordered = count == 1 ? x : x.permute([0, 2, 1, 3])
        return ordered.reshape([batch, count, heads * headDim])
    }
}
