import Engine
import Generation
import Support

/// Steps a session's decoder for the search: with the backbone's decoding state where it has one, else by running
/// whole histories. A decoder-only backbone reads the prompts, padded in front, in place of the search's start token.
/// Rows of another stepper may join (`append`).
///
/// The search has its rows in the caller's order; here they stand in that of their routes (`RowOrder`), which changes with
/// every gather of rows.
final class SessionStepper: DecoderStepper {
    private let session: Session
    private let context: Context
    private let state: DecodingState?
    /// What left the encoder.output seam, and its mask; the first is given to the first step, and to all of them without a
    /// state. Owned here, since the context is reset at every step. Nil without an encoder.
    private var encoderHidden: Tensor?
    private var encoderMask: Tensor?
    /// What stands before the tokens of each route, computed once, and before those of the rows, given to every step.
    private var prefixes: RoutePrefixes
    private var prefix: Prefix
    /// The prompts of a decoder-only backbone, until the first step has read them.
    private var prompts: Batch?
    /// What the rows of an encoder-decoder are given to begin with in place of the search's start token, in the order of the
    /// search; nil: that token.
    private(set) var beginnings: [[Int32]]?
    private var rows: [Row]
    /// The tokens so far of every row, for a backbone without a state.
    private var histories: [[Int32]]
    private var isFirst = true
    /// The route of each row of the search, and how the rows stand here.
    private var routes: [Int]
    /// The session's routes, which `routes` counts on, and what is merged, as the rows were computed with them.
    private var chains: [AdapterChain]
    private let merged: Set<ObjectIdentifier>
    private var order: RowOrder
    /// Tokens that stand before the generated ones in every row: the prompt's, padding included, or the start token.
    private var givenLength = 1

    /// How far a row is.
    private struct Row {
        /// What a state holds before its padding and tokens: vectors, and padding before these.
        var before = 0
        var vectors = 0
        /// Before its tokens.
        let padding: Int
        /// Tokens that the decoder has been given.
        var seen = 0
        /// The place where its next token stands.
        var end: Int { before + padding + seen }

        /// Whether a token, or a vector before them, is there, and not padding.
        func isToken(at place: Int) -> Bool {
            place < before ? place >= before - vectors : place >= before + padding && place < end
        }
    }

    var vocabularySize: Int { session.backbone.info.vocabSize }

    /// - Parameters:
    ///   - capacity: the most tokens that will be generated.
    ///   - beginning: what an encoder-decoder is given in place of the search's start token; nil: that token.
    init(session: Session, batch: Batch, capacity: Int, beginning: DecoderBeginning? = nil) throws {
        self.session = session
        context = session.makeContext(recordsGradients: false)
        routes = try session.routeIndices(of: batch)
        let own = try RoutedBatch(batch, in: session)
        let batch = own.batch
        order = own.rows
        (chains, merged) = (session.chains, session.merged)
        prefixes = try RoutePrefixes(session, own.rows, in: context)
        prefix = prefixes.of(own.rows)
        var promptLength = 0
        if session.backbone.info.architecture == .decoderOnly {
            prompts = batch.hasPadding ? try batch.paddedBefore(info: session.backbone.info) : batch
            promptLength = batch.sourceLength
            rows = batch.texts.map { Row(padding: promptLength - $0.count) }
        } else {
            let hidden = try session.encode(context, own, prefix: prefix, training: false)
            let mask = try session.encodedMask(context, own)
            encoderHidden = try session.adapt(context, own.rows, hidden: hidden, mask: mask, training: false)
            encoderMask = mask
            rows = [Row](repeating: Row(padding: 0), count: batch.count)
            // The start token is the room of the first token, and the last one is given to nobody.
            promptLength = max((beginning?.tokens.count ?? 1) - 1, 0)
        }
        let vectors = session.promptLengths(order, .decoder).max() ?? 0
        state = try session.backbone.makeState(
            session.pass(context), batch: batch.count, capacity: vectors + promptLength + capacity)
        histories = state == nil ? [[Int32]](repeating: [], count: batch.count) : []
        beginnings = try beginning.map { beginning in
            guard beginning.hasChoice else {
                return [[Int32]](repeating: beginning.tokens.map { $0 ?? 0 }, count: batch.count)
            }
            return try mostLikely(among: beginning.choices, behind: beginning.tokens[0] ?? 0)
                .map { choice in beginning.tokens.map { $0 ?? choice } }
        }
    }

    /// The token, among some, that the decoder finds the most likely behind a first one, for each row of the search.
    private func mostLikely(among choices: [Int32], behind first: Int32) throws -> [Int32] {
        defer { context.reset() }
        let shape = [rows.count, 1] as Shape
        var input = DecoderInput(
            ids: context.retain(try context.constant([Int32](repeating: first, count: rows.count), shape)))
        input.generated = context.retain(try context.constant([Int32](repeating: 0, count: rows.count), shape))
        (input.encoderHidden, input.encoderMask, input.prefix) = (encoderHidden, encoderMask, prefix)
        let scores = try context.contiguous(
            try session.backbone.decode(session.pass(context, rows: order), input).logits
        ).floats
        return rows.indices.map { row in
            let base = order.row(ofCallers: row) * vocabularySize
            return choices.max { scores[base + Int($0)] < scores[base + Int($1)] } ?? first
        }
    }

    func step(tokens: [Int32], into logits: inout [Float]) throws {
        defer { context.reset() }
        try followRoutes()
        let count = tokens.count
        var ids = order.ordered(tokens)
        if isFirst { givenLength = prompts?.sourceLength ?? beginnings?.first?.count ?? 1 }
        if isFirst, let beginnings { ids = order.ordered(beginnings).flatMap { $0 } }
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
        if isFirst, state != nil { rememberPrompts() }
        isFirst = false
        if state != nil { encoderHidden = nil }
        let ownScores = try context.contiguous(scores)
        guard let places = order.places else {
            return try ownScores.read(rows: 0..<count, of: vocabularySize, into: &logits)
        }
        for (row, place) in places.enumerated() {
            try ownScores.read(rows: place..<place + 1, of: vocabularySize, into: &logits, at: row)
        }
    }

    /// A state that has read a first step has seen what adapters put before each row's tokens, too.
    private func rememberPrompts() {
        let vectors = session.promptLengths(order, .decoder)
        let most = vectors.max() ?? 0
        for row in rows.indices { (rows[row].before, rows[row].vectors) = (most, vectors[row]) }
    }

    /// Finds the rows' routes among those that the session has now: others may have come and gone, and these be numbered
    /// anew.
    /// - Throws: `.invalidArgument` for a route that has left the session since rows took it, or has other adapters.
    private func followRoutes() throws {
        var places: [Int: Int] = [:]
        for route in order.routes {
            let own = chains[route]
            guard let place = session.chains.firstIndex(where: { $0.name == own.name }) else {
                throw SeamError(
                    .invalidArgument, "\(own.title) has left the session while rows that take it were decoded")
            }
            guard session.chains[place].adapters.elementsEqual(own.adapters, by: ===), session.merged == merged else {
                throw SeamError(
                    .invalidArgument,
                    "the adapters of \(own.title) have changed while rows that take it were decoded")
            }
            places[route] = place
        }
        if places.contains(where: { $0 != $1 }) {
            routes = routes.map { places[$0]! }
            // Routes stand as their first rows do, whatever their numbers are: no row moves.
            order = RowOrder(routes: routes)
            prefixes.renumber(places)
        }
        chains = session.chains
    }

    /// Gives the mask and the positions of the newest `length` tokens, where a row has padding or has seen fewer tokens
    /// than another.
    ///
    /// A row that has ended may stand for some steps beside others with more room than it had: its positions stay at the
    /// last that there is.
    private func place(_ input: inout DecoderInput, length: Int) throws {
        let (end, rooms) = (rows.map(\.end).max() ?? 0, roomOfRows())
        let isBeyond = zip(rows, rooms).contains { $0.vectors + $0.seen > $1 }
        guard isBeyond || rows.contains(where: { $0.padding > 0 || $0.vectors < $0.before || $0.end < end }) else {
            return
        }
        let mask = rows.flatMap { row in (0..<end).map { Int32(row.isToken(at: $0) ? 1 : 0) } }
        let positions = zip(rows, rooms).flatMap { row, room in
            (0..<length).map { Int32(max(min(row.vectors + row.seen - length + $0, room - 1), 0)) }
        }
        input.mask = context.retain(try context.constant(mask, [rows.count, end]))
        input.positions = context.retain(try context.constant(positions, [rows.count, length]))
    }

    /// The positions that the prefix of each row's route leaves.
    private func roomOfRows() -> [Int] {
        order.slices.flatMap { slice in
            [Int](repeating: session.positions(besidePrefixOf: slice.route) ?? .max, count: slice.rows.count)
        }
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
        try stand(requested.map { routes[Int($0)] }) { Int32(old.row(ofCallers: Int(requested[$0]))) }
    }

    /// Lets the rows of the search stand in the order of their routes.
    /// - Parameters:
    ///   - new: the route of each row of the search.
    ///   - source: for such a row the one that it continues, where it stands here now.
    private func stand(_ new: [Int], source: (Int) -> Int32) throws {
        (routes, order) = (new, RowOrder(routes: new))
        let sources = new.indices.map { source(order.callersRow($0)) }
        prefix = prefixes.of(order)
        guard sources.count != rows.count || sources.enumerated().contains(where: { $0 != Int($1) }) else { return }
        let index = try context.constant(sources, [sources.count])
        func selected(_ x: Tensor?) throws -> Tensor? {
            try x.map { try context.indexSelect($0, axis: 0, index: index) }
        }
        encoderMask = try selected(encoderMask)
        encoderHidden = try selected(encoderHidden)
        rows = sources.map { rows[Int($0)] }
        if let state {
            try state.select(session.pass(context), rows: sources)
        } else {
            histories = sources.map { histories[Int($0)] }
        }
    }

    /// The rows of another stepper of the same session come behind those of this one. Both have taken a step; the other
    /// must not be used any more.
    /// - Throws: `.unsupported` for a backbone whose states take no rows in; after another error neither can be used.
    func append(_ other: SessionStepper) throws {
        defer { context.reset() }
        guard let state, let joining = other.state else { throw session.backbone.cannotJoinRows }
        try followRoutes()
        try state.append(session.pass(context), joining)
        let (count, old) = (rows.count, order)
        rows += other.rows
        // The adapters of a route that no row took may have changed since one did.
        prefixes.keep(order.routes)
        prefixes.formUnion(other.prefixes)
        try appendMask(of: other)
        try stand(routes + other.routes) { row in
            Int32(row < count ? old.row(ofCallers: row) : count + other.order.row(ofCallers: row - count))
        }
    }

    private func appendMask(of other: SessionStepper) throws {
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

/// What a decoder with an encoder is given to begin with.
struct DecoderBeginning {
    /// The start token first; nil stands for one of `choices`, which is found out for each row.
    let tokens: [Int32?]
    let choices: [Int32]

    var hasChoice: Bool { tokens.contains(nil) }
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
