import Engine
import Generation
import Glibc
import Session
import Support
import Text

/// Token ids of a data set: sources and, in the same order, targets.
public struct TokenPairs: Sendable {
    public let sources: [[Int32]]
    public let targets: [[Int32]]
    public var count: Int { sources.count }

    public init(sources: [[Int32]], targets: [[Int32]]) {
        precondition(sources.count == targets.count)
        self.sources = sources
        self.targets = targets
    }

    /// The examples at `indices` as a padded batch with labels.
    public func batch(_ indices: [Int], info: BackboneInfo) throws -> Batch {
        try Batch(sources: indices.map { sources[$0] }, targets: indices.map { targets[$0] }, info: info)
    }

    /// Examples by length, cut into batches: the order that pads least.
    /// Throws `SeamError(.invalidArgument)` for a size below 1.
    public func batchesByLength(size: Int) throws -> [[Int]] {
        let order = (0..<count).sorted {
            (sources[$0].count, targets[$0].count, $0) < (sources[$1].count, targets[$1].count, $1)
        }
        return try batches(order, size: size)
    }
}

/// Teacher-forced results over a data set.
public struct ScoreSummary: Sendable, Equatable {
    /// Mean negative log-probability of a label, in nats.
    public let loss: Double
    /// Share of labels that are the model's first choice, given the labels before.
    public let tokenAccuracy: Double
    public let examples: Int
    public let tokens: Int

    public var perplexity: Double { exp(loss) }
}

/// Loss and token accuracy of a session on a data set.
/// - Parameters:
///   - cache: of the encoder's outputs, keyed by position in `data`; nil runs the encoder.
///   - shouldContinue: asked before every batch; false throws `.cancelled`.
public func score(
    _ session: Session, _ data: TokenPairs, batchSize: Int, cache: SeamCache? = nil,
    shouldContinue: () -> Bool = { true }
) throws -> ScoreSummary {
    guard data.count > 0 else { throw SeamError(.invalidArgument, "the data set to score has no examples") }
    var (logProbability, tokens, correct) = (0.0, 0, 0)
    for indices in try data.batchesByLength(size: batchSize) {
        guard shouldContinue() else { throw SeamError(.cancelled, "scoring was cancelled") }
        let batch = try data.batch(indices, info: session.backbone.info)
        let encoded = try cache?.encoded(batch, examples: indices)
        for score in try session.score(batch, encoded: encoded) {
            logProbability += score.logProbability
            tokens += score.tokenCount
            correct += score.correctCount
        }
    }
    return ScoreSummary(
        loss: -logProbability / Double(tokens), tokenAccuracy: Double(correct) / Double(tokens), examples: data.count,
        tokens: tokens)
}

/// The best generated target of every source, in order.
/// - Parameter progress: called after every batch with the number of sources done; false throws `.cancelled`.
public func generateAll(
    _ session: Session, sources: [[Int32]], batchSize: Int, options: GenerationOptions,
    progress: (Int) -> Bool = { _ in true }
) throws -> [[Int32]] {
    var results = [[Int32]](repeating: [], count: sources.count)
    let pairs = TokenPairs(sources: sources, targets: sources)
    var done = 0
    for indices in try pairs.batchesByLength(size: batchSize) {
        let batch = try Batch(sources: indices.map { sources[$0] }, info: session.backbone.info)
        let generated = try session.generate(batch, options: options)
        for (row, index) in indices.enumerated() { results[index] = generated[row][0].tokens }
        done += indices.count
        guard progress(done) else { throw SeamError(.cancelled, "generation was cancelled after \(done) sources") }
    }
    return results
}

