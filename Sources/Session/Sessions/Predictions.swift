import Engine
import Support

/// Scores and what they should be, one row for each label that counts: for a loss or for scoring.
public struct Predictions {
    /// [rows, choices]: of the vocabulary, or of the classes. Alive as long as the context.
    public let scores: Tensor
    /// [rows] i32.
    public let targets: Tensor
    /// For each row its example in the batch.
    let examples: [Int]
}

extension Session {
    /// What the session says where the batch has labels, or of the classes of its sources.
    ///
    /// Where the backbone has its head apart, only positions with a label are multiplied with the vocabulary: the sources
    /// of a decoder-only backbone and all padding cost nothing there.
    /// - Parameter encoded: the encoder's output, when a cache has it; else the encoder runs.
    /// - Throws: `.invalidArgument` for a batch without labels, or whose classes are not the session's.
    public func predictions(_ context: Context, _ batch: Batch, encoded: Tensor? = nil, training: Bool = false) throws
        -> Predictions
    {
        let own = try RoutedBatch(batch, in: self, training: training)
        let batch = own.batch
        if !batch.classes.isEmpty { return try classPredictions(context, own, training: training) }
        let places = batch.labels.indices.filter { batch.labels[$0] != Batch.ignoredLabel }
        guard batch.labels.count == batch.count * batch.targetLength, !places.isEmpty else {
            throw SeamError(.invalidArgument, "the batch has no targets: training and scoring need labels")
        }
        let targets = context.retain(try context.constant(places.map { batch.labels[$0] }, [places.count]))
        let index = try context.constant(places.map(Int32.init), [places.count])
        func picked(_ x: Tensor) throws -> Tensor {
            let rows = try context.reshape(x, [x.shape[0] * x.shape[1], x.shape[2]])
            return context.retain(
                places.count == rows.shape[0] ? rows : try context.indexSelect(rows, axis: 0, index: index))
        }
        let encoded = try encoded.map { try own.rows.ordered($0, in: context) }
        let scores: Tensor
        if backbone.hasSeparateHead, !backbone.info.isOpaque {
            let input = try decoderInput(context, own, encoded: encoded, training: training)
            let hidden =
                try input.map { try backbone.decodeHidden(pass(context, rows: own.rows, training: training), $0) }
                ?? textStates(context, own, training: training)
            scores = try backbone.head(pass(context, training: training), hidden: try picked(hidden))
        } else {
            scores = try picked(try forward(context, own, encoded: encoded, training: training).logits)
        }
        return Predictions(
            scores: scores, targets: targets,
            examples: places.map { own.rows.callersRow($0 / batch.targetLength) })
    }

    private func classPredictions(_ context: Context, _ own: RoutedBatch, training: Bool) throws -> Predictions {
        let batch = own.batch
        let scores = try classify(context, own, training: training)
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
    public func score(_ batch: Batch, encoded: Tensor? = nil) throws -> [Score] {
        let context = makeContext(recordsGradients: false)
        let predictions = try predictions(context, batch, encoded: encoded)
        let losses = try context.crossEntropy(
            predictions.scores, targets: predictions.targets, ignoreIndex: Batch.ignoredLabel, labelSmoothing: 0,
            reduction: .none
        ).floats
        let best = try context.argmax(predictions.scores, axis: -1, keep: false).integers
        let targets = predictions.targets.integers
        var sums = [(logProbability: Double, count: Int, correct: Int)](repeating: (0, 0, 0), count: batch.count)
        for (row, example) in predictions.examples.enumerated() {
            guard !losses[row].isNaN else {
                throw SeamError(
                    .numeric, "logits of example \(example) to score: expected numbers, found NaN or infinity")
            }
            sums[example].logProbability -= Double(losses[row])
            sums[example].count += 1
            if best[row] == targets[row] { sums[example].correct += 1 }
        }
        return sums.map { Score(logProbability: $0.logProbability, tokenCount: $0.count, correctCount: $0.correct) }
    }
}
