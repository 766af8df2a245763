import Engine
import Support

/// The loss of a batch.
public struct Loss {
    /// A scalar, the mean over the labels that count.
    public let value: Tensor
    /// Labels that count.
    public let tokenCount: Int
}

extension Session {
    /// Rows whose scores are made at once, in pieces of nearly one size.
    func headChunks(_ rows: Int) -> [Range<Int>] {
        let limit = max(1, scoresAtOnce / max(backbone.info.vocabSize, 1))
        let count = (rows + limit - 1) / limit
        return (0..<count).map { rows * $0 / count..<rows * ($0 + 1) / count }
    }

    /// The cross-entropy of what the session says where the batch has labels, or of the classes of its sources.
    ///
    /// Over a long text the scores of the whole vocabulary would be the largest tensor of a step, and their gradient
    /// another. They are made piece by piece then, and each piece is walked back at once, so that only its gradient with
    /// respect to the states is kept. The gradient of a trained head is gathered on the way: the loss is to be walked back
    /// as it is, from a gradient of 1.
    /// - Parameters:
    ///   - encoded: the encoder's output, when a cache has it; else the encoder runs.
    ///   - training: whether gradients are wanted.
    /// - Throws: `.invalidArgument` for a batch without labels, or whose classes are not the session's.
    public func loss(
        _ context: Context, _ batch: Batch, encoded: Tensor? = nil, labelSmoothing: Double, training: Bool = false
    ) throws -> Loss {
        if batch.classes.isEmpty,
            let states = try labelledStates(context, batch, encoded: encoded, training: training)
        {
            let chunks = headChunks(states.targets.count)
            guard chunks.count == 1 else {
                return try loss(context, states, chunks, labelSmoothing: labelSmoothing, training: training)
            }
            return try loss(
                context, scores: try backbone.head(pass(context, training: training), hidden: states.hidden),
                targets: try context.constant(states.targets, [states.targets.count]), labelSmoothing: labelSmoothing)
        }
        let predictions = try predictions(context, batch, encoded: encoded, training: training)
        return try loss(
            context, scores: predictions.scores, targets: predictions.targets, labelSmoothing: labelSmoothing)
    }

    private func loss(_ context: Context, scores: Tensor, targets: Tensor, labelSmoothing: Double) throws -> Loss {
        let value = try context.crossEntropy(
            scores, targets: targets, ignoreIndex: Batch.ignoredLabel, labelSmoothing: labelSmoothing, reduction: .mean)
        return Loss(value: value, tokenCount: targets.elementCount)
    }

    private func loss(
        _ context: Context, _ states: LabelledStates, _ chunks: [Range<Int>], labelSmoothing: Double, training: Bool
    ) throws -> Loss {
        let count = states.targets.count
        let wantsGradient = training && states.hidden.requiresGradient
        var gradients: [Tensor] = []
        var sum = 0.0
        for rows in chunks {
            let part = makeContext(recordsGradients: training)
            let values = try part.slice(states.hidden.detached, axis: 0, start: rows.lowerBound, length: rows.count)
            let leaf = part.retain(wantsGradient ? values.asLeaf : values)
            let loss = try part.crossEntropy(
                try backbone.head(pass(part, training: training), hidden: leaf),
                targets: try part.constant(Array(states.targets[rows]), [rows.count]),
                ignoreIndex: Batch.ignoredLabel, labelSmoothing: labelSmoothing, reduction: .sum)
            sum += Double(loss.floats[0])
            guard training, loss.requiresGradient else { continue }
            try part.backward(loss, seed: try part.full(1 / Double(count), .f32, loss.shape))
            guard wantsGradient else { continue }
            gradients.append(try leaf.gradient?.value ?? part.full(0, .f32, leaf.shape))
        }
        let value = try context.full(sum / Double(count), .f32, [])
        guard !gradients.isEmpty else { return Loss(value: value, tokenCount: count) }
        let gradient = try context.concat(gradients, axis: 0)
        return Loss(
            value: context.custom(result: value, operand: states.hidden) { _ in gradient }, tokenCount: count)
    }
}
