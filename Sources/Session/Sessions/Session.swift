import CSeam
import Engine
import Generation
import Support

/// A backbone with adapters on its seams, run together. One thread per session.
public final class Session {
    public let backbone: Backbone
    /// In the order in which they run, on each seam.
    public private(set) var adapters: [Adapter] = []
    /// Tokens of the attached prefixes, by `PrefixAttention`: what an adapter that is attached next is made for.
    public private(set) var prefixLength = [0, 0, 0]
    /// The adapters inside the backbone's layers; nil without one.
    private var visitor: Visitor?
    /// Adapters that are computed into the weights.
    private(set) var merged: Set<ObjectIdentifier> = []
    /// What stands in for the backbone's parameters in this session, by their index.
    private var replaced: [Int: Tensor] = [:]
    /// The most scores of the vocabulary that a loss makes at once: 64 MiB.
    var scoresAtOnce = 1 << 24
    public var runtime: Runtime { backbone.runtime }

    public init(backbone: Backbone) { self.backbone = backbone }

    // MARK: Adapters

    /// Attaches an adapter at a position among those attached (the end when nil).
    /// - Throws: when it is attached already, or was made for a backbone of another shape.
    public func attach(_ adapter: Adapter, at position: Int? = nil) throws {
        guard !adapters.contains(where: { $0 === adapter }) else {
            throw SeamError(.alreadyExists, "adapter \"\(adapter.factory.id)\" is already attached")
        }
        try requireSameShape(adapter)
        guard adapter.seam != SEAM_DECODER_OUTPUT || backbone.info.architecture == .encoderOnly else {
            throw SeamError(
                .unsupported,
                "adapter \"\(adapter.factory.id)\" is on decoder.output: with a backbone that is not encoder-only it is run on features, not attached to a session"
            )
        }
        guard backbone.info.seams.contains(adapter.seam) else {
            throw SeamError(.unsupported, "the backbone has no seam \"\(adapter.seam)\"")
        }
        if let other = adapters.first(where: { $0.seam == SEAM_DECODER_OUTPUT }), adapter.seam == SEAM_DECODER_OUTPUT,
            other.classes != adapter.classes
        {
            throw SeamError(
                .incompatible,
                "adapter \"\(adapter.factory.id)\" was made for \(adapter.classes) classes, \"\(other.factory.id)\", which is attached, for \(other.classes)"
            )
        }
        let index = position ?? adapters.count
        guard index >= 0, index <= adapters.count else {
            throw SeamError(.invalidArgument, "position must be 0 ... \(adapters.count), found \(index)")
        }
        var changed = adapters
        changed.insert(adapter, at: index)
        try change(to: changed)
    }

    /// Attaches adapters behind those attached, in order: all or, after an error, none.
    public func attach(all new: [Adapter]) throws { try attach(all: new) { $0 } }

    /// Makes an adapter of each part and attaches it before the next is made: all or, after an error, none.
    @discardableResult
    public func attach<Part>(all parts: [Part], make: (Part) throws -> Adapter) throws -> [Adapter] {
        let before = (adapters, prefixLength, visitor)
        do {
            return try parts.map { part in
                let adapter = try make(part)
                try attach(adapter)
                return adapter
            }
        } catch {
            (adapters, prefixLength, visitor) = before
            throw error
        }
    }

    private func change(to changed: [Adapter]) throws {
        if let adapter = adapters.first(where: { own in isMerged(own) && !changed.contains { $0 === own } }) {
            throw SeamError(
                .invalidArgument,
                "adapter \"\(adapter.factory.id)\" is merged into the weights: unmerge it before it is detached")
        }
        try Self.checkOrder(of: changed, merged: merged)
        // Merged adapters at the same points are computed in their order.
        guard changed.filter(isMerged).elementsEqual(adapters.filter(isMerged), by: ===) else {
            throw SeamError(.invalidArgument, "merged adapters keep their order: unmerge the one that is to be moved")
        }
        let length = try checkedPrefixLength(of: changed)
        visitor = try Visitor(changed.filter { !isMerged($0) }, backbone: backbone)
        (adapters, prefixLength) = (changed, length)
    }

    /// Computes adapters into the weights, and takes those that were out of them.
    func setMerged(_ changed: Set<ObjectIdentifier>) throws {
        try Self.checkOrder(of: adapters, merged: changed)
        let replacements = try replacements(by: adapters.filter { changed.contains(ObjectIdentifier($0)) })
        visitor = try Visitor(adapters.filter { !changed.contains(ObjectIdentifier($0)) }, backbone: backbone)
        (merged, replaced) = (changed, replacements)
    }

    private func requireSameShape(_ adapter: Adapter) throws {
        let (made, own) = (adapter.site, backbone.info)
        var numbers = [("d_model", made.dModel, own.dModel)]
        if adapter.isPrefix {
            numbers += [
                ("encoder_layers", made.encoderLayers, own.encoderLayers),
                ("decoder_layers", made.decoderLayers, own.decoderLayers),
                ("kv_heads", made.kvHeads, own.kvHeads), ("head_dim", made.headDim, own.headDim),
            ]
            for attention in PrefixAttention.allCases {
                let place = attention.rawValue
                numbers.append(("\(attention) prefix_layers", made.prefixLayers[place], own.prefixLayers[place]))
                for (layer, sizes) in zip(made.prefixKVHeads[place], own.prefixKVHeads[place]).enumerated() {
                    numbers.append(("\(attention) prefix_kv_heads in layer \(layer)", sizes.0, sizes.1))
                }
                for (layer, sizes) in zip(made.prefixHeadDim[place], own.prefixHeadDim[place]).enumerated() {
                    numbers.append(("\(attention) prefix_head_dim in layer \(layer)", sizes.0, sizes.1))
                }
            }
        }
        if !adapter.points.isEmpty { _ = try adapter.pointIndices(in: own) }
        for (name, made, own) in numbers where made != own {
            throw SeamError(
                .incompatible,
                "adapter \"\(adapter.factory.id)\" was made for a backbone with \(name) \(made), this one has \(own)")
        }
    }

    /// Removes an adapter; the backbone then computes exactly what it did before it was attached.
    /// - Throws: when it is not attached, or another adapter weights the tokens of its prefix.
    public func detach(_ adapter: Adapter) throws {
        var changed = adapters
        changed.remove(at: try index(of: adapter))
        try change(to: changed)
    }

    /// Moves an attached adapter to another position.
    public func move(_ adapter: Adapter, to position: Int) throws {
        let index = try index(of: adapter)
        guard position >= 0, position < adapters.count else {
            throw SeamError(.invalidArgument, "position must be 0 ... \(adapters.count - 1), found \(position)")
        }
        var changed = adapters
        changed.insert(changed.remove(at: index), at: position)
        try change(to: changed)
    }

    func index(of adapter: Adapter) throws -> Int {
        guard let index = adapters.firstIndex(where: { $0 === adapter }) else {
            throw SeamError(.notFound, "adapter \"\(adapter.factory.id)\" is not attached")
        }
        return index
    }

    /// Everything that training updates: the adapters' parameters, and the backbone's if it is unfrozen.
    public var variables: [Variable] {
        adapters.flatMap(\.parameters.variables) + backbone.parameters.variables
    }

    /// Whether an adapter sits inside the layers of one of the backbone's stacks.
    func hasAdapters(inside stack: Stack) -> Bool { visitor?.wants(stack) ?? false }

    // MARK: Forward

    public func makeContext(recordsGradients: Bool) -> Context {
        Context(pool: runtime.pool, recordsGradients: recordsGradients)
    }

    /// What the calls of the backbone in one pass share.
    func pass(_ context: Context, training: Bool = false) -> BackbonePass {
        var weights = backbone.parameters.handles
        for (index, tensor) in replaced { weights[index] = tensor.handle }
        return BackbonePass(context: context, training: training, weights: weights, visitor: visitor)
    }

    /// What the backbone's encoder gives, with prefixes and before any adapter on encoder.output:
    /// [batch, source, d_model].
    public func encode(_ context: Context, _ batch: Batch, training: Bool = false) throws -> Tensor {
        try encode(context, batch, prefix: try prefix(context, training: training), training: training)
    }

    func encode(_ context: Context, _ batch: Batch, prefix: Prefix, training: Bool) throws -> Tensor {
        guard backbone.info.architecture != .decoderOnly else {
            throw SeamError(.unsupported, "the backbone has no encoder")
        }
        guard backbone.info.architecture != .text else { throw queriesOnly }
        let shape: Shape = [batch.count, batch.sourceLength]
        let ids = context.retain(try context.constant(batch.inputIDs, shape))
        let types = try batch.tokenTypeIDs.map { context.retain(try context.constant($0, shape)) }
        return try backbone.encode(
            pass(context, training: training), inputIDs: ids, mask: try mask(context, batch), tokenTypes: types,
            prefix: prefix)
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

    /// The scores of each class, [batch, classes], from the adapters on `decoder.output`: they start from the pooled
    /// vector of each source and scores of 0. Alive as long as the context.
    /// - Throws: `.invalidArgument` without such an adapter.
    public func classify(_ context: Context, _ batch: Batch, training: Bool = false) throws -> Tensor {
        guard classes > 0 else {
            throw SeamError(
                .invalidArgument,
                "a classification needs an adapter on decoder.output, for example linear-head: none is attached")
        }
        let hidden = try pool(context, batch, training: training)
        var scores = try context.full(0, .f32, [batch.count, classes])
        for adapter in adapters where adapter.seam == SEAM_DECODER_OUTPUT {
            scores = try adapter.forward(
                context, inputs: [context.retain(scores), hidden], expected: [scores.shape], training: training)[0]
        }
        return scores
    }

    /// Classes of the adapters on `decoder.output`; 0 without one.
    public var classes: Int { adapters.first { $0.seam == SEAM_DECODER_OUTPUT }?.classes ?? 0 }

    /// One vector for each source, of what leaves the `encoder.output` seam: [batch, d_model], alive as long as the
    /// context.
    /// - Throws: `.unsupported` for a backbone that has no such vector.
    public func pool(_ context: Context, _ batch: Batch, training: Bool = false) throws -> Tensor {
        let hidden = try encodeAdapted(context, batch, training: training)
        return try backbone.pool(pass(context, training: training), hidden: hidden, mask: try mask(context, batch))
    }

    /// Teacher-forced scores of a batch with targets; for a backbone that is not an encoder-decoder, the scores at
    /// every position of its source.
    /// - Parameter encoded: the encoder's output, when a cache has it; else the encoder runs.
    /// - Returns: logits [batch, target, vocab_size] and the hidden states that the head reads [batch, target,
    ///   d_model], alive as long as the context. Without an encoder and a decoder, target is the source's length.
    public func forward(_ context: Context, _ batch: Batch, encoded: Tensor? = nil, training: Bool = false) throws
        -> (logits: Tensor, hidden: Tensor)
    {
        guard backbone.info.architecture != .encoderDecoder || batch.targetLength > 0 else {
            throw SeamError(.invalidArgument, "the batch has no targets: give labels or decoder_input_ids")
        }
        if let input = try decoderInput(context, batch, encoded: encoded, training: training) {
            return try backbone.decode(pass(context, training: training), input)
        }
        let hidden = try encodeAdapted(context, batch, training: training)
        return (try backbone.head(pass(context, training: training), hidden: hidden), hidden)
    }

    /// What the decoder reads of a batch, adapters of `encoder.output` applied; nil without a decoder.
    /// - Parameter encoded: the encoder's output, when a cache has it; else the encoder runs.
    func decoderInput(_ context: Context, _ batch: Batch, encoded: Tensor? = nil, training: Bool = false) throws
        -> DecoderInput?
    {
        switch backbone.info.architecture {
        case .encoderDecoder:
            let prefix = try prefix(context, training: training)
            let hidden = try encoded ?? encode(context, batch, prefix: prefix, training: training)
            let mask = try mask(context, batch)
            let adapted = try adapt(context, hidden: hidden, mask: mask, training: training)
            let ids = context.retain(try context.constant(batch.decoderInputIDs, [batch.count, batch.targetLength]))
            return DecoderInput(ids: ids, encoderHidden: adapted, encoderMask: mask, prefix: prefix)
        case .decoderOnly:
            var input = try continuation(context, batch)
            input.prefix = try prefix(context, training: training)
            return input
        case .encoderOnly: return nil
        case .text: throw queriesOnly
        }
    }

    /// What a decoder-only backbone reads of a batch, without prefixes.
    func continuation(_ context: Context, _ batch: Batch) throws -> DecoderInput {
        let shape: Shape = [batch.count, batch.sourceLength]
        var input = DecoderInput(ids: context.retain(try context.constant(batch.inputIDs, shape)))
        // Under a causal mask padding behind the text is seen by nobody but adapters inside the layers.
        guard batch.hasPaddingBeforeTokens else {
            if hasAdapters(inside: .decoder), batch.hasPadding { input.tokens = try mask(context, batch) }
            return input
        }
        input.mask = try mask(context, batch)
        input.positions = context.retain(try context.constant(batch.positionIDs, shape))
        return input
    }

    // MARK: Generation

    /// The model's own settings of a generation (`GenerationDefaults`).
    /// - Parameter ignoresFile: take nothing of them but the token ids, and the defaults of Hugging Face for the rest.
    public func defaultGenerationOptions(ignoresFile: Bool = false) throws -> GenerationOptions {
        try GenerationDefaults.options(for: backbone, ignoresFile: ignoresFile)
    }

    /// Generates targets for the sources of a batch; for a decoder-only backbone, continuations of them.
    /// - Parameter progress: called before every step and after the last; false stops with `.cancelled`.
    public func generate(
        _ batch: Batch, options: GenerationOptions, progress: (GenerationProgress) -> Bool = { _ in true }
    ) throws -> [[GeneratedSequence]] {
        let info = backbone.info
        try info.requireDecoder()
        let prompts = info.architecture == .decoderOnly ? batch.texts : nil
        let options = try fitted(options, behind: prompts?.map(\.count).max())
        try options.requireMemory(batch: batch.count, vocabularySize: info.vocabSize)
        let capacity = try prompts?.map { try options.limit(behind: $0.count) }.max() ?? options.maxNewTokens
        let stepper = try SessionStepper(session: self, batch: batch, capacity: capacity)
        return try Generation.generate(
            stepper: stepper, batch: batch.count, options: options, prompts: prompts, progress: progress)
    }

    /// Options whose new tokens fit into the backbone's positions.
    /// - Parameter prompt: tokens of the longest; nil in an encoder-decoder.
    /// - Throws: `.invalidArgument` where they do not fit and say so, or name other values that cannot be.
    func fitted(_ options: GenerationOptions, behind prompt: Int?) throws -> GenerationOptions {
        let info = backbone.info
        let longest = prompt ?? 0
        let prefix =
            info.maxPrefixLength[PrefixAttention.decoder.rawValue] > 0
            ? prefixLength[PrefixAttention.decoder.rawValue] : 0
        var options = options
        if info.maxTargetPositions > 0 {
            let positions = info.maxTargetPositions - prefix
            try checkRoom(positions, prefix: prefix, prompt: longest, options)
            // Both count from the beginning of the prompt; the model's own length may be that of all its positions.
            options.maxLength = options.maxLength.map { min($0, positions) }
            if options.maxLength == nil, options.fitsRoom {
                options.maxNewTokens = min(options.maxNewTokens, positions - longest)
            }
        }
        if prompt == nil, let length = options.maxLength, length <= 1 {
            throw SeamError(
                .invalidArgument,
                "max_length, which counts the start token, is \(length): there is no room for new ones; set max_new_tokens"
            )
        }
        // Before the backbone makes room for what will be generated.
        try options.validate(vocabularySize: info.vocabSize)
        return options
    }

    /// Throws `.invalidArgument` where the new tokens do not fit behind the longest prompt.
    private func checkRoom(_ positions: Int, prefix: Int, prompt: Int, _ options: GenerationOptions) throws {
        let total = backbone.info.maxTargetPositions
        guard positions > prompt else {
            let taken = [
                prompt > 0 ? "the longest prompt takes \(prompt)" : nil, prefix > 0 ? "the prefix \(prefix)" : nil,
            ]
            throw SeamError(
                .invalidArgument,
                "there is no room for new tokens: of the backbone's \(total) positions "
                    + "\(taken.compactMap { $0 }.joined(separator: " and ")); shorten the prompt")
        }
        guard options.maxLength == nil, !options.fitsRoom, options.maxNewTokens > positions - prompt else { return }
        let limit = positions - prompt
        let taken = [prefix > 0 ? "the prefix" : nil, prompt > 0 ? "the prompts" : nil].compactMap { $0 }
        let room =
            taken.isEmpty
            ? "the backbone's \(limit) target positions"
            : "\(limit) positions, which \(taken.joined(separator: " and ")) leave\(taken.count == 1 && prefix > 0 ? "s" : "") of the backbone's \(total)"
        throw SeamError(.invalidArgument, "max_new_tokens must be at most \(room), found \(options.maxNewTokens)")
    }
}
