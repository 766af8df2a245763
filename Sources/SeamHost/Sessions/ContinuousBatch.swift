import Engine
import Generation
import Support

/// Rows of a session's decoder that are decoded together while others join them and leave (continuous batching, Yu et al.
/// 2022, "Orca"): what a server decodes its requests with.
///
/// Each row has the logits that it would have alone. `add` reads the prompts or sources of new rows, `step` gives every row
/// one more token, and after both `logits(of:)` has the scores of the token that follows. Who chooses the tokens is the
/// caller's affair; `ContinuousGeneration` does it by the options of a generation.
///
/// One thread at a time, which is the one of the session. While rows take a route its adapters stay as they are, with their
/// values, since the rows' keys and values were computed with them; other routes may get other adapters, and new routes may
/// come.
public final class ContinuousBatch {
    /// The name of a row for as long as it is there; no later row of the batch has the same.
    public struct Row: Hashable, Sendable, CustomStringConvertible {
        /// Counted from 0 in the order in which rows were added to their batch.
        public let number: Int

        /// The row of that number, whether it is there or not.
        public init(number: Int) { self.number = number }

        public var description: String { "row \(number)" }
    }

    public let session: Session
    /// The most tokens of a row: those of its prompt, or its start token, and those that it was given by `step`.
    public let capacity: Int
    /// The rows that are there, in the order in which they were added.
    public private(set) var rows: [Row] = []

    /// Tokens of each row, and the most that it may have.
    private var lengths: [Int] = []
    private var limits: [Int] = []
    /// Nil while there are no rows.
    private var stepper: SessionStepper?
    /// Tokens for which the decoding state has room, padding included.
    private var room = 0
    private var nextNumber = 0
    /// [rows, vocabulary], of the tokens that follow.
    private var scores: [Float] = []
    private var vocabulary: Int { session.backbone.info.vocabSize }

    /// A batch without rows.
    /// - Parameter capacity: the most tokens of a row, prompt included. The decoding state has room for as many in every
    ///   row, used or not.
    /// - Throws: `.unsupported` for a backbone without a decoder or whose decoding states take no rows in
    ///   (`Backbone.canJoinRows`), `.invalidArgument` for a capacity that is not positive or beyond the backbone's
    ///   positions.
    public init(session: Session, capacity: Int) throws {
        try session.backbone.info.requireDecoder()
        guard session.backbone.canJoinRows else { throw session.backbone.cannotJoinRows }
        let positions = session.backbone.info.maxTargetPositions
        guard capacity > 0, positions == 0 || capacity <= positions else {
            let most = positions > 0 ? "1 ... \(positions), the backbone's positions" : "positive"
            throw SeamError(.invalidArgument, "the capacity of a row must be \(most), found \(capacity)")
        }
        (self.session, self.capacity) = (session, capacity)
    }

    /// Adds rows, whose logits are there afterwards.
    ///
    /// Rows that are added at once are read together, padded to the longest; rows that were there are not computed anew.
    /// - Parameters:
    ///   - texts: token ids: prompts for a decoder-only backbone, else sources.
    ///   - routes: the route of each row, nil for the default one; empty: that of all rows.
    ///   - start: the first token of the targets in an encoder-decoder; nil: the backbone's own start token.
    /// - Returns: the new rows, in the order of the texts.
    /// - Throws: `.invalidArgument` for no texts, an empty one, ids outside the vocabulary, and texts beyond the capacity
    ///   or the positions that the prefix of their route leaves, `.notFound` for a route that is not there, and what the
    ///   computation throws: nothing has changed then, unless the backbone fails while the rows join, or the adapters of
    ///   the rows that are there have changed, after which the batch has no rows any more.
    public func add(_ texts: [[Int32]], routes: [String?] = [], start: Int32? = nil) throws -> [Row] {
        try add(try Batch(sources: texts, routes: routes, info: session.backbone.info), start: start)
    }

    /// Adds the rows of a batch of sources, token ids or features; the rest is as for texts.
    public func add(_ batch: Batch, start: Int32? = nil) throws -> [Row] {
        try add(batch, start: start, beginning: nil).rows
    }

    /// - Parameter beginning: what an encoder-decoder is given in place of the start token; nil: that token.
    /// - Returns: the new rows, and what each was given of that.
    func add(
        _ batch: Batch, start: Int32?, beginning: DecoderBeginning?
    ) throws -> (rows: [Row], beginnings: [[Int32]]?) {
        let info = session.backbone.info
        let isContinuation = info.architecture == .decoderOnly
        guard let first = start ?? info.decoderStartToken ?? (isContinuation ? 0 : nil) else {
            throw SeamError(
                .invalidArgument, "the backbone names no decoder_start_token_id, so the start token must be given")
        }
        guard first >= 0, Int(first) < vocabulary else {
            throw SeamError(.invalidArgument, "the start token \(first) is outside the vocabulary of \(vocabulary)")
        }
        let routes = batch.routes
        /// Tokens of each row before those that it is given.
        let own = beginning?.tokens.count ?? 1
        let given = isContinuation ? batch.texts.map(\.count) : [Int](repeating: own, count: batch.count)
        let most = try given.enumerated().map { index, length in
            let route = routes.isEmpty ? nil : routes[index]
            try session.requireRoute(route)
            let limit = min(capacity, session.textLimits(of: route).target ?? capacity)
            guard length <= limit else {
                throw SeamError(
                    .invalidArgument, "text \(index) has \(length) tokens, and a row on its route has room for \(limit)"
                )
            }
            return limit
        }
        let added = given.indices.map { Row(number: nextNumber + $0) }
        // Before a shorter prompt than the longest stands padding, which the row keeps.
        let longest = isContinuation ? batch.sourceLength : own
        let padding = longest - (given.min() ?? longest)
        // Adapters put them before a row's text, which has as much room behind them.
        let before = (routes.isEmpty ? [nil] : routes).map { session.promptLength(of: $0)[Int(Stack.decoder.rawValue)] }
        let vectors = before.max() ?? 0
        let needed = capacity + padding + vectors
        // Who joins a state that has room takes that one's.
        let isRoomy = stepper != nil && room >= needed
        let joining = try SessionStepper(
            session: session, batch: batch,
            capacity: (isRoomy ? longest : needed - vectors) - (isContinuation ? longest : own - 1),
            beginning: beginning)
        var logits = [Float](repeating: 0, count: batch.count * vocabulary)
        try joining.step(tokens: [Int32](repeating: first, count: batch.count), into: &logits)
        if let stepper {
            try emptying { try stepper.append(joining) }
        } else {
            stepper = joining
        }
        if !isRoomy { room = max(room, needed) }
        scores += logits
        nextNumber += batch.count
        rows += added
        lengths += given
        limits += most
        return (added, joining.beginnings)
    }

    /// Gives every row one more token, and has the logits of the tokens that follow afterwards.
    /// - Parameter tokens: one for each row that is there.
    /// - Throws: `.invalidArgument` for a row that is not there, a row without a token, a token outside the vocabulary and
    ///   a row that is full; nothing has changed then. After another error, which comes from the computation, the batch has
    ///   no rows any more.
    public func step(_ tokens: [Row: Int32]) throws {
        for row in tokens.keys { _ = try index(of: row) }
        let given = try rows.enumerated().map { index, row in
            guard let token = tokens[row] else {
                throw SeamError(.invalidArgument, "\(row) was given no token: every row takes one in a step")
            }
            guard token >= 0, Int(token) < vocabulary else {
                throw SeamError(
                    .invalidArgument, "the token \(token) of \(row) is outside the vocabulary of \(vocabulary)")
            }
            guard lengths[index] < limits[index] else {
                throw SeamError(
                    .invalidArgument, "\(row) has \(lengths[index]) tokens, as many as it has room for: remove it")
            }
            return token
        }
        guard let stepper else { return }
        try emptying { try stepper.step(tokens: given, into: &scores) }
        for index in lengths.indices { lengths[index] += 1 }
    }

    /// Lets rows go while the others go on.
    /// - Throws: `.invalidArgument` for a row that is not there; nothing has changed then. After another error, which comes
    ///   from the computation, the batch has no rows any more.
    public func remove(_ leaving: [Row]) throws {
        let gone = Set(try leaving.map { try index(of: $0) })
        guard gone.count < rows.count else { return removeAll() }
        guard !gone.isEmpty else { return }
        let kept = rows.indices.filter { !gone.contains($0) }
        try emptying { try stepper?.reorder(rows: kept.map { Int32($0) }) }
        scores = kept.flatMap { scores[places($0)] }
        (rows, lengths, limits) = (kept.map { rows[$0] }, kept.map { lengths[$0] }, kept.map { limits[$0] })
    }

    /// Lets all rows go.
    public func removeAll() {
        (rows, lengths, limits, scores, stepper, room) = ([], [], [], [], nil, 0)
    }

    /// The scores of the token that follows in a row, as many as the vocabulary has tokens.
    /// - Throws: `.invalidArgument` for a row that is not there.
    public func logits(of row: Row) throws -> [Float] { Array(scores[places(try index(of: row))]) }

    /// The number of tokens of a row: its prompt or start token, and those that it was given.
    /// - Throws: `.invalidArgument` for a row that is not there.
    public func length(of row: Row) throws -> Int { lengths[try index(of: row)] }

    /// The same scores where they lie, which the receiver may change.
    func withLogits<Result>(of row: Row, _ body: (inout [Float], Range<Int>) throws -> Result) throws -> Result {
        try body(&scores, places(try index(of: row)))
    }

    /// Runs what leaves the decoding state in no known condition where it fails.
    private func emptying(_ body: () throws -> Void) throws {
        do {
            try body()
        } catch {
            removeAll()
            throw error
        }
    }

    private func places(_ index: Int) -> Range<Int> { index * vocabulary..<(index + 1) * vocabulary }

    private func index(of row: Row) throws -> Int {
        guard let index = rows.firstIndex(of: row) else {
            throw SeamError(.invalidArgument, "\(row) is not in the batch, or has left it")
        }
        return index
    }
}
