import Datasets
import Engine
import Files
import Support

/// The answers to one prompt about texts, each distinct one asked for once, and kept.
///
/// A model without a head scores no words: the scores of a text are then its similarities to the label words, which are
/// asked as texts of their own in the same template: the cosine of the two pooled vectors times 20, the scale that
/// sentence encoders are trained with (Reimers and Gurevych 2019, in their released training code).
///
/// One thread, as its source.
final class PromptAnswers {
    /// Of one prompt.
    let task: ClassificationTask
    let source: any AnswerSource
    /// Seconds spent in asking the model.
    private(set) var querySeconds = 0.0

    private let cache: FeatureCache
    /// The vectors of the label words of a model without a head, normalised; asked for on first use.
    private var wordVectors: [Float]?
    /// Seconds for which answers wait in memory: what is lost when the process is killed.
    private let flushInterval: Double
    private static let similarityScale: Float = 20

    /// - Parameters:
    ///   - cacheFolder: where answers outlive the process; nil keeps them in memory.
    ///   - flushInterval: seconds between writes to the cache.
    /// - Throws: as `FeatureCache`.
    init(task: ClassificationTask, source: any AnswerSource, cacheFolder: String?, flushInterval: Double) throws {
        (self.task, self.source, self.flushInterval) = (task, source, flushInterval)
        let key = FeatureKey(
            model: source.identity ?? "", template: task.template.source,
            words: source.hasScores ? task.verbalizer.allWords : [], multiToken: task.multiToken)
        cache = try FeatureCache(folder: source.identity == nil ? nil : cacheFolder, key: key, width: source.width)
    }

    /// The scores of the label words of texts, in their order, and the hidden states.
    /// - Parameters:
    ///   - missing: those that the model is to be asked about (`missing(of:)`).
    ///   - progress: as that of `FeatureExtractor.features`, of this prompt.
    func answers(
        of inputs: [InputText], asking missing: [InputText], progress: (Int, Int) -> Bool
    ) throws -> AnswerFeatures {
        var answers = try answers(to: inputs, asking: missing, progress: progress)
        if !source.hasScores { answers.scores = try similarities(answers.hidden) }
        return answers
    }

    /// The distinct texts that the model has yet to be asked about.
    func missing(of inputs: [InputText]) -> [InputText] {
        var missing: [InputText] = []
        var seen: Set<[UInt8]> = []
        for (input, row) in zip(inputs, cache.lookup(inputs)) where row == nil && seen.insert(input.bytes).inserted {
            missing.append(input)
        }
        return missing
    }

    private func answers(
        to inputs: [InputText], asking missing: [InputText], progress: (Int, Int) -> Bool
    ) throws -> AnswerFeatures {
        if !missing.isEmpty { try ask(missing, progress: progress) }
        let rows = cache.lookup(inputs).compactMap { $0 }
        guard rows.count == inputs.count else {
            throw SeamError(.internal, "of \(inputs.count) texts the model answered only \(rows.count)")
        }
        let features = cache.read(rows)
        return AnswerFeatures(scores: features.scores, hidden: features.hidden)
    }

    private func ask(_ texts: [InputText], progress: (Int, Int) -> Bool) throws {
        let start = monotonicSeconds()
        defer { querySeconds += monotonicSeconds() - start }
        var lastFlush = start
        var done = 0
        func isWanted() -> Bool { progress(done, texts.count) }
        do {
            try source.answer(texts, shouldContinue: isWanted) { indices, features in
                try cache.append(indices.map { texts[$0] }, scores: features.scores, hidden: features.hidden)
                if monotonicSeconds() - lastFlush >= flushInterval {
                    try cache.flush()
                    lastFlush = monotonicSeconds()
                }
                done += indices.count
            }
            guard isWanted() else { throw SeamError(.cancelled, "asking the model was cancelled") }
        } catch {
            // What was answered before the failure need not be asked again; that failure is the one to report.
            try? cache.flush()
            throw error
        }
        try cache.flush()
    }

    /// Scaled cosines [count x words] of hidden states with the label words' vectors.
    private func similarities(_ hidden: [Float]) throws -> [Float] {
        let width = source.width
        let words = task.verbalizer.allWords
        let vectors: [Float]
        if let wordVectors {
            vectors = wordVectors
        } else {
            let texts = words.map { InputText($0, task.template.needsTextB ? "" : nil) }
            let answers = try answers(to: texts, asking: missing(of: texts), progress: { _, _ in true })
            vectors = Self.normalized(answers.hidden, width: width)
            wordVectors = vectors
        }
        let product = LinearClassifier(
            width: width, centre: [Float](repeating: 0, count: width),
            weights: vectors.map { $0 * Self.similarityScale }, bias: [Float](repeating: 0, count: words.count))
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
