import CSeam
import Engine
import Generation
import Support

/// A backbone with adapters on its seams, run together. One thread per session.
public final class Session {
    public let backbone: Backbone
    /// In the order in which they run, on each seam.
    public private(set) var adapters: [Adapter] = []
    public var runtime: Runtime { backbone.runtime }

    public init(backbone: Backbone) { self.backbone = backbone }

    // MARK: Adapters

    /// Attaches an adapter at a position among those attached (the end when nil).
    /// - Throws: when it is attached already, or was made for a backbone of another shape.
    public func attach(_ adapter: Adapter, at position: Int? = nil) throws {
        guard !adapters.contains(where: { $0 === adapter }) else {
            throw SeamError(.alreadyExists, "adapter \"\(adapter.factory.id)\" is already attached")
        }
        guard adapter.site.dModel == backbone.info.dModel else {
            throw SeamError(
                .incompatible,
                "adapter \"\(adapter.factory.id)\" was made for d_model \(adapter.site.dModel), this backbone has \(backbone.info.dModel)")
        }
        guard adapter.seam != SEAM_DECODER_OUTPUT else {
            throw SeamError(
                .unsupported,
                "adapter \"\(adapter.factory.id)\" is on decoder.output, the seam of a classification: it is run on features, not attached to a session")
        }
        guard backbone.info.seams.contains(adapter.seam) else {
            throw SeamError(.unsupported, "the backbone has no seam \"\(adapter.seam)\"")
        }
        let index = position ?? adapters.count
        guard index >= 0, index <= adapters.count else {
            throw SeamError(.invalidArgument, "position must be 0 ... \(adapters.count), found \(index)")
        }
        adapters.insert(adapter, at: index)
    }

    /// Removes an adapter; the backbone then computes exactly what it did before it was attached.
    public func detach(_ adapter: Adapter) throws {
        guard let index = adapters.firstIndex(where: { $0 === adapter }) else {
            throw SeamError(.notFound, "adapter \"\(adapter.factory.id)\" is not attached")
        }
        adapters.remove(at: index)
    }

    /// Moves an attached adapter to another position.
    public func move(_ adapter: Adapter, to position: Int) throws {
        guard let index = adapters.firstIndex(where: { $0 === adapter }) else {
            throw SeamError(.notFound, "adapter \"\(adapter.factory.id)\" is not attached")
        }
        guard position >= 0, position < adapters.count else {
            throw SeamError(.invalidArgument, "position must be 0 ... \(adapters.count - 1), found \(position)")
        }
        adapters.insert(adapters.remove(at: index), at: position)
    }

    /// Everything that training updates: the adapters' parameters, and the backbone's if it is unfrozen.
    public var variables: [Variable] {
        adapters.flatMap(\.parameters.variables) + backbone.parameters.variables
    }

    // MARK: Forward

    public func makeContext(recordsGradients: Bool) -> Context {
        Context(pool: runtime.pool, recordsGradients: recordsGradients)
    }

    /// What the backbone's encoder gives, before any adapter: [batch, source, d_model].
    public func encode(_ context: Context, _ batch: Batch, training: Bool = false) throws -> Tensor {
        guard backbone.info.architecture != .decoderOnly else {
            throw SeamError(.unsupported, "the backbone has no encoder")
        }
        guard backbone.info.architecture != .text else { throw queriesOnly }
        let shape: Shape = [batch.count, batch.sourceLength]
        let ids = context.retain(try context.constant(batch.inputIDs, shape))
        let types = try batch.tokenTypeIDs.map { context.retain(try context.constant($0, shape)) }
        return try backbone.encode(
            context, inputIDs: ids, mask: try mask(context, batch), tokenTypes: types, training: training)
    }

    private var queriesOnly: SeamError {
        SeamError(.unsupported, "backbone \"\(backbone.factory.id)\" reads text and answers queries only")
    }

    private func mask(_ context: Context, _ batch: Batch) throws -> Tensor {
        context.retain(try context.constant(batch.attentionMask, [batch.count, batch.sourceLength]))
    }

    /// Runs the adapters of `encoder.output`.
    func adapt(_ context: Context, hidden: Tensor, mask: Tensor, training: Bool) throws -> Tensor {
        var current = hidden
        for adapter in adapters where adapter.seam == SEAM_ENCODER_OUTPUT {
            current = try adapter.forward(
                context, inputs: [current, mask], expected: [current.shape], training: training)[0]
        }
        return current
    }

    /// What leaves the `encoder.output` seam, adapters applied: [batch, source, d_model], alive as long as the context.
    public func encodeAdapted(_ context: Context, _ batch: Batch, training: Bool = false) throws -> Tensor {
        let hidden = try encode(context, batch, training: training)
        return try adapt(context, hidden: hidden, mask: try mask(context, batch), training: training)
    }

    /// One vector for each source, of what leaves the `encoder.output` seam: [batch, d_model], alive as long as the
    /// context.
    /// - Throws: `.unsupported` for a backbone that has no such vector.
    public func pool(_ context: Context, _ batch: Batch) throws -> Tensor {
        let hidden = try encodeAdapted(context, batch)
        return try backbone.pool(context, hidden: hidden, mask: try mask(context, batch), training: false)
    }

    /// Teacher-forced scores of a batch with targets; for a backbone that is not an encoder-decoder, the scores at
    /// every position of its source.
    /// - Parameter encoded: the encoder's output, when a cache has it; else the encoder runs.
    /// - Returns: logits [batch, target, vocab_size] and the hidden states that the head reads [batch, target, d_model],
    ///   alive as long as the context. Without an encoder and a decoder, target is the source's length.
    public func forward(_ context: Context, _ batch: Batch, encoded: Tensor? = nil, training: Bool = false) throws
        -> (logits: Tensor, hidden: Tensor)
    {
        guard backbone.info.architecture != .encoderDecoder || batch.targetLength > 0 else {
            throw SeamError(.invalidArgument, "the batch has no targets: give labels or decoder_input_ids")
        }
        if let input = try decoderInput(context, batch, encoded: encoded, training: training) {
            return try backbone.decode(context, input, training: training)
        }
        let hidden = try encodeAdapted(context, batch, training: training)
        return (try backbone.head(context, hidden: hidden, training: training), hidden)
    }

    /// What the decoder reads of a batch, adapters of `encoder.output` applied; nil without a decoder.
    /// - Parameter encoded: the encoder's output, when a cache has it; else the encoder runs.
    func decoderInput(_ context: Context, _ batch: Batch, encoded: Tensor? = nil, training: Bool = false) throws
        -> DecoderInput?
    {
        switch backbone.info.architecture {
        case .encoderDecoder:
            let hidden = try encoded ?? encode(context, batch, training: training)
            let mask = try mask(context, batch)
            let adapted = try adapt(context, hidden: hidden, mask: mask, training: training)
            let ids = context.retain(try context.constant(batch.decoderInputIDs, [batch.count, batch.targetLength]))
            return DecoderInput(ids: ids, encoderHidden: adapted, encoderMask: mask)
        case .decoderOnly: return try continuation(context, batch)
        case .encoderOnly: return nil
        case .text: throw queriesOnly
        }
    }

    /// What a decoder-only backbone reads of a batch.
    func continuation(_ context: Context, _ batch: Batch) throws -> DecoderInput {
        let shape: Shape = [batch.count, batch.sourceLength]
        var input = DecoderInput(ids: context.retain(try context.constant(batch.inputIDs, shape)))
        // Under a causal mask padding behind the text is seen by nobody.
        guard batch.hasPaddingBeforeTokens else { return input }
        input.mask = try mask(context, batch)
        input.positions = context.retain(try context.constant(batch.positionIDs, shape))
        return input
    }

    /// What scoring tells of one example.
    public struct Score: Sendable, Equatable {
        /// Sum of the natural logarithms of the labels' probabilities.
        public let logProbability: Double
        /// Labels that count.
        public let tokenCount: Int
        /// How many of them are the model's first choice, given the labels before.
        public let correctCount: Int
    }

    /// Teacher-forced scores of every example of a batch with labels.
    public func score(_ batch: Batch, encoded: Tensor? = nil) throws -> [Score] {
        let context = makeContext(recordsGradients: false)
        let logits = try forward(context, batch, encoded: encoded).logits
        guard batch.labels.count == batch.count * batch.targetLength else {
            throw SeamError(.invalidArgument, "scoring needs labels")
        }
        let targets = try context.constant(batch.labels, [batch.count, batch.targetLength])
        let losses = try context.crossEntropy(
            logits, targets: targets, ignoreIndex: Batch.ignoredLabel, labelSmoothing: 0, reduction: .none
        ).floats
        let best = try context.argmax(logits, axis: -1, keep: false).integers
        return (0..<batch.count).map { row in
            var (sum, count, correct) = (0.0, 0, 0)
            for column in row * batch.targetLength..<(row + 1) * batch.targetLength
            where batch.labels[column] != Batch.ignoredLabel {
                sum -= Double(losses[column])
                count += 1
                if best[column] == batch.labels[column] { correct += 1 }
            }
            return Score(logProbability: sum, tokenCount: count, correctCount: correct)
        }
    }

    // MARK: Generation

    /// Options with the token ids of the backbone and of its generation_config.json filled in.
    public func defaultGenerationOptions() throws -> GenerationOptions {
        try GenerationDefaults.options(for: backbone)
    }

    /// Generates targets for the sources of a batch; for a decoder-only backbone, continuations of them.
    /// - Parameter shouldContinue: asked before every step; false stops with `.cancelled`.
    public func generate(
        _ batch: Batch, options: GenerationOptions, shouldContinue: (Int) -> Bool = { _ in true }
    ) throws -> [[GeneratedSequence]] {
        let info = backbone.info
        try info.requireDecoder()
        let isContinuation = info.architecture == .decoderOnly
        guard !isContinuation || (options.repetitionPenalty == 1 && options.noRepeatNgramSize == 0) else {
            throw SeamError(
                .unsupported, "repetition_penalty and no_repeat_ngram_size are not offered for decoder-only backbones")
        }
        let limit = info.maxTargetPositions - (isContinuation ? batch.sourceLength : 0)
        guard info.maxTargetPositions == 0 || options.maxNewTokens <= limit else {
            let room = isContinuation ? "\(limit) positions, which the prompts leave of the backbone's \(info.maxTargetPositions)"
                : "the backbone's \(limit) target positions"
            throw SeamError(
                .invalidArgument, "max_new_tokens must be at most \(room), found \(options.maxNewTokens)")
        }
        let stepper = try SessionStepper(session: self, batch: batch, capacity: options.maxNewTokens)
        return try Generation.generate(
            stepper: stepper, batch: batch.count, options: options, shouldContinue: shouldContinue)
    }
}
