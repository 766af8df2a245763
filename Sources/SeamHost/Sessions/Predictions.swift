import Engine
import Support

/// Scores and what they should be, one row for each label that counts: for a loss or for scoring.
public struct Predictions {
    /// [rows, choices]: of the vocabulary, or of the classes. Alive as long as the context.
    public let scores: Tensor
    /// [rows] i32.
    public let targets: Tensor
    /// The example of each row in the batch.
    let examples: [Int]
}

/// What the head reads, and what its scores should be, one row for each label that counts.
struct LabelledStates {
    /// [rows, d_model]. Alive as long as the context.
    let hidden: Tensor
    let targets: [Int32]
    /// The example of each row in the caller's batch.
    let examples: [Int]
}

/// The labels of a batch that count.
private struct LabelPlaces {
    /// The labels' places in the rows of all examples behind each other.
    let places: [Int]
    let targets: [Int32]
    let examples: [Int]

    /// - Throws: `.invalidArgument` for a batch without labels.
    init(_ own: RoutedBatch) throws {
        let batch = own.batch
        let places = batch.labels.indices.filter { batch.labels[$0] != Batch.ignoredLabel }
        guard batch.labels.count == batch.count * batch.targetLength, !places.isEmpty else {
            throw SeamError(.invalidArgument, "the batch has no targets: training and scoring need labels")
        }
        targets = places.map { batch.labels[$0] }
        examples = places.map { own.rows.callersRow($0 / batch.targetLength) }
        self.places = places
    }

    /// The rows of x [batch, target, width] that have a label.
    func picked(_ x: Tensor, in context: Context) throws -> Tensor {
        let rows = try context.reshape(x, [x.shape[0] * x.shape[1], x.shape[2]])
        guard places.count < rows.shape[0] else { return context.retain(rows) }
        let index = try context.constant(places.map(Int32.init), [places.count])
        return context.retain(try context.indexSelect(rows, axis: 0, index: index))
    }
}

extension Session {
    /// What the session says where the batch has labels, or of the classes of its sources.
    ///
    /// Where the backbone has its head apart, only positions with a label are multiplied with the vocabulary: the sources
    /// of a decoder-only backbone and all padding cost nothing there.
    /// - Parameter kept: what a cache has of these rows, which is not computed then.
    /// - Throws: `.invalidArgument` for a batch without labels, or whose classes are not the session's.
    public func predictions(_ context: Context, _ batch: Batch, kept: KeptStates? = nil, training: Bool = false) throws
        -> Predictions
    {
        if !batch.classes.isEmpty {
            return try classPredictions(
                context, try RoutedBatch(batch, in: self), kept: kept, training: training)
        }
        let (scores, targets, examples): (Tensor, [Int32], [Int])
        if let states = try labelledStates(context, batch, kept: kept, training: training) {
            scores = try backbone.head(pass(context, training: training), hidden: states.hidden)
            (targets, examples) = (states.targets, states.examples)
        } else {
            let own = try RoutedBatch(batch, in: self)
            let labels = try LabelPlaces(own)
            let kept = try kept?.ordered(own.rows, in: context)
            scores = try labels.picked(
                try forward(context, own, kept: kept, training: training).logits, in: context)
            (targets, examples) = (labels.targets, labels.examples)
        }
        return Predictions(
            scores: scores, targets: context.retain(try context.constant(targets, [targets.count])), examples: examples)
    }

    /// What the head reads where the batch has labels; nil for a backbone whose head is not apart.
    func labelledStates(_ context: Context, _ batch: Batch, kept: KeptStates?, training: Bool) throws -> LabelledStates?
    {
        guard backbone.hasSeparateHead, !backbone.info.isOpaque else { return nil }
        let own = try RoutedBatch(batch, in: self)
        let labels = try LabelPlaces(own)
        let kept = try kept?.ordered(own.rows, in: context)
        let input = try decoderInput(context, own, kept: kept, training: training)
        let hidden =
            try input.map { try backbone.decodeHidden(pass(context, rows: own.rows, training: training), $0) }
            ?? textStates(context, own, kept: kept, training: training)
        return LabelledStates(
            hidden: try labels.picked(hidden, in: context), targets: labels.targets, examples: labels.examples)
    }

    private func classPredictions(
        _ context: Context, _ own: RoutedBatch, kept: KeptStates?, training: Bool
    ) throws -> Predictions {
        let batch = own.batch
        let scores = try classify(
            context, own, kept: try kept?.ordered(own.rows, in: context), training: training)
        let classes = scores.shape[1]
        if let stranger = batch.classes.first(where: { $0 < 0 || $0 >= classes }) {
            throw SeamError(
                .invalidArgument,
                "the classes must be 0 ... \(classes - 1), as the attached adapter has them, found \(stranger)")
        }
        return Predictions(
            scores: scores, targets: context.retain(try context.constant(batch.classes, [batch.count])),
            examples: (0..<batch.count).map(own.rows.callersRow))
    }

    /// What scoring tells of one example.
    public struct Score: Sendable, Equatable {
        /// Sum of the natural logarithms of the labels' probabilities.
        public let logProbability: Double
        /// Labels that count; 1 in a classification.
        public let tokenCount: Int
        /// How many of them are the model's first choice, given the labels before.
        public let correctCount: Int
    }

    /// Teacher-forced scores of every example of a batch with labels, or the scores of its classes.
    /// - Throws: `.numeric` where one is not a number.
    public func score(_ batch: Batch, kept: KeptStates? = nil) throws -> [Score] {
        var sums = [(logProbability: Double, count: Int, correct: Int)](repeating: (0, 0, 0), count: batch.count)
        func add(_ scores: Tensor, _ targets: [Int32], _ examples: ArraySlice<Int>, in context: Context) throws {
            let losses = try context.crossEntropy(
                scores, targets: try context.constant(targets, [targets.count]), ignoreIndex: Batch.ignoredLabel,
                labelSmoothing: 0, reduction: .none
            ).floats
            let best = try context.argmax(scores, axis: -1, keep: false).integers
            for (row, example) in examples.enumerated() {
                guard !losses[row].isNaN else {
                    throw SeamError(
                        .numeric, "logits of example \(example) to score: expected numbers, found NaN or infinity")
                }
                sums[example].logProbability -= Double(losses[row])
                sums[example].count += 1
                if best[row] == targets[row] { sums[example].correct += 1 }
            }
        }
        let context = makeContext(recordsGradients: false)
        if batch.classes.isEmpty,
            let states = try labelledStates(context, batch, kept: kept, training: false)
        {
            for rows in headChunks(states.targets.count) {
                let part = makeContext(recordsGradients: false)
                let hidden = part.retain(
                    try part.slice(states.hidden, axis: 0, start: rows.lowerBound, length: rows.count))
                try add(
                    try backbone.head(pass(part), hidden: hidden), Array(states.targets[rows]), states.examples[rows],
                    in: part)
            }
        } else {
            let predictions = try predictions(context, batch, kept: kept)
            try add(predictions.scores, predictions.targets.integers, predictions.examples[...], in: context)
        }
        return sums.map { Score(logProbability: $0.logProbability, tokenCount: $0.count, correctCount: $0.correct) }
    }
}
