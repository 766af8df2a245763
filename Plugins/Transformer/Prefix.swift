import SeamPlugin

/// Keys and values that stand before those of the tokens, in every layer of one attention (the seam attention.prefix).
///
/// Where a text's own states meet it, in a decoder and in an encoder-only model, the prefix takes the first positions and
/// the text begins behind it, for every kind of positions: what transformers does with past_key_values. The encoder of an
/// encoder-decoder and cross-attention know no past there; the prefix has no position in them and no relative bias.
struct Prefix {
    private let tensor: Tensor
    private let batch: Int
    /// Tokens.
    let length: Int

    /// Nil for no prefix.
    init?(_ tensor: Tensor?, batch: Int) {
        guard let tensor else { return nil }
        (self.tensor, self.batch, length) = (tensor, batch, tensor.size(3))
    }

    /// One layer's for every row: [batch, heads, length, head_dim] each.
    func layer(_ index: Int) -> KeysValues {
        let layer = tensor.slice(0, from: index, length: 1)
        func part(_ index: Int) -> Tensor {
            let (heads, width) = (tensor.size(2), tensor.size(4))
            return layer.slice(1, from: index, length: 1).reshape([1, heads, length, width])
                .expand([batch, heads, length, width])
        }
        return KeysValues(keys: part(0), values: part(1))
    }

    /// The layer's, followed by those of the tokens.
    func before(_ own: KeysValues, layer index: Int) -> KeysValues {
        let prefix = layer(index)
        return KeysValues(
            keys: prefix.keys.concat([own.keys], axis: 2), values: prefix.values.concat([own.values], axis: 2))
    }

    /// A mask over the tokens [batch, keys], with the prefix, which nothing hides, before it.
    static func extend(_ mask: Tensor?, by length: Int, in context: Context) -> Tensor? {
        guard let mask, length > 0 else { return mask }
        return context.full(1, [mask.size(0), length], .i32).concat([mask], axis: 1)
    }
}
