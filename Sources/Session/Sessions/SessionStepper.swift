import Engine
import Generation
import Support

/// Steps a session's decoder for the search: with the backbone's decoding state where it has one, else by running
/// whole histories. A decoder-only backbone reads the prompts, padded in front, in place of the search's start token.
///
/// The search has its rows in the caller's order; here they stand in that of their routes (`RowOrder`), which changes with
/// every gather of rows.
final class SessionStepper: DecoderStepper {
    private let session: Session
    private let context: Context
    private let state: DecodingState?
    /// What left the encoder.output seam, and its mask; given to the first step, and to all of them without a state.
    /// Owned here, since the context is reset at every step. Nil without an encoder.
    private var encoderHidden: Tensor?
    private var encoderMask: Tensor?
    /// What stands before the tokens; given as `encoderHidden` is.
    private let prefix: Prefix
    /// The prompts of a decoder-only backbone, until the first step has read them.
    private var prompts: Batch?
    /// Of the target's own tokens, [rows, seen]; nil while no row has padding.
    private var mask: Tensor?
    /// Tokens of each row that are not padding, where `mask` is not nil.
    private var counts: [Int32] = []
    /// The tokens so far of every row, for a backbone without a state.
    private var histories: [[Int32]]
    private var isFirst = true
    /// The route of each row of the search, and how the rows stand here.
    private var routes: [Int]
    private var order: RowOrder
    /// Tokens that stand before the generated ones in every row: the prompt's, padding included, or the start token.
    private var givenLength = 1

    var vocabularySize: Int { session.backbone.info.vocabSize }

    /// - Parameter capacity: the most tokens that will be generated.
    init(session: Session, batch: Batch, capacity: Int) throws {
        self.session = session
        context = session.makeContext(recordsGradients: false)
        routes = try session.routeIndices(of: batch)
        let own = try RoutedBatch(batch, in: session)
        let batch = own.batch
        order = own.rows
        prefix = try session.prefix(context, own.rows)
        var promptLength = 0
        if session.backbone.info.architecture == .decoderOnly {
            let prompts = batch.hasPadding ? try batch.paddedBefore(info: session.backbone.info) : batch
            self.prompts = prompts
            promptLength = prompts.sourceLength
            if batch.hasPadding {
                mask = try context.constant(prompts.attentionMask, [batch.count, promptLength])
                counts = (0..<batch.count).map { row in
                    prompts.attentionMask[row * promptLength..<(row + 1) * promptLength].reduce(0, +)
                }
            }
        } else {
            let hidden = try session.encode(context, own, prefix: prefix, training: false)
            let mask = try session.encodedMask(context, own)
            encoderHidden = try session.adapt(context, own.rows, hidden: hidden, mask: mask, training: false)
            encoderMask = mask
        }
        let vectors = session.promptLengths(order, .decoder).max() ?? 0
        let length = prefix.lengths[PrefixAttention.decoder.rawValue] + vectors + promptLength + capacity
        state = try session.backbone.makeState(session.pass(context), batch: batch.count, capacity: length)
        histories = state == nil ? [[Int32]](repeating: [], count: batch.count) : []
    }

    func step(tokens: [Int32], into logits: inout [Float]) throws {
        defer { context.reset() }
        let rows = tokens.count
        var ids = order.ordered(tokens)
        if isFirst { givenLength = prompts?.sourceLength ?? 1 }
        if let prompts {
            ids = prompts.inputIDs
            self.prompts = nil
        } else if let old = mask {
            let ones = try context.full(1, .i32, [rows, 1])
            mask = try context.contiguous(try context.concat([old, ones], axis: 1))
            for row in counts.indices { counts[row] += 1 }
        }
        if state == nil {
            let length = ids.count / rows
            for row in 0..<rows { histories[row] += ids[row * length..<(row + 1) * length] }
            ids = histories.flatMap { $0 }
        }
        let length = ids.count / rows
        let shape: Shape = [rows, length]
        var input = DecoderInput(ids: context.retain(try context.constant(ids, shape)))
        // With a state a step is all given or all generated, else the whole row is read anew.
        let before = isFirst ? length : state == nil ? givenLength : 0
        let marks = (0..<rows).flatMap { _ in (0..<length).map { Int32($0 < before ? 0 : 1) } }
        input.generated = context.retain(try context.constant(marks, shape))
        input.encoderMask = encoderMask
        if state == nil || isFirst { (input.encoderHidden, input.prefix) = (encoderHidden, prefix) }
        if let mask {
            input.mask = mask
            let positions = counts.flatMap { count in (0..<Int32(length)).map { max(count - Int32(length) + $0, 0) } }
            input.positions = context.retain(try context.constant(positions, shape))
        }
        let scores = try lastLogits(input, length: length)
        if isFirst, state != nil { try rememberPrompts(rows, length) }
        isFirst = false
        let ownScores = try context.contiguous(scores)
        guard let places = order.places else { return try ownScores.read(rows: 0..<rows, of: vocabularySize, into: &logits) }
        for (row, place) in places.enumerated() {
            try ownScores.read(rows: place..<place + 1, of: vocabularySize, into: &logits, at: row)
        }
    }

    /// A state that has read a first step of `length` tokens has seen what adapters put before them, too.
    private func rememberPrompts(_ rows: Int, _ length: Int) throws {
        let own = session.promptLengths(order, .decoder)
        guard let before = try session.promptMask(context, order, .decoder) else { return }
        // Where all rows are alike, positions are counted from what the state has seen.
        guard mask != nil || own.contains(where: { $0 != own[0] }) else { return }
        let tokens = try mask ?? context.full(1, .i32, [rows, length])
        if counts.isEmpty { counts = own.map { _ in Int32(length) } }
        mask = try context.contiguous(try context.concat([before, tokens], axis: 1))
        counts = zip(counts, own).map { $0 + Int32($1) }
    }

    /// The scores after the last of `length` tokens, [rows, 1, vocab_size]. The product with the whole vocabulary is
    /// left out at the other positions.
    private func lastLogits(_ input: DecoderInput, length: Int) throws -> Tensor {
        let (backbone, pass) = (session.backbone, session.pass(context, rows: order))
        guard length > 1, backbone.hasSeparateHead else {
            let logits = try backbone.decode(pass, input, state: state).logits
            return try context.slice(logits, axis: 1, start: length - 1, length: 1)
        }
        let hidden = try backbone.decodeHidden(pass, input, state: state)
        let last = context.retain(try context.slice(hidden, axis: 1, start: length - 1, length: 1))
        return try backbone.head(pass, hidden: last)
    }

    func reorder(rows requested: [Int32]) throws {
        defer { context.reset() }
        let old = order
        routes = requested.map { routes[Int($0)] }
        order = RowOrder(routes: routes)
        let rows = order.ordered(requested).map { Int32(old.row(ofCallers: Int($0))) }
        let index = try context.constant(rows, [rows.count])
        func selected(_ x: Tensor?) throws -> Tensor? {
            try x.map { try context.indexSelect($0, axis: 0, index: index) }
        }
        encoderMask = try selected(encoderMask)
        mask = try selected(mask)
        if !counts.isEmpty { counts = rows.map { counts[Int($0)] } }
        if state == nil || isFirst { encoderHidden = try selected(encoderHidden) }
        if let state {
            try state.select(session.pass(context), rows: rows)
        } else {
            histories = rows.map { histories[Int($0)] }
        }
    }
}

extension Tensor {
    /// Copies rows of `width` values into `output`, from its row `start` on.
    func read(rows: Range<Int>, of width: Int, into output: inout [Float], at start: Int = 0) throws {
        guard output.count >= (start + rows.count) * width else {
            throw SeamError(
                .shape,
                "the logits buffer holds \(output.count) values, \((start + rows.count) * width) are needed")
        }
        let source = baseAddress.assumingMemoryBound(to: Float.self)
        output.withUnsafeMutableBufferPointer {
            ($0.baseAddress! + start * width).update(from: source + rows.lowerBound * width, count: rows.count * width)
        }
    }
}
