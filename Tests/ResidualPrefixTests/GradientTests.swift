import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// Gradients through the whole model against central differences.
@Suite struct GradientTests {
    @Test(
        arguments: [
            ["residual": "output", "mlp_hidden_size": 3], ["residual": "both", "layer_norm": true],
            ["residual": "hidden"],
        ] as [JSON])
    func everyParameter(_ options: JSON) throws {
        let common: [(key: String, value: JSON)] = [("prefix_length", 2), ("attention", "cross")]
        let all = JSON.object(options.objectValue! + common)
        try expectGradients(of: "residual-prefix", all, in: try OpenModel())
    }
}
