import Support

// Sources that are features, frames of numbers, in the place of token ids.
extension BackboneInfo {
    /// Whether sources are features; else they are token ids.
    public var readsFeatures: Bool { featureWidth > 0 }

    /// How many positions of hidden states a source of some tokens or frames has.
    func positions(ofSource length: Int) -> Int {
        readsFeatures ? length / featureStride + (length % featureStride == 0 ? 0 : 1) : length
    }

    /// The mask of tokens or frames, [rows, length], at the hidden states: of features that of each group's first frame.
    func positionMask(_ mask: [Int32], rows: Int, length: Int) -> [Int32] {
        guard readsFeatures, featureStride > 1 else { return mask }
        return (0..<rows).flatMap { row in
            stride(from: row * length, to: (row + 1) * length, by: featureStride).map { mask[$0] }
        }
    }

    /// Throws for features that are not numbers, and for rows without a hidden state that counts.
    /// - Parameter mask: [rows, length], of frames.
    func checkFeatures(_ features: [Float], mask: [Int32], rows: Int, length: Int) throws {
        let size = length * featureWidth
        guard features.count == rows * size else {
            throw SeamError(
                .shape,
                "input_features must hold \(rows) x \(length) x \(featureWidth) values, found \(features.count)")
        }
        if let index = features.firstIndex(where: { !$0.isFinite }) {
            throw SeamError(
                .numeric,
                "input_features: expected numbers, found NaN or infinity in row \(index / size), frame \(index % size / featureWidth)"
            )
        }
        let (counted, positions) = (positionMask(mask, rows: rows, length: length), positions(ofSource: length))
        for row in 0..<rows where !counted[row * positions..<(row + 1) * positions].contains(1) {
            throw SeamError(
                .invalidArgument,
                "attention_mask hides every position of row \(row): of each \(featureStride) frames, the backbone's feature_stride, the first one's mask counts"
            )
        }
    }

    /// Throws unless a source is given as the backbone reads it.
    func requireSource(hasTokens: Bool, hasFeatures: Bool) throws {
        guard hasTokens != readsFeatures, hasFeatures == readsFeatures else {
            let wanted = "give \(readsFeatures ? "input_features of [batch, frames, \(featureWidth)]" : "input_ids")"
            let found =
                switch (hasTokens, hasFeatures) {
                case (true, true): "found both"
                case (true, false): "found input_ids"
                case (false, true): "found input_features"
                case (false, false): "found neither"
                }
            throw SeamError(
                .invalidArgument,
                "sources of this backbone are \(readsFeatures ? "features" : "token ids"): \(wanted) alone, \(found)")
        }
    }
}

extension Batch {
    /// Positions of the encoder's hidden states.
    public var positionCount: Int { info.positions(ofSource: sourceLength) }

    /// [batch, positionCount]: the source's mask at the hidden states.
    public var positionMask: [Int32] { info.positionMask(attentionMask, rows: count, length: sourceLength) }
}
