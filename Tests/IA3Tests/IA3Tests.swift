import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// (IA)^3 on every family, against changed matrices.
@Suite struct IA3Tests {
    static let families = TinyModel.Family.allCases.map { TinyModel($0) }

    /// Replaces each matrix by l W, or by W l where what enters is scaled, and each bias behind the first by l b.
    private func change(_ model: OpenModel, by adapter: Adapter, before: [String]) throws {
        try model.backbone.unfreeze()
        for point in model.info.points {
            guard let factors = adapter.parameters["\(point.path).ia3_l"]?.floats else { continue }
            let scalesInput = before.contains(point.name)
            let name = try #require(point.weightParameter)
            let weight = try #require(model.backbone.parameters[name])
            var values = weight.floats
            for row in 0..<point.outputWidth {
                for column in 0..<point.inputWidth {
                    let place =
                        point.isTransposed
                        ? column * point.outputWidth + row : row * point.inputWidth + column
                    values[place] *= factors[scalesInput ? column : row]
                }
            }
            weight.assign(values)
            guard !scalesInput, let bias = point.biasParameter.flatMap({ model.backbone.parameters[$0] }) else {
                continue
            }
            bias.assign(zip(bias.floats, factors).map { $0 * $1 })
        }
        model.backbone.freeze()
    }

    @Test(arguments: families) func itStartsAsTheIdentity(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let batch = try model.batch()
        let plain = try model.logits(batch)
        let adapter = try model.attach("ia3")
        #expect(bitEqual(try model.logits(batch), plain))
        let expected = model.info.points.filter { ["k", "v", "cross_k", "cross_v", "qkv", "down"].contains($0.name) }
        #expect(adapter.parameters.entries.map(\.name) == expected.map { "\($0.path).ia3_l" })
        for (point, entry) in zip(expected, adapter.parameters.entries) {
            #expect(entry.tensor.shape == (point.name == "down" ? [1, point.inputWidth] : [point.outputWidth, 1]))
            #expect(entry.tensor.floats.allSatisfy { $0 == 1 })
        }
    }

    @Test(arguments: families) func itScalesTheMatrices(_ family: TinyModel) throws {
        let last = family.family == .gpt2 ? "qkv" : "v"
        for before in [["down"], [], [last, "down", "up"]] {
            let model = try OpenModel(family)
            let batch = try model.batch()
            let plain = try model.logits(batch)
            let names = before.joined(separator: ",")
            let adapter = try model.attach(
                "ia3", ["targets": model.projections, "feedforward_targets": .string(names)])
            randomise(adapter, deviation: 0.3)
            let scaled = try model.logits(batch)
            let largest = scaled.map(abs).max()!
            #expect(distance(scaled, plain) > 0.05 * largest)
            try model.session.merge(adapter)
            // Two layers whose states are sums in another order: some hundred roundings of 6e-8.
            #expect(distance(try model.logits(batch), scaled) < 1e-5 * largest)
            try model.session.unmerge(adapter)
            #expect(bitEqual(try model.logits(batch), scaled))
            try model.session.detach(adapter)
            #expect(bitEqual(try model.logits(batch), plain))
            try change(model, by: adapter, before: before)
            #expect(distance(try model.logits(batch), scaled) < 1e-5 * largest)
        }
    }

    @Test(arguments: [TinyModel(.bart), TinyModel(.gpt2)]) func gradientsAreTheSlopes(_ family: TinyModel) throws {
        let targets: JSON = family.family == .gpt2 ? ["qkv", "down"] : ["v", "cross_k", "down"]
        try expectGradients(of: "ia3", ["layers": [1], "targets": targets], in: try OpenModel(family))
    }

    @Test func otherNamesAreRefused() throws {
        let model = try OpenModel(TinyModel(.t5))
        for names in ["up", "k,up", " down"] {
            expectError(
                .invalidArgument,
                "the option 'feedforward_targets' must name targets of this adapter, joined by commas, found '\(names)'"
            ) { try model.attach("ia3", ["feedforward_targets": .string(names)]) }
        }
        // The default need not be there.
        #expect(try model.attach("ia3", ["targets": ["k"]]).parameters.entries.count == 4)
    }
}
