import SeamPlugin

/// How many tokens of a prefix stand before the text (the seam attention.prefix).
///
/// Where a text's own states meet it, in a decoder and in an encoder-only model, the prefix takes the first positions and
/// the text begins behind it, for every kind of positions: what transformers does with past_key_values. The encoder of an
/// encoder-decoder and cross-attention know no past there; the prefix has no position in them and no relative bias.
struct PrefixLengths {
    /// By route; empty for no prefix.
    let byRoute: [Int]
    /// Of each row, where they differ; nil: `longest` in all.
    let byRow: [Int]?
    let longest: Int

    /// All layers have as many tokens as the first.
    init(_ prefix: LayerPrefixes?) {
        guard let first = prefix?[0] else {
            (byRoute, byRow, longest) = ([], nil, 0)
            return
        }
        let lengths = first.lengths
        let rows = first.rows?.map { lengths.indices.contains($0) ? lengths[$0] : 0 } ?? [lengths.first ?? 0]
        byRoute = lengths
        longest = rows.max() ?? 0
        byRow = rows.allSatisfy { $0 == rows[0] } ? nil : rows
    }
}
