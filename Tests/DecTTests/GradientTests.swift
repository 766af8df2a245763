import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// Gradients against central differences.
@Suite struct GradientTests {
    /// The f32 loss carries an error of about 1e-7, so a difference quotient over 2h = 0.02 is wrong by 1e-5, or 0.2 %
    /// of the smallest of the largest slopes below; a wrong term of the formula shows as tens of per cent.
    @Test(
        arguments: [
            ["projection_width": 6], ["projection_width": 6, "train_prototypes": true],
            ["projection_width": 6, "radii": false, "lambda": 0.5], ["projection_width": 6, "model_scores": false],
        ] as [JSON])
    func everyParameter(_ options: JSON) throws {
        let model = try OpenModel()
        let adapter = try Adapter(backbone: model.backbone, id: "dect", options: options, classes: 3, seed: 2)
        let given = ClassExamples(7)
        if let radii = adapter.parameters["radii"] { randomise(radii, deviation: 0.3) }
        try adapter.unfreeze()
        func loss(_ context: Context) throws -> Tensor {
            let inputs = [
                context.retain(try context.constant(given.scores, [7, 3])),
                context.retain(try context.constant(given.hidden, [7, 16])),
            ]
            let scores = try adapter.forward(context, inputs: inputs, expected: [[7, 3]], training: true)[0]
            return try context.crossEntropy(
                scores, targets: try context.constant(given.labels, [7]), ignoreIndex: -1, labelSmoothing: 0,
                reduction: .mean)
        }
        let context = model.session.makeContext(recordsGradients: true)
        try context.backward(try loss(context))
        let names = adapter.parameters.variables.map(\.name)
        #expect(names.contains("radii") == (options["radii"] != false))
        #expect(names.contains("prototypes") == (options["train_prototypes"] == true))
        #expect(!names.contains("calibration") && !names.contains("model_weight"))
        for variable in adapter.parameters.variables {
            let found = try context.contiguous(try #require(variable.tensor.gradient?.value)).floats
            let expected = try found.indices.map {
                try slope(variable, $0) {
                    Double(try loss(model.session.makeContext(recordsGradients: false)).floats[0])
                }
            }
            let largest = expected.map(abs).max()!
            #expect(largest > 5e-3, "\(variable.name) does not matter, so the comparison shows nothing")
            #expect(distance(found, expected) < 0.02 * largest, "\(variable.name)")
        }
    }

    /// Where a prototype lies on an example its distance has no slope: the gradient must stay finite.
    @Test func aPrototypeOnAnExample() throws {
        let model = try OpenModel()
        let adapter = try Adapter(
            backbone: model.backbone, id: "dect", options: ["projection_width": 8, "train_prototypes": true],
            classes: 3)
        let given = ClassExamples(3)
        let hidden = try model.session.makeContext(recordsGradients: false).constant(given.hidden, [3, 16])
        guard case .tensor(let projected) = try adapter.call("project", [.tensor(hidden)]) else {
            Issue.record("project gives no tensor")
            return
        }
        adapter.parameters["prototypes"]!.assign(projected.floats)
        let losses = try train(adapter, given)
        #expect(losses.allSatisfy(\.isFinite) && losses.count == 30)
        #expect(adapter.parameters.entries.allSatisfy { $0.tensor.floats.allSatisfy(\.isFinite) })
    }
}
