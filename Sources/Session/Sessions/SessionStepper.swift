import Engine
import Generation
import Support

/// Steps a session's decoder for the search: with the backbone's decoding state where it has one, else by running
/// whole histories. A decoder-only backbone reads the prompts, padded in front, in place of the search's start token.
/// Rows of another stepper may join (`append`).
final class SessionStepper: DecoderStepper {
    private let session: Session
    private let context: Context
    private let state: DecodingState?
    /// What left the encoder.output seam, and its mask; the first is given to the first step, and to all of them without a
    /// state. Owned here, since the context is reset at every step. Nil without an encoder.
    private var encoderHidden: Tensor?
    private var encoderMask: Tensor?
    /// What stands before the tokens, computed once and given to every step.
    private var prefix: Prefix
    /// The prompts of a decoder-only backbone, until the first step has read them.
    private var prompts: Batch?
    private var rows: [Row]
    /// The tokens so far of every row, for a backbone without a state.
    private var histories: [[Int32]]
    private var isFirst = true
    /// Tokens that stand before the generated ones in every row: the prompt's, padding included, or the start token.
    private var givenLength = 1

    /// How far a row is.
    private struct Row {
        /// Before its tokens.
        let padding: Int
        /// Tokens that the decoder has been given.
        var seen = 0
        /// Where its next token stands.
        var end: Int { padding + seen }
    }

    var vocabularySize: Int { session.backbone.info.vocabSize }

    /// - Parameter capacity: the most tokens that will be generated.
    init(session: Session, batch: Batch, capacity: Int) throws {
        self.session = session
        context = session.makeContext(recordsGradients: false)
        prefix = try session.prefix(context, training: false)
        var promptLength = 0
        if session.backbone.info.architecture == .decoderOnly {
            prompts = batch.hasPadding ? try batch.paddedBefore(info: session.backbone.info) : batch
            promptLength = batch.sourceLength
            rows = batch.texts.map { Row(padding: promptLength - $0.count) }
        } else {
            let hidden = try session.encode(context, batch, prefix: prefix, training: false)
            let mask = try session.mask(context, batch)
            encoderHidden = try session.adapt(context, hidden: hidden, mask: mask, training: false)
            encoderMask = mask
            rows = [Row](repeating: Row(padding: 0), count: batch.count)
        }
        state = try session.backbone.makeState(
            session.pass(context), batch: batch.count, capacity: promptLength + capacity)
        histories = state == nil ? [[Int32]](repeating: [], count: batch.count) : []
    }

    func step(tokens: [Int32], into logits: inout [Float]) throws {
        defer { context.reset() }
        let count = tokens.count
        var ids = tokens
        if isFirst { givenLength = prompts?.sourceLength ?? 1 }
        if let prompts {
            ids = prompts.inputIDs
            self.prompts = nil
        }
        for row in rows.indices { rows[row].seen += isFirst ? givenLength - rows[row].padding : 1 }
        if state == nil {
            let length = ids.count / count
            for row in 0..<count { histories[row] += ids[row * length..<(row + 1) * length] }
            ids = histories.flatMap { $0 }
        }
        let length = ids.count / count
        let shape: Shape = [count, length]
        var input = DecoderInput(ids: context.retain(try context.constant(ids, shape)))
        // With a state a step is all given or all generated, else the whole row is read anew.
        let before = isFirst ? length : state == nil ? givenLength : 0
        let marks = (0..<count).flatMap { _ in (0..<length).map { Int32($0 < before ? 0 : 1) } }
        input.generated = context.retain(try context.constant(marks, shape))
        input.encoderMask = encoderMask
        input.prefix = prefix
        if state == nil || isFirst { input.encoderHidden = encoderHidden }
        try place(&input, length: length)
        let scores = try lastLogits(input, length: length)
        isFirst = false
        if state != nil { encoderHidden = nil }
        try context.contiguous(scores).read(rows: 0..<count, of: vocabularySize, into: &logits)
    }

    /// Gives the mask and the positions of the newest `length` tokens, where a row has padding or has seen fewer tokens
    /// than another.
    private func place(_ input: inout DecoderInput, length: Int) throws {
        let end = rows.map(\.end).max() ?? 0
        guard rows.contains(where: { $0.padding > 0 || $0.end < end }) else { return }
        let mask = rows.flatMap { row in (0..<end).map { Int32($0 >= row.padding && $0 < row.end ? 1 : 0) } }
        let positions = rows.flatMap { row in (0..<length).map { Int32(max(row.seen - length + $0, 0)) } }
        input.mask = context.retain(try context.constant(mask, [rows.count, end]))
        input.positions = context.retain(try context.constant(positions, [rows.count, length]))
    }

    /// The scores after the last of `length` tokens, [rows, 1, vocab_size]. The product with the whole vocabulary is
    /// left out at the other positions.
    private func lastLogits(_ input: DecoderInput, length: Int) throws -> Tensor {
        let (backbone, pass) = (session.backbone, session.pass(context))
        guard length > 1, backbone.hasSeparateHead else {
            let logits = try backbone.decode(pass, input, state: state).logits
            return try context.slice(logits, axis: 1, start: length - 1, length: 1)
        }
        let hidden = try backbone.decodeHidden(pass, input, state: state)
        let last = context.retain(try context.slice(hidden, axis: 1, start: length - 1, length: 1))
        return try backbone.head(pass, hidden: last)
    }

    func reorder(rows order: [Int32]) throws {
        defer { context.reset() }
        let index = try context.constant(order, [order.count])
        func selected(_ x: Tensor?) throws -> Tensor? {
            try x.map { try context.indexSelect($0, axis: 0, index: index) }
        }
        prefix = prefix.selecting(rows: order)
        encoderMask = try selected(encoderMask)
        encoderHidden = try selected(encoderHidden)
        rows = order.map { rows[Int($0)] }
        if let state {
            try state.select(session.pass(context), rows: order)
        } else {
            histories = order.map { histories[Int($0)] }
        }
    }

    /// The rows of another stepper of the same session come behind those of this one. Both have taken a step; the other
    /// must not be used any more.
    /// - Throws: `.unsupported` for a backbone whose states take no rows in; after another error neither can be used.
    func append(_ other: SessionStepper) throws {
        defer { context.reset() }
        guard let state, let joining = other.state else { throw session.backbone.cannotJoinRows }
        try state.append(session.pass(context), joining)
        rows += other.rows
        prefix = prefix.followed(by: other.prefix)
        guard let mask = encoderMask, let joiningMask = other.encoderMask else { return }
        let length = max(mask.shape[1], joiningMask.shape[1])
        /// Behind a shorter source than the longest stands padding.
        func padded(_ mask: Tensor) throws -> Tensor {
            let padding = try context.full(0, .i32, [mask.shape[0], length - mask.shape[1]])
            return try context.concat([mask, padding], axis: 1)
        }
        encoderMask = try context.contiguous(try context.concat([try padded(mask), try padded(joiningMask)], axis: 0))
    }
}

extension Tensor {
    /// Copies rows of `width` values into the front of `output`.
    func read(rows: Range<Int>, of width: Int, into output: inout [Float]) throws {
        guard output.count >= rows.count * width else {
            throw SeamError(.shape, "the logits buffer holds \(output.count) values, \(rows.count * width) are needed")
        }
        let source = baseAddress.assumingMemoryBound(to: Float.self)
        output.withUnsafeMutableBufferPointer {
            $0.baseAddress!.update(from: source + rows.lowerBound * width, count: rows.count * width)
        }
    }
}
