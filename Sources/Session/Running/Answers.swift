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
        guard let positions else {
            let hidden = try encodeAdapted(context, batch)
            let mask = context.retain(try context.constant(batch.attentionMask, [batch.count, batch.sourceLength]))
            return Answers(hidden: try backbone.pool(context, hidden: hidden, mask: mask, training: false), logits: nil)
        }
        let length: Int
        let states: Tensor
        switch backbone.info.architecture {
        case .encoderDecoder:
            length = batch.targetLength
            let mask = context.retain(try context.constant(batch.attentionMask, [batch.count, batch.sourceLength]))
            let ids = context.retain(try context.constant(batch.decoderInputIDs, [batch.count, length]))
            states = try backbone.decodeHidden(
                context, DecoderInput(ids: ids, encoderHidden: try encodeAdapted(context, batch), encoderMask: mask),
                training: false)
        case .decoderOnly:
            length = batch.sourceLength
            states = try backbone.decodeHidden(context, try decoderInput(context, batch), training: false)
        case .encoderOnly:
            length = batch.sourceLength
            states = try encodeAdapted(context, batch)
        case .text:
            throw SeamError(.unsupported, "the backbone reads text: it has no positions")
        }
        guard positions.count == batch.count, positions.allSatisfy({ $0 >= 0 && $0 < length }) else {
            throw SeamError(
                .invalidArgument, "the answer's positions must be \(batch.count) numbers in 0 ..< \(length), found \(positions)")
        }
        let rows = try context.reshape(states, [batch.count * length, backbone.info.dModel])
        let index = try context.constant(positions.enumerated().map { Int32($0 * length + $1) }, [batch.count])
        let hidden = context.retain(try context.indexSelect(rows, axis: 0, index: index))
        guard backbone.info.hasHead else { return Answers(hidden: hidden, logits: nil) }
        return Answers(hidden: hidden, logits: try backbone.head(context, hidden: hidden, training: false))
    }
}
