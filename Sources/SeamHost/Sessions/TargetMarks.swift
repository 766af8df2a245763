// What teacher forcing tells of a decoder's tokens, for adapters inside its layers.
extension Batch {
    /// [batch, n], of the tokens that a decoder reads: 1 for those that stand in the place of generated ones, which are
    /// those that are a label that counts; 0 for a start token, a prompt and padding. Nil without labels.
    package var generatedMask: [Int32]? {
        guard !labels.isEmpty else { return nil }
        let mask = decoderMask
        // Labels stand where their scores do: the label of a token is that of the position before it.
        return labels.indices.map { place in
            guard place % targetLength > 0, labels[place - 1] != Self.ignoredLabel else { return 0 }
            return mask?[place] ?? 1
        }
    }

    /// [batch, targetLength], of the tokens that the decoder of an encoder-decoder reads: 0 for padding behind them, where
    /// nothing is to be predicted. Nil where there is none.
    ///
    /// Labels say where a row ends: behind its last one the decoder would read that label, which it is not given when
    /// the row is alone. Ids without labels end where padding begins; an end token may be the padding, too, and then the
    /// first of these stays.
    package var decoderMask: [Int32]? {
        guard info.architecture == .encoderDecoder else { return nil }
        var mask = [Int32](repeating: 1, count: decoderInputIDs.count)
        for row in 0..<count {
            let places = row * targetLength..<(row + 1) * targetLength
            for place in end(of: places)..<places.upperBound { mask[place] = 0 }
        }
        return mask.contains(0) ? mask : nil
    }

    /// Behind the last token of a row. The first one stays in any case: a start token may be the padding, too.
    private func end(of places: Range<Int>) -> Int {
        let isUnlabelled = { labels.isEmpty || labels[$0] == Self.ignoredLabel }
        if shiftsLabels { return (places.last { !isUnlabelled($0) } ?? places.lowerBound) + 1 }
        guard let pad = info.padToken else { return places.upperBound }
        let last = places.last { decoderInputIDs[$0] != pad || !isUnlabelled($0) } ?? places.lowerBound
        let hasEnd = labels.isEmpty && info.eosTokens.contains(pad) && last + 1 < places.upperBound
        return last + (hasEnd ? 2 : 1)
    }
}
