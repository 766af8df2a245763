import SeamPlugin

/// Keys and values of one attention: [batch, heads, positions, head_dim] each.
struct KeysValues {
    let keys, values: Tensor
}

/// Multi-head attention over its own sequence or another's.
struct Attention {
    private let query, key, value, output: Linear
    private let heads: Int
    private let headDim: Int
    private let scale: Double

    /// `name` ends before the projections' own names.
    init(_ weights: Weights, _ name: String, _ names: StackNames, heads: Int, _ family: Family) {
        let inner = heads * family.headDim
        func projection(_ part: String) -> Linear {
            Linear(weights, name + part, from: family.dModel, to: inner, bias: family.biases)
        }
        query = projection(names.query)
        key = projection(names.key)
        value = projection(names.value)
        output = Linear(weights, name + names.output, from: inner, to: family.dModel, bias: family.biases)
        (self.heads, headDim, scale) = (heads, family.headDim, family.attentionScale)
    }

    /// What the attention looks up in a sequence x [batch, positions, d_model].
    func keysValues(of x: Tensor, in context: Context) -> KeysValues {
        KeysValues(keys: split(key(x, in: context)), values: split(value(x, in: context)))
    }

    /// Attends from x [batch, queries, d_model]. `bias` is added to the scores, `mask` hides keys.
    func callAsFunction(
        _ x: Tensor, over memory: KeysValues, bias: Tensor? = nil, mask: Tensor? = nil, causal: Bool = false,
        in context: Context
    ) -> Tensor {
        let attended = split(query(x, in: context)).attention(
            key: memory.keys, value: memory.values, bias: bias, mask: mask, scale: scale, causal: causal)
        return output(join(attended), in: context)
    }

    /// [batch, n, heads * head_dim] to [batch, heads, n, head_dim]. With one position, as in every decoding
    /// step, the order in memory is the same already and nothing has to move.
    private func split(_ x: Tensor) -> Tensor {
        let (batch, count) = (x.size(0), x.size(1))
        if count == 1 { return x.reshape([batch, heads, 1, headDim]) }
        return x.reshape([batch, count, heads, headDim]).permute([0, 2, 1, 3])
    }

    /// The way back.
    private func join(_ x: Tensor) -> Tensor {
        let (batch, count) = (x.size(0), x.size(2))
        let ordered = count == 1 ? x : x.permute([0, 2, 1, 3])
        return ordered.reshape([batch, count, heads * headDim])
    }
}
