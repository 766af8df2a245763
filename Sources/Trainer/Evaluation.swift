import Engine
import Generation
import Glibc
import SeamHost
import Support

/// Teacher-forced results over a data set.
public struct ScoreSummary: Sendable, Equatable {
    /// Mean negative log-probability of a label, in nats: of a target's token, or of an example's class.
    public let loss: Double
    /// Share of labels that are the model's first choice, a token's given the labels before.
    public let accuracy: Double
    public let examples: Int
    /// Labels that count: target tokens, or as many as examples in a classification.
    public let tokens: Int
    /// Whether the labels are classes of examples.
    public let isClassification: Bool

    /// What one label is of: "token" or "example".
    public var unit: String { labelUnit(isClassification: isClassification) }
    /// What the accuracy is called: "accuracy" or "token accuracy".
    public var accuracyName: String { isClassification ? "accuracy" : "token accuracy" }

    public var perplexity: Double { exp(loss) }
}

/// What one label is of, for the words of a report.
func labelUnit(isClassification: Bool) -> String { isClassification ? "example" : "token" }

/// Loss and accuracy of a session on a data set.
/// - Parameters:
///   - cache: of what is a constant of the examples, keyed by position in `data`; nil computes all.
///   - shouldContinue: asked before every batch; false throws `.cancelled`.
public func score(
    _ session: Session, _ data: TokenPairs, batchSize: Int, cache: SeamCache? = nil,
    shouldContinue: () -> Bool = { true }
) throws -> ScoreSummary {
    guard data.count > 0 else { throw SeamError(.invalidArgument, "the data set to score has no examples") }
    try data.check(fits: session)
    var (logProbability, tokens, correct) = (0.0, 0, 0)
    for indices in try data.batchesByLength(size: batchSize) {
        guard shouldContinue() else { throw SeamError(.cancelled, "scoring was cancelled") }
        let batch = try data.batch(indices, info: session.backbone.info)
        let kept = try cache?.states(of: batch, examples: indices)
        for score in try session.score(batch, kept: kept) {
            logProbability += score.logProbability
            tokens += score.tokenCount
            correct += score.correctCount
        }
    }
    return ScoreSummary(
        loss: -logProbability / Double(tokens), accuracy: Double(correct) / Double(tokens), examples: data.count,
        tokens: tokens, isClassification: data.isClassification)
}

/// The best generated target of every source, in order.
/// - Parameters:
///   - data: its sources and routes; targets are not read.
///   - progress: called after every batch with the number of sources done; false throws `.cancelled`.
public func generateAll(
    _ session: Session, _ data: TokenPairs, batchSize: Int, options: GenerationOptions,
    progress: (Int) -> Bool = { _ in true }
) throws -> [[Int32]] {
    var results = [[Int32]](repeating: [], count: data.count)
    var done = 0
    for indices in try data.batchesByLength(size: batchSize) {
        let generated = try session.generate(
            try data.sourceBatch(indices, info: session.backbone.info), options: options)
        for (row, index) in indices.enumerated() { results[index] = generated[row][0].tokens }
        done += indices.count
        guard progress(done) else { throw SeamError(.cancelled, "generation was cancelled after \(done) sources") }
    }
    return results
}
