import Engine
import Files
import SeamHost
import Testing

/// Expects the gradients of an adapter on a seam of prefixes, through the whole model, to be the slopes of its loss.
///
/// The f32 loss carries an error of about 3e-7 (2^-24 times a loss of 4, and as much again from the layers before it),
/// so a difference quotient over 2h = 0.02 is wrong by 2e-5, and twice that after the extrapolation. Entries are compared
/// to 1 % of the largest of their parameter and that error, while a wrong term of a formula shows as tens of per cent.
/// The families that it is called with have smooth activations, since a kink of relu within the step would show too.
public func expectGradients(of id: String, _ options: JSON, in model: OpenModel) throws {
    let pairs = makePairs(3)
    let batch = try Batch(sources: pairs.sources, targets: pairs.targets, info: model.info)
    func loss() throws -> Double {
        -(try model.session.score(batch)).map(\.logProbability).reduce(0, +) / Double(batch.labelCount)
    }
    let adapter = try model.attach(id, options)
    randomise(adapter, deviation: 0.5)
    try adapter.unfreeze()

    let context = model.session.makeContext(recordsGradients: true)
    let logits = try model.session.forward(context, batch).logits
    let targets = try context.constant(batch.labels, [batch.count, batch.targetLength])
    try context.backward(
        try context.crossEntropy(
            logits, targets: targets, ignoreIndex: Batch.ignoredLabel, labelSmoothing: 0, reduction: .mean))

    for variable in adapter.parameters.variables {
        let value = try #require(variable.tensor.gradient?.value, "\(variable.name) has no gradient")
        let found = try context.contiguous(value).floats
        let expected = try found.indices.map { try slope(variable, $0, loss) }
        let largest = expected.map(abs).max()!
        #expect(largest > 2e-3, "\(variable.name) does not matter, so the comparison shows nothing")
        #expect(distance(found, expected) < 0.01 * largest + 4e-5, "\(variable.name)")
    }
}
