import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// Gradients through the whole model against central differences.
@Suite struct GradientTests {
    @Test(arguments: [TinyModel(.mt5), TinyModel(.marian)], FormulaTests.options)
    func everyWeight(_ family: TinyModel, _ options: JSON) throws {
        let model = try OpenModel(family)
        let prefix = try model.attach("prefix-tuning", ["prefix_length": 3, "reparameterization": "none"])
        randomise(prefix, deviation: 1, seed: 3)
        try expectGradients(of: "gate", options, in: model)
    }
}
