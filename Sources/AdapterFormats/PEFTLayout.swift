import SeamHost
import Support

/// The layout in which PEFT's `prompt_embeddings` [tokens, num_layers * 2 * token_dim] hold the keys and values of each layer, as
/// `PeftModel.get_prompt` of PEFT 0.21 reads them.
///
/// A token's row is num_layers pairs of a key and a value, each by heads. With num_transformer_submodules 1 pair l is
/// that of layer l. With 2, for an encoder-decoder, `get_prompt` puts the pairs twice behind each other, deals four
/// numbers' worth (two pairs) to each layer, for its own attention and for cross-attention, and then clears the latter:
/// layer l has pair 2l mod num_layers. With an odd num_layers that is another pair for each layer; with an even one,
/// layers l and l + num_layers / 2 share theirs and every second pair is nowhere.
struct PEFTLayout {
    /// The layers of the attention that gets the prefix.
    let layers: Int
    /// `num_layers`; what is beyond `layers` is not read.
    let storedLayers: Int
    let submodules: Int
    let heads: Int
    let tokens: Int
    let headDim: Int

    /// The prefix's attention in a backbone, the one that PEFT gives a prefix.
    static func attention(of info: BackboneInfo) -> PrefixAttention {
        info.architecture == .encoderOnly ? .encoder : .decoder
    }

    /// Keys and values [layers, 2, heads, tokens, head_dim] as rows [tokens, num_layers * 2 * token_dim]; 0 in pairs
    /// that no layer reads.
    func rows(from values: [Float]) -> [Float] {
        var rows = [Float](repeating: 0, count: tokens * storedLayers * 2 * heads * headDim)
        forEachVector { place, row in rows.replaceSubrange(row, with: values[place]) }
        return rows
    }

    /// The reverse.
    func keysAndValues(from rows: [Float]) -> [Float] {
        var values = [Float](repeating: 0, count: layers * 2 * heads * tokens * headDim)
        forEachVector { place, row in values.replaceSubrange(place, with: rows[row]) }
        return values
    }

    /// Visits each layer, key or value, head and token: its numbers in [layers, 2, heads, tokens, head_dim] and
    /// in the rows.
    private func forEachVector(_ body: (_ place: Range<Int>, _ row: Range<Int>) -> Void) {
        var place = 0
        for layer in 0..<layers {
            let pair = submodules == 2 ? 2 * layer % storedLayers : layer
            for part in 0..<2 {
                for head in 0..<heads {
                    for token in 0..<tokens {
                        let row = (((token * storedLayers + pair) * 2 + part) * heads + head) * headDim
                        body(place..<place + headDim, row..<row + headDim)
                        place += headDim
                    }
                }
            }
        }
    }
}
