import Files

/// What a row of a batch holds, told apart by two hashes: among a billion examples two others are taken for one with a
/// chance of 1 to 10^20.
struct RowContent: Hashable {
    private let first, second: UInt64

    /// Of pieces that `add` is given one after the other.
    fileprivate init(_ body: (_ add: (UnsafeRawBufferPointer) -> Void) -> Void) {
        var hashes = (ContentHash(), ContentHash())
        hashes.1.update(1)
        body { piece in
            hashes.0.update(piece.count)
            hashes.1.update(piece.count)
            hashes.0.update(piece)
            hashes.1.update(piece)
        }
        (first, second) = (hashes.0.value, hashes.1.value)
    }
}

extension Batch {
    /// The number of positions of hidden states up to the last one of a row that counts.
    func positionCount(row: Int) -> Int {
        let mask = positionMask[row * positionCount..<(row + 1) * positionCount]
        return (mask.lastIndex(of: 1) ?? mask.startIndex) - mask.startIndex + 1
    }

    /// The number of tokens up to the last one of each row that the decoder of an encoder-decoder reads.
    var targetCounts: [Int] {
        let mask = decoderMask
        return (0..<count).map { row in
            guard let mask else { return targetLength }
            let places = row * targetLength..<(row + 1) * targetLength
            return (mask[places].lastIndex(of: 1) ?? places.lowerBound) - places.lowerBound + 1
        }
    }

    /// What each row holds without the padding behind it: all that what flows through a frozen model depends on.
    var contents: [RowContent] {
        let targets = info.architecture == .encoderDecoder ? targetCounts : nil
        return (0..<count).map { row in
            let source = attentionMask[row * sourceLength..<(row + 1) * sourceLength]
            let length = (source.lastIndex(of: 1) ?? source.startIndex) - source.startIndex + 1
            let labelled = targets?[row] ?? min(info.positions(ofSource: length), targetLength)
            let features = max(info.featureWidth, 1)
            return RowContent { add in
                /// The first values of the row, of `width` each.
                func addRow<Value>(of values: [Value], _ width: Int, first count: Int) {
                    let size = MemoryLayout<Value>.stride
                    values.withUnsafeBytes { all in
                        let start = row * width * size
                        add(
                            UnsafeRawBufferPointer(rebasing: all.isEmpty ? all[...] : all[start..<start + count * size])
                        )
                    }
                }
                addRow(of: inputIDs, sourceLength, first: length)
                addRow(of: inputFeatures, sourceLength * features, first: length * features)
                addRow(of: attentionMask, sourceLength, first: length)
                addRow(of: tokenTypeIDs ?? [], sourceLength, first: length)
                addRow(of: decoderInputIDs, targetLength, first: labelled)
                addRow(of: labels, targetLength, first: labelled)
                var route = routes.isEmpty ? "" : routes[row] ?? ""
                route.withUTF8 { add(UnsafeRawBufferPointer($0)) }
            }
        }
    }
}
