import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// Gradients through the whole model against central differences.
@Suite struct GradientTests {
    @Test(
        arguments: [TinyModel(.mt5), TinyModel(.marian)],
        [["reparameterization": "mlp", "mlp_hidden_size": 3], ["reparameterization": "none"]] as [JSON])
    func everyParameter(_ family: TinyModel, _ options: JSON) throws {
        let all = JSON.object(options.objectValue! + [(key: "prefix_length", value: 2)])
        try expectGradients(of: "prefix-tuning", all, in: try OpenModel(family))
    }
}
