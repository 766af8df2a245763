import Engine
import FewShot
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// What is learned of examples that one of the two parts tells. The choice itself is compared with leaving out each example
/// in python/tests/test_ridge_head.py.
@Suite struct RidgeHeadTests {
    private func head(_ model: OpenModel, _ options: JSON = .null) throws -> Adapter {
        try Adapter(backbone: model.backbone, id: "ridge-head", options: options, classes: 3, scoreKind: .logits)
    }

    private func accuracy(_ adapter: Adapter, _ given: ClassExamples) throws -> Double {
        let scores = try classScores(adapters: [adapter], scores: given.scores, hidden: given.hidden)
        let right = zip(try ZeroShot.predictions(scores, classes: 3), given.labels).count { $0 == Int($1) }
        return Double(right) / Double(given.labels.count)
    }

    private func fit(_ adapter: Adapter, _ given: ClassExamples) throws {
        _ = try FewShot.fit(
            adapters: [adapter], scores: given.scores, hidden: given.hidden, labels: given.labels,
            emptyScores: given.emptyScores)
    }

    /// Examples of few and of more than the 16 numbers of a state.
    @Test(arguments: [9, 45]) func statesThatTell(_ count: Int) throws {
        let model = try OpenModel()
        let (adapter, given) = (try head(model), ClassExamples(count))
        #expect(adapter.parameters.trainableCount == 0)
        try fit(adapter, given)
        #expect(adapter.parameters["weight"]!.floats.contains { $0 != 0 })
        #expect(try accuracy(adapter, given) > 0.9)
    }

    /// The linear map is left out where the states are noise.
    @Test func scoresThatTell() throws {
        let model = try OpenModel()
        let adapter = try head(model)
        var given = ClassExamples(45)
        for (index, label) in given.labels.enumerated() { given.scores[index * 3 + Int(label)] += 12 }
        var random = SeededGenerator(seed: 5, stream: "noise")
        given.hidden = given.hidden.map { _ in Float(random.normal()) }
        try fit(adapter, given)
        #expect(adapter.parameters["weight"]!.floats.allSatisfy { $0 == 0 })
        #expect(adapter.parameters["score_weight"]!.floats[0] > 0)
        #expect(try accuracy(adapter, given) > 0.8)
    }

    @Test func whatIsRefused() throws {
        let model = try OpenModel()
        expectError(.invalidArgument, "one of hidden and model_scores must be true, found false for both") {
            try head(model, ["hidden": false, "model_scores": false])
        }
        expectError(.invalidArgument, "needs at least 2 classes") {
            try Adapter(backbone: model.backbone, id: "ridge-head", classes: 0)
        }
        let adapter = try head(model)
        let given = ClassExamples(3)
        let context = model.session.makeContext(recordsGradients: false)
        let inputs = [try context.constant(given.scores, [3, 3]), try context.constant(given.hidden, [3, 16])]
        expectError(.invalidArgument, "there are no labels") { try adapter.prepare(inputs: inputs) }
        expectError(.invalidArgument, "the label of example 1 must be 0 ... 2, found 7") {
            try adapter.prepare(inputs: inputs, labels: try context.constant([0, 7, 1] as [Int32], [3]))
        }
    }
}
