import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// What is left of the adapter without what only training needs.
@Suite struct FoldingTests {
    static let options: [JSON] = [
        ["prefix_length": 3, "mlp_hidden_size": 7], ["prefix_length": 3, "reparameterization": "none"],
        ["prefix_length": 1, "attention": "decoder"],
    ]

    @Test(arguments: options) func theNumbersAreThoseOfTheNetwork(_ options: JSON) throws {
        let model = try OpenModel()
        let adapter = try Adapter(backbone: model.backbone, id: "prefix-tuning", options: options, seed: 1)
        let folded = try adapter.folded(for: model.backbone)
        #expect(adapter.isFoldable && !folded.isFoldable)
        let attentions = options["attention"] == nil ? PrefixAttention.allCases : [.decoder]
        #expect(folded.parameters.entries.map(\.name) == attentions.map { "\($0).prefix" })
        for (attention, entry) in zip(attentions, folded.parameters.entries) {
            #expect(entry.tensor.shape == [2, 2, 2, Int(options["prefix_length"]!.intValue!), 8])
            if options["reparameterization"] == "none" {
                #expect(bitEqual(entry.tensor.floats, adapter.parameters["\(attention).prefix"]!.floats))
            } else {
                #expect(distance(entry.tensor.floats, networkPrefix(adapter, attention)) < FormulaTests.tolerance)
            }
        }
    }

    /// The same operations, run once: to the last bit.
    @Test(arguments: TinyModel.everyFamily + TinyModel.decoders, options)
    func theFoldedAdapterGivesTheSame(_ family: TinyModel, _ options: JSON) throws {
        let model = try OpenModel(family)
        let plain = try model.scores()
        let adapter = try model.attach("prefix-tuning", options)
        let expected = try model.scores()
        #expect(distance(plain, expected) > 1e-3, "it matters")
        let folded = try adapter.folded(for: model.backbone)
        try model.session.detach(adapter)
        #expect(bitEqual(try model.scores(), plain))
        try model.session.attach(folded)
        #expect(bitEqual(try model.scores(), expected))
    }

    @Test(arguments: options) func itIsKeptAcrossSaving(_ options: JSON) throws {
        let model = try OpenModel()
        let adapter = try model.attach("prefix-tuning", options)
        let expected = try model.scores()
        let path = model.scratch["adapter"]
        let folded = try adapter.folded(for: model.backbone)
        try AdapterFolder.save(folded, backbone: model.backbone, isBackboneTrained: false, notes: "", to: path)
        try model.session.detach(adapter)
        let loaded = try AdapterFolder.load(path, backbone: model.backbone)
        #expect(loaded.options["folded"] == true && adapter.options["folded"] == false)
        #expect(loaded.parameters.entries.allSatisfy { $0.name.hasSuffix(".prefix") })
        try model.session.attach(loaded)
        #expect(bitEqual(try model.scores(), expected))
    }
}
