// What teacher forcing tells of a decoder's tokens, for adapters inside its layers.
extension Batch {
    /// [batch, n], of the tokens that a decoder reads: 1 for those that stand in the place of generated ones, which are
    /// those that are a label that counts; 0 for a start token, a prompt and padding. Nil without labels.
    var generatedMask: [Int32]? {
        guard !labels.isEmpty else { return nil }
        // Labels stand where their scores do: the label of a token is that of the position before it.
        return labels.indices.map { place in
            place % targetLength > 0 && labels[place - 1] != Self.ignoredLabel ? 1 : 0
        }
    }

    /// [batch, targetLength], of the tokens that the decoder of an encoder-decoder reads: 0 for padding behind them, where
    /// nothing is to be predicted. Nil where there is none, or it cannot be told from tokens.
    var decoderMask: [Int32]? {
        // Without labels an end token that is the padding, too, may be a token.
        let isKnown = !labels.isEmpty || info.padToken.map { !info.eosTokens.contains($0) } ?? false
        guard info.architecture == .encoderDecoder, isKnown else { return nil }
        let pad = info.padToken ?? 0
        var mask = [Int32](repeating: 1, count: decoderInputIDs.count)
        for row in 0..<count {
            var place = (row + 1) * targetLength - 1
            // The first token stays: a start token may be the padding, too.
            while place > row * targetLength, decoderInputIDs[place] == pad,
                labels.isEmpty || labels[place] == Self.ignoredLabel
            {
                mask[place] = 0
                place -= 1
            }
        }
        return mask.contains(0) ? mask : nil
    }
}
