import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// Bias terms on every family, against changed ones.
@Suite struct BiasTests {
    static let families = TinyModel.Family.allCases.map { TinyModel($0) }

    @Test(arguments: families) func itStartsAsTheIdentity(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let batch = try model.batch()
        let plain = try model.logits(batch)
        let adapter = try model.attach("bias")
        #expect(distance(try model.logits(batch), plain) == 0)
        let expected = model.info.points.filter { !$0.name.isEmpty }
        #expect(adapter.parameters.entries.map(\.name) == expected.map { "\($0.path).bias" })
        #expect(adapter.parameters.entries.map(\.tensor.shape) == expected.map { [$0.outputWidth] })
        #expect(adapter.parameters.entries.allSatisfy { $0.tensor.floats.allSatisfy { $0 == 0 } })
    }

    @Test(arguments: [TinyModel(.bart), TinyModel(.bert), TinyModel(.gpt2)])
    func itIsAddedToTheModels(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let batch = try model.batch()
        let plain = try model.logits(batch)
        let adapter = try model.attach("bias")
        randomise(adapter, deviation: 0.3)
        let shifted = try model.logits(batch)
        let largest = shifted.map(abs).max()!
        #expect(distance(shifted, plain) > 0.05 * largest)
        try model.session.merge(adapter)
        // Two layers whose states are sums in another order: some hundred roundings of 6e-8.
        #expect(distance(try model.logits(batch), shifted) < 1e-5 * largest)
        try model.session.unmerge(adapter)
        #expect(bitEqual(try model.logits(batch), shifted))
        try model.session.detach(adapter)
        try model.backbone.unfreeze()
        for point in model.info.points {
            guard let added = adapter.parameters["\(point.path).bias"]?.floats else { continue }
            let name = try #require(point.biasParameter)
            let bias = try #require(model.backbone.parameters[name])
            bias.assign(zip(bias.floats, added).map { $0 + $1 })
        }
        model.backbone.freeze()
        #expect(distance(try model.logits(batch), shifted) < 1e-5 * largest)
    }

    @Test(arguments: [TinyModel(.t5), TinyModel(.llama)]) func itStaysBesideAMatrixWithoutOne(_ family: TinyModel)
        throws
    {
        let model = try OpenModel(family)
        let batch = try model.batch()
        let adapter = try model.attach("bias", ["targets": ["v"]])
        randomise(adapter, deviation: 0.3)
        let shifted = try model.logits(batch)
        expectError(
            .unsupported, "the projection v of layer 0 has no bias that this one could be added to"
        ) { try model.session.merge(adapter) }
        #expect(bitEqual(try model.logits(batch), shifted))
    }

    @Test(arguments: [TinyModel(.bart), TinyModel(.mbart)]) func gradientsAreTheSlopes(_ family: TinyModel) throws {
        try expectGradients(of: "bias", ["layers": [1], "targets": ["v", "cross_v"]], in: try OpenModel(family))
    }
}
