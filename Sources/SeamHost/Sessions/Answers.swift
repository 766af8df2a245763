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
        let own = try RoutedBatch(batch, in: self)
        let input = try decoderInput(context, own)
        let length = input?.ids.shape[1] ?? batch.positionCount
        guard positions.count == batch.count, positions.allSatisfy({ $0 >= 0 && $0 < length }) else {
            throw SeamError(
                .invalidArgument,
                "the answer's positions must be \(batch.count) numbers in 0 ..< \(length), found \(positions)")
        }
        // Picked in the order of the pass: what is put back into the caller's is a place of each row, not all of them.
        let places = own.rows.ordered(positions)
        let found: Answers
        if let input, backbone.info.hasHead, !backbone.hasSeparateHead {
            let (logits, hidden) = try backbone.decode(pass(context, rows: own.rows), input)
            found = Answers(hidden: try picked(context, hidden, places), logits: try picked(context, logits, places))
        } else {
            let states =
                try input.map { try backbone.decodeHidden(pass(context, rows: own.rows), $0) }
                ?? textStates(context, own, training: false)
            found = try answers(context, states, places)
        }
        return Answers(
            hidden: try own.rows.restored(found.hidden, in: context),
            logits: try found.logits.map { try own.rows.restored($0, in: context) })
    }

    /// Whether `answers(_:after:_:at:)` can be called.
    public var sharesPrefixes: Bool { backbone.info.architecture == .decoderOnly && backbone.hasState }

    /// The same for rows that begin alike: the tokens of `prefix`, which run once, stand before every row of the batch.
    /// The batch has its padding behind the tokens; positions are counted in it. All rows take one route.
    public func answers(_ context: Context, after prefix: [Int32], _ batch: Batch, at positions: [Int]) throws
        -> Answers
    {
        let own = try RoutedBatch(batch, in: self)
        guard own.rows.slices.count == 1 else {
            throw SeamError(.unsupported, "rows that share their first tokens must take one route")
        }
        // The rows are one while they run the tokens that they share.
        let shared = RowOrder(routes: own.rows.routes)
        let learned = try self.prefix(context, shared, training: false)
        let vectors = promptLengths(shared, .decoder).first ?? 0
        let capacity = vectors + prefix.count + batch.sourceLength
        guard sharesPrefixes, !prefix.isEmpty, !batch.hasPaddingBeforeTokens,
            let state = try backbone.makeState(pass(context), batch: 1, capacity: capacity)
        else {
            throw SeamError(.unsupported, "only a decoder-only backbone with a decoding state shares a prefix")
        }
        let first = context.retain(try context.constant(prefix, [1, prefix.count]))
        _ = try backbone.decodeHidden(
            pass(context, rows: shared), DecoderInput(ids: first, prefix: learned), state: state)
        try state.select(pass(context), rows: [Int32](repeating: 0, count: batch.count))
        var input = try continuation(context, own)
        input.prefix = learned
        let states = try backbone.decodeHidden(pass(context, rows: own.rows), input, state: state)
        return try answers(context, states, positions)
    }

    private func answers(_ context: Context, _ states: Tensor, _ positions: [Int]) throws -> Answers {
        let hidden = try picked(context, states, positions)
        guard backbone.info.hasHead else { return Answers(hidden: hidden, logits: nil) }
        return Answers(hidden: hidden, logits: try backbone.head(pass(context), hidden: hidden))
    }

    /// One position of every row: [batch, length, width] to [batch, width].
    private func picked(_ context: Context, _ x: Tensor, _ positions: [Int]) throws -> Tensor {
        let (count, length) = (x.shape[0], x.shape[1])
        let rows = try context.reshape(x, [count * length, x.shape[2]])
        let index = try context.constant(positions.enumerated().map { Int32($0 * length + $1) }, [count])
        return context.retain(try context.indexSelect(rows, axis: 0, index: index))
    }
}
