import Engine
import Support

/// What a backbone says at the place of an answer.
public struct Answers {
    /// [batch, d_model]: its hidden state there, or the pooled vector of a backbone without a head.
    public let hidden: Tensor
    /// [batch, vocab_size]: its scores of the vocabulary there; nil for a backbone without a head.
    public let logits: Tensor?
}

extension Session {
    /// Hidden states and scores at one place of every row, without the scores of the other places.
    /// - Parameter positions: for each row an index into its target for an encoder-decoder, else into its source; nil for
    ///   the pooled vectors of an encoder-only backbone.
    /// - Returns: tensors alive as long as the context.
    /// - Throws: `.invalidArgument` for a position outside the row, `.unsupported` for positions in a backbone that reads
    ///   text by itself.
    public func answers(_ context: Context, _ batch: Batch, at positions: [Int]?) throws -> Answers {
        guard let positions else { return Answers(hidden: try pool(context, batch), logits: nil) }
        let input = try self.input(context, batch)
        let length = input?.ids.shape[1] ?? batch.sourceLength
        guard positions.count == batch.count, positions.allSatisfy({ $0 >= 0 && $0 < length }) else {
            throw SeamError(
                .invalidArgument, "the answer's positions must be \(batch.count) numbers in 0 ..< \(length), found \(positions)")
        }
        let index = try context.constant(positions.enumerated().map { Int32($0 * length + $1) }, [batch.count])
        func picked(_ x: Tensor) throws -> Tensor {
            let rows = try context.reshape(x, [batch.count * length, x.shape[2]])
            return context.retain(try context.indexSelect(rows, axis: 0, index: index))
        }
        if let input, backbone.info.hasHead, !backbone.hasSeparateHead {
            let (logits, hidden) = try backbone.decode(context, input, training: false)
            return Answers(hidden: try picked(hidden), logits: try picked(logits))
        }
        let states = try input.map { try backbone.decodeHidden(context, $0, training: false) }
            ?? encodeAdapted(context, batch)
        let hidden = try picked(states)
        guard backbone.info.hasHead else { return Answers(hidden: hidden, logits: nil) }
        return Answers(hidden: hidden, logits: try backbone.head(context, hidden: hidden, training: false))
    }

    /// What the decoder reads of a batch; nil without a decoder.
    private func input(_ context: Context, _ batch: Batch) throws -> DecoderInput? {
        switch backbone.info.architecture {
        case .encoderDecoder:
            let mask = context.retain(try context.constant(batch.attentionMask, [batch.count, batch.sourceLength]))
            let ids = context.retain(try context.constant(batch.decoderInputIDs, [batch.count, batch.targetLength]))
            return DecoderInput(ids: ids, encoderHidden: try encodeAdapted(context, batch), encoderMask: mask)
        case .decoderOnly: return try decoderInput(context, batch)
        case .encoderOnly: return nil
        case .text: throw SeamError(.unsupported, "the backbone reads text: it has no positions")
        }
    }
}
