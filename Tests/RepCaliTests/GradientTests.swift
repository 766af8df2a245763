import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing
import Trainer

/// Gradients through the whole decoder against central differences.
@Suite struct GradientTests {
    private func loss(_ session: Session, _ batch: Batch) throws -> Double {
        let scores = try session.score(batch)
        return -scores.map(\.logProbability).reduce(0, +) / Double(batch.labelCount)
    }

    /// The f32 loss carries an error of about 3e-7 (2^-24 times a loss of 4, and as much again from the layers before
    /// it), so a difference quotient over 2h = 0.02 is wrong by 2e-5. Entries are compared to 1 % of the largest of their
    /// parameter, at least 1e-4: several times that error, while a wrong term of the formula shows as tens of per cent.
    /// The families have smooth activations, since a kink of relu within the step would show too.
    @Test(
        arguments: [TinyModel(.mt5), TinyModel(.marian), TinyModel(.mbart)],
        [
            ["initialization": "identity"], ["initialization": "paper"], ["norm": "none"],
            ["seed": "positions", "max_positions": 3, "lambda": 0.5],
            ["seed": "positions", "max_positions": 3, "initialization": "paper"],
        ] as [JSON])
    func everyParameter(_ family: TinyModel, _ options: JSON) throws {
        let model = try OpenModel(family)
        let pairs = makePairs(4)
        let batch = try Batch(sources: pairs.sources, targets: pairs.targets, info: model.info)
        let adapter = try model.attach("repcali", options)
        for (index, entry) in adapter.parameters.entries.enumerated() {
            randomise(entry.tensor, mean: entry.name == "norm.weight" ? 1 : 0, deviation: 0.3, seed: UInt64(index))
        }
        try adapter.unfreeze()

        let context = model.session.makeContext(recordsGradients: true)
        let logits = try model.session.forward(context, batch).logits
        let targets = try context.constant(batch.labels, [batch.count, batch.targetLength])
        let mean = try context.crossEntropy(
            logits, targets: targets, ignoreIndex: Batch.ignoredLabel, labelSmoothing: 0, reduction: .mean)
        try context.backward(mean)

        for variable in adapter.parameters.variables {
            let value = try #require(variable.tensor.gradient?.value, "\(variable.name) has no gradient")
            let found = try context.contiguous(value).floats
            let expected = try found.indices.map { try slope(variable, $0) { try loss(model.session, batch) } }
            let largest = expected.map(abs).max()!
            #expect(largest > 1e-2, "\(variable.name) does not matter, so the comparison shows nothing")
            #expect(distance(found, expected) < 0.01 * largest, "\(variable.name)")
        }
    }

    /// The same through an opaque backbone, whose gradient is its own function.
    @Test func throughAnOpaqueBackbone() throws {
        let scratch = try ScratchFolder()
        let runtime = try makeRuntime()
        try runtime.loadPlugin(try compilePlugin("opaque-backbone/tiny_opaque.c", into: scratch.path))
        let backbone = try Backbone(runtime: runtime, id: "tiny-opaque", path: nil)
        let session = Session(backbone: backbone)
        let adapter = try Adapter(backbone: backbone, id: "repcali")
        try session.attach(adapter)
        randomise(adapter.parameters["embedding.weight"]!, deviation: 0.3)
        let pairs = makePairs(8, vocabulary: 16)
        let batch = try Batch(sources: pairs.sources, targets: pairs.targets, info: backbone.info)
        try adapter.unfreeze()
        let context = session.makeContext(recordsGradients: true)
        let logits = try session.forward(context, batch).logits
        let targets = try context.constant(batch.labels, [batch.count, batch.targetLength])
        try context.backward(
            try context.crossEntropy(
                logits, targets: targets, ignoreIndex: Batch.ignoredLabel, labelSmoothing: 0, reduction: .mean))
        let variable = adapter.parameters.variables[0]
        let found = try context.contiguous(try #require(variable.tensor.gradient?.value)).floats
        let expected = try found.indices.map { try slope(variable, $0) { try loss(session, batch) } }
        #expect(distance(found, expected) < 0.01 * expected.map(abs).max()!)
    }
}
