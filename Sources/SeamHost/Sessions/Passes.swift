import CSeam
import Engine
import Support

// One pass of a session over a batch. Inside, the rows stand in the order of their routes (`RoutedBatch`); what comes out is
// in the caller's.
extension Session {
    /// What the backbone's encoder gives, with prefixes and before any adapter on encoder.output:
    /// [batch, source, d_model], where source counts what adapters on prompt.embedding put before the text.
    public func encode(_ context: Context, _ batch: Batch, training: Bool = false) throws -> Tensor {
        let own = try RoutedBatch(batch, in: self)
        let prefix = try prefix(context, own.rows, training: training)
        return try own.rows.restored(try encode(context, own, prefix: prefix, training: training), in: context)
    }

    /// - Parameters:
    ///   - keysValues: takes those of the source's tokens; nil: nobody wants them.
    ///   - layers: those that run.
    package func encode(
        _ context: Context, _ own: RoutedBatch, prefix: Prefix, training: Bool, keysValues: TextKeysValues? = nil,
        layers: LayerRange = LayerRange()
    ) throws -> Tensor {
        guard backbone.info.architecture != .decoderOnly else {
            throw SeamError(.unsupported, "the backbone has no encoder")
        }
        guard backbone.info.architecture != .text else { throw queriesOnly }
        let shape: Shape = [own.batch.count, own.batch.sourceLength]
        let batch = own.batch
        let isOfTokens = batch.inputFeatures.isEmpty
        let ids = isOfTokens ? context.retain(try context.constant(batch.inputIDs, shape)) : nil
        let frames = [batch.count, batch.sourceLength, backbone.info.featureWidth] as Shape
        let features = isOfTokens ? nil : context.retain(try context.constant(batch.inputFeatures, frames))
        let types = try batch.tokenTypeIDs.map { context.retain(try context.constant($0, shape)) }
        return try backbone.encode(
            pass(context, rows: own.rows, training: training), inputIDs: ids, features: features,
            mask: context.retain(try context.constant(batch.attentionMask, shape)), tokenTypes: types,
            prefix: prefix, keysValues: keysValues, layers: layers)
    }

    /// What the encoder gives, or has given.
    private func encode(
        _ context: Context, _ own: RoutedBatch, kept: KeptStates?, prefix: Prefix, training: Bool
    ) throws -> Tensor {
        try kept?.encoded
            ?? encode(
                context, own, prefix: prefix, training: training, layers: LayerRange(start: kept?.encoder))
    }

    private var queriesOnly: SeamError {
        SeamError(.unsupported, "\(backbone.name) reads text and answers queries only")
    }

    /// Which positions of the source's hidden states count, [batch, positions]; without an encoder which tokens.
    func mask(_ context: Context, _ batch: Batch) throws -> Tensor {
        context.retain(try context.constant(batch.positionMask, [batch.count, batch.positionCount]))
    }

    /// The mask of what the encoder gives, where vectors stand before the text.
    func encodedMask(_ context: Context, _ own: RoutedBatch) throws -> Tensor {
        let mask = try mask(context, own.batch)
        guard let before = try promptMask(context, own.rows, .encoder) else { return mask }
        return context.retain(try context.concat([before, mask], axis: 1))
    }

    /// Runs the adapters of `encoder.output`, those of each route on its rows.
    func adapt(_ context: Context, _ rows: RowOrder, hidden: Tensor, mask: Tensor, training: Bool) throws -> Tensor {
        guard rows.routes.contains(where: { chains[$0].has(SEAM_ENCODER_OUTPUT) }) else { return hidden }
        return try rows.apply(to: hidden, in: context) { slice, hidden in
            let mask = try slice.rows(of: mask, in: context, outOf: rows.count)
            var current = hidden
            for adapter in chains[slice.route].adapters where adapter.seam == SEAM_ENCODER_OUTPUT {
                current = try adapter.forward(
                    context, inputs: [current, mask], expected: [current.shape], training: training)[0]
            }
            return current
        }
    }

    /// What leaves the `encoder.output` seam, adapters applied: [batch, source, d_model], alive as long as the context.
    /// Source counts what adapters on prompt.embedding put before the text.
    public func encodeAdapted(_ context: Context, _ batch: Batch, training: Bool = false) throws -> Tensor {
        let own = try RoutedBatch(batch, in: self)
        return try own.rows.restored(try encodeAdapted(context, own, training: training), in: context)
    }

    /// - Parameter kept: here and below in the order of the pass, as the results are.
    func encodeAdapted(_ context: Context, _ own: RoutedBatch, kept: KeptStates? = nil, training: Bool) throws -> Tensor
    {
        let prefix = try prefix(context, own.rows, training: training)
        let hidden = try encode(context, own, kept: kept, prefix: prefix, training: training)
        return try adapt(
            context, own.rows, hidden: hidden, mask: try encodedMask(context, own), training: training)
    }

    /// The states that `encodeAdapted` gives of the text's own tokens alone.
    func textStates(_ context: Context, _ own: RoutedBatch, kept: KeptStates? = nil, training: Bool) throws -> Tensor {
        let pass = pass(context, rows: own.rows, training: training)
        return try pass.text(
            of: encodeAdapted(context, own, kept: kept, training: training), behind: pass.promptLength(.encoder))
    }

    /// The scores of each class, [batch, classes], from the adapters on `decoder.output`: they start from the pooled
    /// vector of each source and scores of 0. Alive as long as the context.
    /// - Throws: `.invalidArgument` without such an adapter, and for rows of routes with different numbers of classes.
    public func classify(_ context: Context, _ batch: Batch, training: Bool = false) throws -> Tensor {
        let own = try RoutedBatch(batch, in: self)
        return try own.rows.restored(try classify(context, own, training: training), in: context)
    }

    func classify(_ context: Context, _ own: RoutedBatch, kept: KeptStates? = nil, training: Bool) throws -> Tensor {
        let classes = try classes(of: own.rows)
        guard classes > 0 else {
            throw SeamError(
                .invalidArgument,
                "a classification needs an adapter on decoder.output: none is attached")
        }
        let hidden = try pool(context, own, kept: kept, training: training)
        let start = context.retain(try context.full(0, .f32, [own.rows.count, classes]))
        return try own.rows.apply(to: start, in: context) { slice, start in
            let hidden = try slice.rows(of: hidden, in: context, outOf: own.rows.count)
            var scores = start
            for adapter in chains[slice.route].adapters where adapter.seam == SEAM_DECODER_OUTPUT {
                scores = try adapter.scores(context, scores: scores, hidden: hidden, training: training)
            }
            return scores
        }
    }

    /// Classes of the default route's adapters on `decoder.output`; 0 without one.
    public var classes: Int { chains[0].classes }

    /// One vector for each source, of what leaves the `encoder.output` seam: [batch, d_model], alive as long as the
    /// context.
    /// - Throws: `.unsupported` for a backbone that has no such vector.
    public func pool(_ context: Context, _ batch: Batch, training: Bool = false) throws -> Tensor {
        let own = try RoutedBatch(batch, in: self)
        return try own.rows.restored(try pool(context, own, training: training), in: context)
    }

    func pool(_ context: Context, _ own: RoutedBatch, kept: KeptStates? = nil, training: Bool) throws -> Tensor {
        let hidden = try encodeAdapted(context, own, kept: kept, training: training)
        return try backbone.pool(
            pass(context, training: training), hidden: hidden, mask: try encodedMask(context, own))
    }

    /// Teacher-forced scores of a batch with targets; for a backbone that is not an encoder-decoder, the scores at
    /// every position of its source.
    /// - Parameter kept: what a cache has of these rows, which is not computed then.
    /// - Returns: logits [batch, target, vocab_size] and the hidden states that the head reads [batch, target,
    ///   d_model], alive as long as the context. Without an encoder and a decoder, target is the source's length.
    public func forward(_ context: Context, _ batch: Batch, kept: KeptStates? = nil, training: Bool = false) throws
        -> (logits: Tensor, hidden: Tensor)
    {
        let own = try RoutedBatch(batch, in: self)
        let kept = try kept?.ordered(own.rows, in: context)
        let (logits, hidden) = try forward(context, own, kept: kept, training: training)
        return (try own.rows.restored(logits, in: context), try own.rows.restored(hidden, in: context))
    }

    func forward(_ context: Context, _ own: RoutedBatch, kept: KeptStates?, training: Bool) throws
        -> (logits: Tensor, hidden: Tensor)
    {
        guard backbone.info.architecture != .encoderDecoder || own.batch.targetLength > 0 else {
            throw SeamError(.invalidArgument, "the batch has no targets: give labels or decoder_input_ids")
        }
        if let input = try decoderInput(context, own, kept: kept, training: training) {
            return try backbone.decode(pass(context, rows: own.rows, training: training), input)
        }
        let hidden = try textStates(context, own, kept: kept, training: training)
        return (try backbone.head(pass(context, training: training), hidden: hidden), hidden)
    }

    /// What the decoder reads of a batch, adapters of `encoder.output` applied; nil without a decoder.
    package func decoderInput(_ context: Context, _ own: RoutedBatch, kept: KeptStates? = nil, training: Bool = false)
        throws
        -> DecoderInput?
    {
        let batch = own.batch
        switch backbone.info.architecture {
        case .encoderDecoder:
            let prefix = try prefix(context, own.rows, training: training)
            let hidden = try encode(context, own, kept: kept, prefix: prefix, training: training)
            let mask = try encodedMask(context, own)
            let adapted = try adapt(context, own.rows, hidden: hidden, mask: mask, training: training)
            let ids = context.retain(try context.constant(batch.decoderInputIDs, [batch.count, batch.targetLength]))
            var input = DecoderInput(ids: ids, encoderHidden: adapted, encoderMask: mask, prefix: prefix)
            input.layers.start = kept?.decoder
            try mark(&input, context, own)
            return input
        case .decoderOnly:
            var input = try continuation(context, own)
            input.prefix = try prefix(context, own.rows, training: training)
            input.layers.start = kept?.decoder
            try mark(&input, context, own)
            return input
        case .encoderOnly: return nil
        case .text: throw queriesOnly
        }
    }

    /// Tells adapters inside the decoder's layers what a batch says of its tokens.
    private func mark(_ input: inout DecoderInput, _ context: Context, _ own: RoutedBatch) throws {
        guard hasAdapters(inside: .decoder, routes: own.rows.routes) else { return }
        func tensor(_ marks: [Int32]?) throws -> Tensor? {
            try marks.map { context.retain(try context.constant($0, input.ids.shape)) }
        }
        input.generated = try tensor(own.batch.generatedMask)
        if let tokens = try tensor(own.batch.decoderMask) { input.tokens = tokens }
    }

    /// What a decoder-only backbone reads of a batch, without prefixes.
    func continuation(_ context: Context, _ own: RoutedBatch) throws -> DecoderInput {
        let batch = own.batch
        let shape: Shape = [batch.count, batch.sourceLength]
        var input = DecoderInput(ids: context.retain(try context.constant(batch.inputIDs, shape)))
        // Under a causal mask padding behind the text is seen by nobody but adapters inside the layers.
        guard batch.hasPaddingBeforeTokens else {
            if hasAdapters(inside: .decoder, routes: own.rows.routes), batch.hasPadding {
                input.tokens = try mask(context, batch)
            }
            return input
        }
        input.mask = try mask(context, batch)
        input.positions = context.retain(try context.constant(batch.positionIDs, shape))
        return input
    }
}
