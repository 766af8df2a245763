import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// The methods that the plugin offers by name.
@Suite struct MethodTests {
    private func call(_ adapter: Adapter, _ name: String, _ arguments: [Method.Value] = []) throws -> Tensor {
        guard case .tensor(let tensor) = try adapter.call(name, arguments) else {
            throw SeamError(.internal, "\(name) gives no tensor")
        }
        return tensor
    }

    @Test func prototypesAndRadiiAreTheParameters() throws {
        let model = try OpenModel()
        let adapter = try Adapter(backbone: model.backbone, id: "dect", classes: 4, seed: 1)
        randomise(adapter.parameters["radii"]!, deviation: 1)
        for name in ["prototypes", "radii"] {
            let (found, parameter) = (try call(adapter, name), adapter.parameters[name]!)
            #expect(found.shape == parameter.shape && bitEqual(found.floats, parameter.floats))
        }
        let plain = try Adapter(backbone: model.backbone, id: "dect", options: ["radii": false], classes: 4)
        #expect(try call(plain, "radii").floats == [0, 0, 0, 0])
    }

    @Test func projectGivesUnitVectors() throws {
        let model = try OpenModel()
        let adapter = try Adapter(
            backbone: model.backbone, id: "dect", options: ["projection_width": 5], classes: 2, seed: 1)
        let given = ClassExamples(6)
        let context = model.session.makeContext(recordsGradients: false)
        let hidden = try context.constant(given.hidden, [6, 16])
        let found = try call(adapter, "project", [.tensor(hidden)])
        #expect(found.shape == [6, 5])
        let product = try context.linear(hidden, weight: adapter.parameters["projection"]!, bias: nil)
        #expect(bitEqual(found.floats, try context.l2Normalize(product, epsilon: 1e-12).floats))
        for row in 0..<6 {
            let length = found.floats[row * 5..<(row + 1) * 5].reduce(0) { $0 + $1 * $1 }
            #expect(abs(length - 1) < 1e-6)
        }
        let narrow = try context.constant(given.hidden, [12, 8])
        expectError(.shape, "input [12, 8] does not fit weight [5, 16]") {
            try adapter.call("project", [.tensor(narrow)])
        }
        expectError(.invalidArgument, "\"project\" takes 1 argument", "found 0") { try adapter.call("project") }
        expectError(.invalidArgument, "argument 1 must be seam_tensor *, found double") {
            try adapter.call("project", [.double(1)])
        }
    }
}
