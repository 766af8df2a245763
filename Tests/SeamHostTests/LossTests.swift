import Engine
import SeamHost
import Support
import TestSupport
import Testing

/// The loss of a large vocabulary, made piece by piece, against the scores all at once.
@Suite struct LossTests {
    private func batch(_ model: OpenModel) throws -> Batch {
        let pairs = makePairs(6)
        return try Batch(sources: pairs.sources, targets: pairs.targets, info: model.info)
    }

    /// The same sums in another order: 1e-6 of the loss, and of the largest gradient of all parameters, since some are only
    /// rounding (a softmax cancels what the bias of its keys adds).
    @Test(arguments: [0.0, 0.1]) func piecesGiveTheLossAndItsGradients(smoothing: Double) throws {
        let model = try OpenModel()
        let adapter = try model.attach()
        let batch = try batch(model)
        try adapter.unfreeze()
        try model.backbone.unfreeze()
        let variables = model.session.variables
        var results: [(loss: Float, gradients: [[Float]])] = []
        for rows in [1 << 20, 4] {
            model.session.scoresAtOnce = rows * model.info.vocabSize
            #expect((model.session.headChunks(batch.labelCount).count > 2) == (rows == 4))
            let context = model.session.makeContext(recordsGradients: true)
            let loss = try model.session.loss(context, batch, labelSmoothing: smoothing, training: true)
            #expect(loss.tokenCount == batch.labelCount)
            try context.backward(loss.value)
            let gradients = try variables.map {
                try context.contiguous(try #require($0.tensor.gradient?.value, "\($0.name)")).floats
            }
            results.append((loss.value.floats[0], gradients))
            clearGradients(variables)
        }
        #expect(abs(results[0].loss - results[1].loss) < 1e-6 * results[0].loss)
        let largest = results[0].gradients.joined().reduce(0) { max($0, abs($1)) }
        #expect(largest > 0)
        for (index, variable) in variables.enumerated() {
            let (whole, pieces) = (results[0].gradients[index], results[1].gradients[index])
            #expect(distance(whole, pieces) <= 1e-6 * largest, "\(variable.name)")
        }
    }

    @Test func piecesGiveTheScores() throws {
        let model = try OpenModel()
        let batch = try batch(model)
        let whole = try model.session.score(batch)
        model.session.scoresAtOnce = 3 * model.info.vocabSize
        let pieces = try model.session.score(batch)
        #expect(whole.count == 6)
        for (one, other) in zip(whole, pieces) {
            #expect((one.tokenCount, one.correctCount) == (other.tokenCount, other.correctCount))
            #expect(abs(one.logProbability - other.logProbability) < 1e-6 * abs(one.logProbability))
        }
    }
}
