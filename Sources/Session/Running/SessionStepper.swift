import Engine
import Generation
import Support

/// Steps a session's decoder for the search: with the backbone's decoding state where it has one, else by running
/// whole prefixes.
final class SessionStepper: DecoderStepper {
    private let session: Session
    private let context: Context
    private let state: DecodingState?
    private let capacity: Int
    /// What left the seam, and its mask; given to the first step, and to all of them without a state. Owned here, since
    /// the context is reset at every step.
    private var encoderHidden: Tensor
    private var mask: Tensor
    /// The tokens so far of every row, for a backbone without a state.
    private var prefixes: [[Int32]]
    private var isFirst = true

    var vocabularySize: Int { session.backbone.info.vocabSize }

    init(session: Session, batch: Batch, capacity: Int) throws {
        self.session = session
        self.capacity = capacity
        context = session.makeContext(recordsGradients: false)
        let hidden = try session.encode(context, batch)
        mask = try context.constant(batch.attentionMask, [batch.count, batch.sourceLength])
        encoderHidden = try session.adapt(context, hidden: hidden, mask: mask, training: false)
        state = try session.backbone.makeState(context, batch: batch.count, capacity: capacity)
        prefixes = state == nil ? [[Int32]](repeating: [], count: batch.count) : []
    }

    func step(tokens: [Int32], into logits: inout [Float]) throws {
        defer { context.reset() }
        let vocabulary = vocabularySize
        if let state {
            let ids = context.retain(try context.constant(tokens, [tokens.count, 1]))
            let result = try session.backbone.decode(
                context, decoderInputIDs: ids, encoderHidden: isFirst ? encoderHidden : nil, mask: mask, state: state,
                training: false)
            isFirst = false
            try context.contiguous(result.logits).read(rows: 0..<tokens.count, every: 1, of: vocabulary, into: &logits)
        } else {
            for (row, token) in tokens.enumerated() { prefixes[row].append(token) }
            let length = prefixes[0].count
            let ids = context.retain(try context.constant(prefixes.flatMap { $0 }, [tokens.count, length]))
            let result = try session.backbone.decode(
                context, decoderInputIDs: ids, encoderHidden: encoderHidden, mask: mask, training: false)
            try context.contiguous(result.logits)
                .read(rows: 0..<tokens.count, every: length, of: vocabulary, into: &logits)
        }
    }

    func reorder(rows: [Int32]) throws {
        defer { context.reset() }
        let index = try context.constant(rows, [rows.count])
        mask = try context.indexSelect(mask, axis: 0, index: index)
        if let state, !isFirst {
            try state.select(context, rows: rows)
        } else {
            // Nothing has been stored yet, or nothing ever is.
            encoderHidden = try context.indexSelect(encoderHidden, axis: 0, index: index)
            if let state { try state.select(context, rows: rows) }
        }
        if state == nil { prefixes = rows.map { prefixes[Int($0)] } }
    }
}

extension Tensor {
    /// Copies the last of every `length` rows of `width` values into the front of `output`, for each of `rows`.
    func read(rows: Range<Int>, every length: Int, of width: Int, into output: inout [Float]) throws {
        guard output.count >= rows.count * width else {
            throw SeamError(.shape, "the logits buffer holds \(output.count) values, \(rows.count * width) are needed")
        }
        let source = baseAddress.assumingMemoryBound(to: Float.self)
        output.withUnsafeMutableBufferPointer { output in
            for row in rows {
                (output.baseAddress! + row * width).update(
                    from: source + (row * length + length - 1) * width, count: width)
            }
        }
    }
}
