import CSeam
import Engine
import Support

extension Session {
    /// Lets an attached adapter start from examples (`seam_adapter_factory.prepare`): the backbone reads them through the
    /// adapters that are attached before it, and the plugin is given what flows into its seam. An adapter that starts from
    /// nothing is left as it is; later ones on the route do not run.
    ///
    /// Either every value that the plugin gives is taken or, after an error, none.
    /// - Parameters:
    ///   - batches: the examples, without routes. Their classes are the labels, of all batches or of none. On
    ///     attention.prefix one batch of one row, the text; on prefix.tokens none.
    ///   - progress: told before the first batch and after each how many of how many are read; batches are read again for
    ///     points that do not fit into memory together (`recordedAtOnce`). False stops with `.cancelled`.
    /// - Throws: `.notFound` for an adapter that is not attached there, `.invalidArgument` for a merged one and for examples
    ///   that are not those of its seam, `.outOfMemory` where what flows at one point does not fit, `.unsupported` for a
    ///   backbone that does not hand out keys and values, and what the plugin fails with.
    public func prepare(
        _ adapter: Adapter, route: String? = nil, from batches: [Batch],
        progress: (_ done: Int, _ total: Int) -> Bool = { _, _ in true }
    ) throws {
        let place = try index(ofRoute: route)
        let position = try index(of: adapter, in: chains[place])
        guard adapter.startsFromExamples else { return }
        guard !isMerged(adapter) else {
            throw SeamError(
                .invalidArgument,
                "adapter \"\(adapter.factory.id)\" is merged into the weights: unmerge it before it is prepared")
        }
        let examples = try PreparationExamples(batches, for: adapter)
        let preparation = try Preparation(self, adapter, route: place, position: position, examples)
        adapter.take(prepared: try preparation.values(progress))
    }

    /// Lets attached adapters of a route start from the same examples, one after the other, as the other form does; one
    /// that reads none is given none.
    /// - Parameter progress: as of the other form, with the adapter that is prepared.
    public func prepare(
        all adapters: [Adapter], route: String? = nil, from batches: [Batch],
        progress: (_ adapter: Adapter, _ done: Int, _ total: Int) -> Bool
    ) throws {
        for adapter in adapters {
            try prepare(adapter, route: route, from: adapter.readsExamples ? batches : []) {
                progress(adapter, $0, $1)
            }
        }
    }
}

/// The examples that an adapter starts from, checked.
private struct PreparationExamples {
    let batches: [Batch]
    let count: Int
    /// [examples] i32; nil where there are no classes.
    let labels: Tensor?

    init(_ batches: [Batch], for adapter: Adapter) throws {
        let name = "adapter \"\(adapter.factory.id)\""
        if batches.contains(where: { $0.routes.contains { !($0 ?? "").isEmpty } }) {
            throw SeamError(
                .invalidArgument, "\(name) is prepared on its own route: the examples must be without routes")
        }
        let count = batches.reduce(0) { $0 + $1.count }
        (self.batches, self.count) = (batches, count)
        let classes = batches.flatMap(\.classes)
        switch adapter.seam {
        case SEAM_PREFIX_TOKENS:
            guard count == 0 else {
                throw SeamError(
                    .invalidArgument,
                    "\(name) is on \(adapter.seam) and starts from the prefix before it: there must be no examples, found \(count)"
                )
            }
        case SEAM_ATTENTION_PREFIX:
            guard count == 1 else {
                throw SeamError(
                    .invalidArgument,
                    "\(name) is on \(adapter.seam) and starts from the keys and values of one text, found \(count)")
            }
            guard !batches[0].hasPadding else {
                throw SeamError(
                    .invalidArgument, "\(name) starts from the keys and values of a text: it must be without padding")
            }
        default:
            guard count > 0 else {
                throw SeamError(.invalidArgument, "\(name) starts from examples, and there are none")
            }
        }
        guard !classes.isEmpty else {
            labels = nil
            return
        }
        try adapter.checkClasses(classes, of: count)
        labels = try Context(pool: adapter.runtime.pool, recordsGradients: false).constant(classes, [count])
    }
}

/// One preparation: runs the backbone over the examples and hands the adapter what flows into its seam.
private struct Preparation {
    private let session: Session
    private let adapter: Adapter
    private let route, position: Int
    private let examples: PreparationExamples
    private var backbone: Backbone { session.backbone }

    init(_ session: Session, _ adapter: Adapter, route: Int, position: Int, _ examples: PreparationExamples) throws {
        (self.session, self.adapter, self.examples) = (session, adapter, examples)
        (self.route, self.position) = (route, position)
    }

    /// The values that the plugin gives; nil for a parameter that it leaves.
    func values(_ progress: (Int, Int) -> Bool) throws -> [Tensor?] {
        switch adapter.seam {
        case SEAM_PREFIX_TOKENS:
            let context = session.makeContext(recordsGradients: false)
            let prefix = try Session.prefix(of: try before().adapters, for: backbone.info, in: context)
            return try given(PreparationInput(inputs: PrefixAttention.allCases.flatMap { prefix[$0] }))
        case SEAM_ATTENTION_PREFIX:
            try tell(progress, 0, of: 1)
            let context = session.makeContext(recordsGradients: false)
            let inputs = try keysValues(context, examples.batches[0])
            try tell(progress, 1, of: 1)
            return try given(PreparationInput(inputs: inputs))
        case SEAM_ENCODER_OUTPUT, SEAM_DECODER_OUTPUT: return try given(try atBorder(progress))
        default: return try atPoints(progress)
        }
    }

    private func given(_ input: PreparationInput) throws -> [Tensor?] {
        var input = input
        input.labels = examples.labels
        return try adapter.preparedValues(input)
    }

    /// Tells the caller how many batches are read.
    /// - Throws: `.cancelled` where that is enough.
    private func tell(_ progress: (Int, Int) -> Bool, _ done: Int, of total: Int) throws {
        guard progress(done, total) else {
            throw SeamError(.cancelled, "the preparation was stopped after \(done) of \(total) batches")
        }
    }

    /// The session as far as the adapter.
    private func before(_ recorder: PointRecorder? = nil) throws -> Session {
        try Session(session, first: position, ofRoute: route, recorder: recorder)
    }

    /// Throws unless there is memory for what flows somewhere in all examples.
    /// - Parameters:
    ///   - width: the numbers of a position.
    ///   - length: the positions of the longest example.
    private func requireMemory(_ width: Int, length: Int, at place: String) throws {
        // What the batches gave, and all of it together.
        let copies = examples.batches.count > 1 ? 2 : 1
        try Memory.require(
            examples.count, length, width, copies * MemoryLayout<Float>.size,
            for:
                "what \(examples.count) examples of up to \(length) positions give \(place), from which adapter \"\(adapter.factory.id)\" starts,"
        )
    }

    // MARK: encoder.output and decoder.output

    private func atBorder(_ progress: (Int, Int) -> Bool) throws -> PreparationInput {
        let before = try before()
        let isHead = adapter.seam == SEAM_DECODER_OUTPUT
        let longest = examples.batches.reduce(0) { max($0, $1.positionCount) } + before.promptLength[0]
        try requireMemory(backbone.info.dModel, length: isHead ? 1 : longest, at: "at \(adapter.seam)")
        try tell(progress, 0, of: examples.batches.count)
        var parts: [[Tensor]] = [[], []]
        for (index, batch) in examples.batches.enumerated() {
            let context = session.makeContext(recordsGradients: false)
            let own = try RoutedBatch(batch, in: before)
            let flowing =
                isHead
                ? try answers(context, own, before)
                : [try before.encodeAdapted(context, own, training: false), try before.encodedMask(context, own)]
            for (input, tensor) in flowing.enumerated() { parts[input].append(try context.copied(tensor)) }
            try tell(progress, index + 1, of: examples.batches.count)
        }
        let context = session.makeContext(recordsGradients: false)
        let inputs = try parts.map { try joinedRows($0, in: context) }
        return PreparationInput(inputs: isHead ? try adapter.withPromptAxis(inputs, in: context) : inputs)
    }

    /// The scores that reach decoder.output, and the hidden states.
    private func answers(_ context: Context, _ own: RoutedBatch, _ before: Session) throws -> [Tensor] {
        let hidden = try before.pool(context, own, training: false)
        var scores = context.retain(try context.full(0, .f32, [own.batch.count, adapter.classes]))
        for adapter in before.adapters where adapter.seam == SEAM_DECODER_OUTPUT {
            scores = try adapter.scores(context, scores: scores, hidden: hidden, training: false)
        }
        return [scores, hidden]
    }

    // MARK: Points

    private func atPoints(_ progress: (Int, Int) -> Bool) throws -> [Tensor?] {
        try requireTargets()
        let indices = try adapter.pointIndices(in: backbone.info)
        let groups = try groups()
        let total = groups.count * examples.batches.count
        var done = 0
        try tell(progress, done, of: total)
        var values = [Tensor?](repeating: nil, count: adapter.parameters.entries.count)
        for group in groups {
            let recorder = PointRecorder(
                adapter, places: Dictionary(uniqueKeysWithValues: group.map { (indices[$0], $0) }))
            let before = try before(recorder)
            let isInDecoder = group.contains { adapter.points[$0].stack == .decoder }
            for batch in examples.batches {
                try read(batch, by: before, isInDecoder: isInDecoder)
                done += 1
                try tell(progress, done, of: total)
            }
            for place in group {
                let context = session.makeContext(recordsGradients: false)
                let new = try given(try recorder.takeInput(at: place, rows: examples.count, in: context))
                values = zip(values, new).map { $1 ?? $0 }
            }
        }
        return values
    }

    private func requireTargets() throws {
        guard backbone.info.architecture == .encoderDecoder,
            let point = adapter.points.first(where: { $0.stack == .decoder }),
            examples.batches.contains(where: { $0.targetLength == 0 })
        else { return }
        throw SeamError(
            .invalidArgument,
            "adapter \"\(adapter.factory.id)\" is inside the decoder, at \"\(point.path)\": the examples need targets, labels or decoder_input_ids"
        )
    }

    /// The adapter's points, in their order, cut where what flows at them is more than is kept at once.
    private func groups() throws -> [[Int]] {
        let before = try before()
        var groups: [[Int]] = []
        var size = 0
        for (place, point) in adapter.points.enumerated() {
            let length = examples.batches.reduce(0) { max($0, positions(of: $1, at: point)) }
            let longest = length + (point.isOfSource ? 0 : before.promptLength[Int(point.stack.rawValue)])
            let width = point.isProjection ? point.inputWidth + point.outputWidth : point.outputWidth
            try requireMemory(width, length: longest, at: "at the point \"\(point.path)\"")
            let own = examples.count * longest * width * MemoryLayout<Float>.size
            if groups.isEmpty || size + own > session.recordedAtOnce {
                groups.append([])
                size = 0
            }
            groups[groups.count - 1].append(place)
            size += own
        }
        return groups
    }

    private func positions(of batch: Batch, at point: Point) -> Int {
        let readsTarget =
            point.stack == .decoder && !point.isOfSource && backbone.info.architecture == .encoderDecoder
        return readsTarget ? batch.targetLength : batch.positionCount
    }

    /// Runs the backbone as far as the points of one stack, or of both.
    private func read(_ batch: Batch, by before: Session, isInDecoder: Bool) throws {
        let context = session.makeContext(recordsGradients: false)
        let own = try RoutedBatch(batch, in: before)
        if isInDecoder, let input = try before.decoderInput(context, own) {
            _ = try backbone.decodeHidden(before.pass(context, rows: own.rows), input)
        } else {
            let prefix = try before.prefix(context, own.rows)
            _ = try before.encode(context, own, prefix: prefix, training: false)
        }
    }

    // MARK: Keys and values

    /// Those of a text, as the inputs of attention.prefix.
    private func keysValues(_ context: Context, _ text: Batch) throws -> [Tensor?] {
        let (before, info) = (try before(), backbone.info)
        var attentions: [PrefixAttention] =
            switch info.architecture {
            case .encoderOnly: [.encoder]
            case .decoderOnly: [.decoder]
            case .encoderDecoder, .text: PrefixAttention.allCases
            }
        var batch = text
        if info.architecture == .encoderDecoder, text.targetLength == 0 {
            // The decoder has to run for cross-attention, and its own keys are then of no text.
            guard let start = info.decoderStartToken else {
                throw SeamError(
                    .invalidArgument,
                    "the backbone names no decoder_start_token_id, so the text needs a target, labels or decoder_input_ids"
                )
            }
            attentions.removeAll { $0 == .decoder }
            batch = try text.decoding(start)
        }
        let found = TextKeysValues(attentions, for: info)
        let own = try RoutedBatch(batch, in: before)
        let prefix = try before.prefix(context, own.rows)
        let encoded =
            info.architecture == .decoderOnly
            ? nil : try before.encode(context, own, prefix: prefix, training: false, keysValues: found)
        if let input = try before.decoderInput(context, own, kept: encoded.map { KeptStates(encoded: $0) }) {
            _ = try backbone.decodeHidden(before.pass(context, rows: own.rows), input, keysValues: found)
        }
        return try found.ofOneRow(in: context)
    }
}

extension Batch {
    /// The same sources, with one token for the decoder to read.
    fileprivate func decoding(_ token: Int32) throws -> Batch {
        try Batch(
            count: count, sourceLength: sourceLength, inputIDs: info.readsFeatures ? nil : inputIDs,
            inputFeatures: info.readsFeatures ? inputFeatures : nil, attentionMask: attentionMask, targetLength: 1,
            decoderInputIDs: [Int32](repeating: token, count: count), info: info)
    }
}
