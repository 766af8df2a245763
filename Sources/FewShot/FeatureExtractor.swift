import Engine
import Files
import Support

/// Class scores and hidden states of a number of texts, row by row.
public struct ClassFeatures: Sendable {
    /// [count x classes], of the task's kind.
    public let scores: [Float]
    /// [count x classes], whatever the task's kind: what zero-shot answers are calibrated in.
    public let probabilities: [Float]
    /// [count x width]
    public let hidden: [Float]
    public let classes: Int
    public let width: Int
    public var count: Int { scores.count / classes }

    /// The rows at `indices`, in that order.
    public func rows(_ indices: [Int]) -> ClassFeatures {
        func pick(_ values: [Float], _ columns: Int) -> [Float] {
            var result: [Float] = []
            result.reserveCapacity(indices.count * columns)
            for index in indices { result += values[index * columns..<(index + 1) * columns] }
            return result
        }
        return ClassFeatures(
            scores: pick(scores, classes), probabilities: pick(probabilities, classes), hidden: pick(hidden, width),
            classes: classes, width: width)
    }
}

/// Asks a model about texts, each distinct one once, and keeps the answers.
///
/// A model without a head scores no words: the scores of a text are then its similarities to the label words, which are
/// asked as texts of their own: the cosine of the two pooled vectors times 20, the scale that sentence encoders are
/// trained with (Reimers and Gurevych 2019, in their released training code).
///
/// One thread, as its source.
public final class FeatureExtractor {
    public let task: ClassificationTask
    public let source: any AnswerSource
    /// Seconds spent in asking the model.
    public private(set) var querySeconds = 0.0

    private let cache: FeatureCache
    private let descriptions: FeatureExtractor.Descriptions?
    private static let similarityScale: Float = 20

    /// The vectors of the label words of a model without a head, asked on first use.
    private final class Descriptions {
        let cache: FeatureCache
        var vectors: [Float]?
        init(cache: FeatureCache) { self.cache = cache }
    }

    /// - Parameter cacheFolder: where answers outlive the process; nil keeps them in memory.
    /// - Throws: as `FeatureCache`.
    public init(task: ClassificationTask, source: any AnswerSource, cacheFolder: String? = nil) throws {
        (self.task, self.source) = (task, source)
        let folder = source.identity == nil ? nil : cacheFolder
        func cache(_ template: String, words: [String]) throws -> FeatureCache {
            try FeatureCache(
                folder: folder,
                key: FeatureKey(
                    model: source.identity ?? "", template: template, words: words,
                    multiToken: task.multiToken),
                width: source.width)
        }
        self.cache = try cache(task.template.source, words: source.hasScores ? task.verbalizer.allWords : [])
        descriptions = source.hasScores ? nil : Descriptions(cache: try cache("{text}", words: []))
    }

    /// The features of texts, in their order.
    /// - Parameter progress: called with the number of distinct texts that are answered and of all; false stops with
    ///   `.cancelled`, and what was answered is kept.
    public func features(of inputs: [InputText], progress: (Int, Int) -> Bool = { _, _ in true }) throws -> ClassFeatures {
        let answers = try answers(to: inputs, in: cache, progress: progress)
        let words = source.hasScores ? answers.scores : try similarities(answers.hidden)
        return ClassFeatures(
            scores: try task.classScores(words: words, count: inputs.count),
            probabilities: try task.classScores(words: words, count: inputs.count, kind: .probability),
            hidden: answers.hidden, classes: task.classes, width: source.width)
    }

    /// The features of an empty text, whose scores calibration divides by.
    public func emptyFeatures() throws -> ClassFeatures {
        try features(of: [InputText("", task.template.needsTextB ? "" : nil)])
    }

    private func answers(
        to inputs: [InputText], in cache: FeatureCache, progress: (Int, Int) -> Bool
    ) throws -> AnswerFeatures {
        var missing: [InputText] = []
        var seen: Set<[UInt8]> = []
        for (input, row) in zip(inputs, cache.lookup(inputs)) where row == nil && seen.insert(input.bytes).inserted {
            missing.append(input)
        }
        if !missing.isEmpty {
            let start = monotonicSeconds()
            defer { querySeconds += monotonicSeconds() - start }
            var done = 0
            do {
                try source.answer(missing) { indices, features in
                    try cache.append(indices.map { missing[$0] }, scores: features.scores, hidden: features.hidden)
                    done += indices.count
                    return progress(done, missing.count)
                }
            } catch {
                // What was answered before the failure need not be asked again; that failure is the one to report.
                try? cache.flush()
                throw error
            }
            try cache.flush()
        }
        let features = cache.read(cache.lookup(inputs).compactMap { $0 })
        return AnswerFeatures(scores: features.scores, hidden: features.hidden)
    }

    /// Scaled cosines [count x words] of hidden states with the label words' vectors.
    private func similarities(_ hidden: [Float]) throws -> [Float] {
        guard let descriptions else { return [] }
        let width = source.width
        let words = task.verbalizer.allWords
        if descriptions.vectors == nil {
            let answers = try answers(to: words.map { InputText($0) }, in: descriptions.cache, progress: { _, _ in true })
            descriptions.vectors = Self.normalized(answers.hidden, width: width)
        }
        let product = LinearClassifier(
            width: width, centre: [Float](repeating: 0, count: width),
            weights: descriptions.vectors!.map { $0 * Self.similarityScale },
            bias: [Float](repeating: 0, count: words.count))
        return try product.scores(Self.normalized(hidden, width: width))
    }

    private static func normalized(_ rows: [Float], width: Int) -> [Float] {
        var result = rows
        for start in stride(from: 0, to: rows.count, by: width) {
            let norm = rows[start..<start + width].reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
            guard norm > 0 else { continue }
            for place in start..<start + width { result[place] = Float(Double(rows[place]) / norm) }
        }
        return result
    }
}
