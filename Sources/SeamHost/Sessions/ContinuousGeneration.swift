import Engine
import Generation
import Support

/// Generation for requests that come and go: each row of a `ContinuousBatch` has options of its own, gets one token in
/// every step, and leaves with its last one.
///
/// A row has the tokens that it would have alone, up to the rounding of sums in another order. One thread at a time, which
/// is the one of the session, as for `ContinuousBatch`.
public final class ContinuousGeneration {
    /// What a row got in a step.
    public struct Step: Sendable {
        public let row: ContinuousBatch.Row
        /// The chosen token, an end token among them; nil where none could be chosen.
        public let token: Int32?
        /// Its log-probability by the scores that it was chosen from; nil where none could be chosen, and where the row's
        /// options want none.
        public let logProbability: Float?
        /// Tokens of the row so far.
        public let count: Int
        /// Why the row has ended with this token; nil while it goes on, and where none could be chosen.
        public let finishReason: FinishReason?
        /// The whole of what was generated, with the row's last token; nil before it. The row has left then.
        public let sequence: GeneratedSequence?
        /// Why no token could be chosen, of logits without a largest number or by rules that forbid every token. The row
        /// has left then, and the others go on.
        public let failure: SeamError?
    }

    private let batch: ContinuousBatch
    private var searches: [ContinuousBatch.Row: RowSearch] = [:]

    /// The rows that are there.
    public var rows: [ContinuousBatch.Row] { batch.rows }

    /// A generation without rows.
    /// - Parameter capacity: the most tokens of a row, prompt included.
    /// - Throws: as `ContinuousBatch` does.
    public init(session: Session, capacity: Int) throws {
        batch = try ContinuousBatch(session: session, capacity: capacity)
    }

    /// Adds rows that are generated from the next step on.
    /// - Parameters:
    ///   - texts: token ids: prompts for a decoder-only backbone, else sources.
    ///   - options: those of these rows, without beams and with one sequence for each. The new tokens must fit behind the
    ///     longest prompt, into the batch's capacity and the backbone's positions.
    ///   - routes: the route of each row, as `ContinuousBatch.add` takes them.
    /// - Returns: the new rows, in the order of the texts.
    /// - Throws: `.invalidArgument` for options and texts that do not fit, `.unsupported` for beams and several sequences;
    ///   and as `ContinuousBatch.add` does.
    public func add(_ texts: [[Int32]], routes: [String?] = [], options: GenerationOptions) throws
        -> [ContinuousBatch.Row]
    {
        try add(try Batch(sources: texts, routes: routes, info: batch.session.backbone.info), options: options)
    }

    /// Adds the rows of a batch of sources, token ids or features; the rest is as for texts.
    public func add(_ sources: Batch, options: GenerationOptions) throws -> [ContinuousBatch.Row] {
        let session = batch.session
        let info = session.backbone.info
        let beginning = try session.beginning(options)
        let texts = session.prompts(of: sources, beginning)
        let (options, limits) = try session.fitted(
            options, routes: try session.routeIndices(of: sources), prompts: texts)
        let given = info.readsFeatures ? nil : sources.texts
        func search(_ index: Int, _ prompts: [[Int32]]?) throws -> RowSearch {
            let prompt = prompts?[index] ?? [options.decoderStartToken]
            // The last token that is generated is given to nobody.
            let most = min(try options.limit(behind: prompt.count), limits?[index] ?? .max)
            let length = prompt.count + most - 1
            guard length <= batch.capacity else {
                throw SeamError(
                    .invalidArgument,
                    "a prompt of \(prompt.count) tokens and \(length + 1 - prompt.count) new ones do not fit into the \(batch.capacity) tokens that a row of this batch has room for"
                )
            }
            return try RowSearch(
                prompt: prompt, source: given?[index], options: options, limit: most, vocabularySize: info.vocabSize)
        }
        // All that can be wrong is found before the model runs, which may first say what a row begins with.
        let known = try (0..<sources.count).map { try search($0, texts) }
        let isContinuation = info.architecture == .decoderOnly
        let added = try clearing {
            try batch.add(
                sources, start: isContinuation ? nil : options.decoderStartToken, beginning: beginning)
        }
        for (index, row) in added.rows.enumerated() {
            searches[row] = try added.beginnings.map { try search(index, $0) } ?? known[index]
        }
        return added.rows
    }

    /// Chooses the next token of every row, and gives it to those that go on; those that have ended leave.
    /// - Returns: what each row got, in the order of `rows` before the step; nothing without rows.
    /// - Throws: an error of the decoder, after which no row is there any more.
    public func step() throws -> [Step] {
        try clearing {
            var given: [ContinuousBatch.Row: Int32] = [:]
            let steps = try batch.rows.map { row in
                do {
                    let token = try batch.withLogits(of: row) { try searches[row]!.next(&$0, in: $1) }
                    let search = searches[row]!
                    if !search.isFinished { given[row] = token }
                    return Step(
                        row: row, token: token, logProbability: search.logProbability, count: search.count,
                        finishReason: search.finishReason, sequence: search.isFinished ? search.sequence : nil,
                        failure: nil)
                } catch let failure as SeamError {
                    return Step(
                        row: row, token: nil, logProbability: nil, count: searches[row]!.count, finishReason: nil,
                        sequence: nil, failure: failure)
                }
            }
            try drop(steps.map(\.row).filter { given[$0] == nil })
            try batch.step(given)
            return steps
        }
    }

    /// Lets a row go before its end.
    /// - Returns: what was generated of it.
    /// - Throws: `.invalidArgument` for a row that is not there.
    @discardableResult
    public func remove(_ row: ContinuousBatch.Row) throws -> GeneratedSequence? {
        let sequence = searches[row]?.sequence
        try clearing { try drop([row]) }
        return sequence
    }

    private func drop(_ rows: [ContinuousBatch.Row]) throws {
        try batch.remove(rows)
        for row in rows { searches[row] = nil }
    }

    /// Runs `body`; where it leaves the batch without rows, their searches go, too.
    private func clearing<Result>(_ body: () throws -> Result) throws -> Result {
        defer { if batch.rows.isEmpty { searches = [:] } }
        return try body()
    }
}
