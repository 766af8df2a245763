import Engine
import Generation
import Support

/// Steps a session's decoder for the search: with the backbone's decoding state where it has one, else by running
/// whole histories. A decoder-only backbone reads the prompts, padded in front, in place of the search's start token.
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
    /// How many vectors adapters put before the target.
    private let vectors: Int
    /// The prompts of a decoder-only backbone, until the first step has read them.
    private var prompts: Batch?
    /// Of the target's own tokens, [rows, seen]; nil while no row has padding.
    private var mask: Tensor?
    /// Tokens of each row that are not padding, where `mask` is not nil.
    private var counts: [Int32] = []
    /// The tokens so far of every row, for a backbone without a state.
    private var histories: [[Int32]]
    private var isFirst = true
    /// Tokens that stand before the generated ones in every row: the prompt's, padding included, or the start token.
    private var givenLength = 1

    var vocabularySize: Int { session.backbone.info.vocabSize }

    /// - Parameter capacity: the most tokens that will be generated.
    init(session: Session, batch: Batch, capacity: Int) throws {
        self.session = session
        context = session.makeContext(recordsGradients: false)
        prefix = try session.prefix(context, training: false)
        vectors = session.promptLength[Int(Stack.decoder.rawValue)]
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
            let hidden = try session.encode(context, batch, prefix: prefix, training: false)
            let mask = try session.encodedMask(context, batch)
            encoderHidden = try session.adapt(context, hidden: hidden, mask: mask, training: false)
            encoderMask = mask
        }
        let before = prefix.lengths[PrefixAttention.decoder.rawValue] + vectors
        let length = before + promptLength + capacity
        state = try session.backbone.makeState(session.pass(context), batch: batch.count, capacity: length)
        histories = state == nil ? [[Int32]](repeating: [], count: batch.count) : []
    }

    func step(tokens: [Int32], into logits: inout [Float]) throws {
        defer { context.reset() }
        let rows = tokens.count
        var ids = tokens
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
        if isFirst, state != nil, vectors > 0, let old = mask {
            // The state has seen them from here on.
            let ones = try context.full(1, .i32, [rows, vectors])
            mask = try context.contiguous(try context.concat([ones, old], axis: 1))
            for row in counts.indices { counts[row] += Int32(vectors) }
        }
        isFirst = false
        try context.contiguous(scores).read(rows: 0..<rows, of: vocabularySize, into: &logits)
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

    func reorder(rows: [Int32]) throws {
        defer { context.reset() }
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
