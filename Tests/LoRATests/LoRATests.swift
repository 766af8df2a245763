import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// LoRA on every family, against changed matrices.
@Suite struct LoRATests {
    static let families = TinyModel.Family.allCases.map { TinyModel($0) }

    private func attach(_ model: OpenModel, _ options: JSON = .null) throws -> Adapter {
        try model.attach("lora", options)
    }

    /// Replaces each matrix that has an update by W + scale B A, computed here in f64.
    private func change(_ model: OpenModel, by adapter: Adapter, scale: Double) throws {
        try model.backbone.unfreeze()
        for point in model.info.points where adapter.parameters["\(point.path).lora_A.weight"] != nil {
            let a = adapter.parameters["\(point.path).lora_A.weight"]!
            let b = adapter.parameters["\(point.path).lora_B.weight"]!
            let rank = a.shape[0]
            let name = try #require(point.weightParameter)
            let weight = try #require(model.backbone.parameters[name])
            var values = weight.floats
            for row in 0..<point.outputWidth {
                for column in 0..<point.inputWidth {
                    let update = (0..<rank).reduce(0.0) {
                        $0 + Double(b.floats[row * rank + $1]) * Double(a.floats[$1 * point.inputWidth + column])
                    }
                    let place =
                        point.isTransposed
                        ? column * point.outputWidth + row : row * point.inputWidth + column
                    values[place] = Float(Double(values[place]) + scale * update)
                }
            }
            weight.assign(values)
        }
        model.backbone.freeze()
    }

    @Test(arguments: families) func itStartsAsTheIdentity(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let batch = try model.batch()
        let plain = try model.logits(batch)
        let adapter = try attach(model)
        #expect(distance(try model.logits(batch), plain) == 0)
        let expected = model.info.points.filter { ["q", "v", "qkv"].contains($0.name) }
        #expect(
            adapter.parameters.entries.map(\.name)
                == expected.flatMap { ["\($0.path).lora_A.weight", "\($0.path).lora_B.weight"] })
        for point in expected {
            let a = adapter.parameters["\(point.path).lora_A.weight"]!
            let b = adapter.parameters["\(point.path).lora_B.weight"]!
            #expect(a.shape == [8, point.inputWidth] && b.shape == [point.outputWidth, 8])
            let largest = a.floats.map(abs).max()!
            #expect(largest <= 0.25 && largest > 0.2, "uniform within 1 / sqrt(16)")
            #expect(b.floats.allSatisfy { $0 == 0 })
        }
    }

    /// Equation 3 at every matrix of every layer: x W^T + s x A^T B^T is x (W + s B A)^T.
    @Test(arguments: families) func itIsAnUpdateOfTheMatrices(_ family: TinyModel) throws {
        let options: [(JSON, Double)] = [
            (["r": 3, "lora_alpha": 6], 2), (["r": 4, "lora_alpha": 3, "use_rslora": true], 1.5),
        ]
        for (choice, scale) in options {
            let model = try OpenModel(family)
            let batch = try model.batch()
            let plain = try model.logits(batch)
            let adapter = try attach(model, .object(choice.objectValue! + [("targets", model.projections)]))
            #expect(adapter.parameters.entries.count == 2 * model.info.points.filter { !$0.name.isEmpty }.count)
            randomise(adapter, deviation: 0.2)
            let updated = try model.logits(batch)
            let largest = updated.map(abs).max()!
            #expect(distance(updated, plain) > 0.05 * largest)
            try model.session.detach(adapter)
            #expect(bitEqual(try model.logits(batch), plain), "detached")
            try change(model, by: adapter, scale: scale)
            // Two layers whose states are sums in another order: some hundred roundings of 6e-8.
            #expect(distance(try model.logits(batch), updated) < 1e-5 * largest)
        }
    }

    @Test(arguments: families) func itIsMergedAndTakenOutAgain(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let batch = try model.batch()
        let adapter = try attach(model, ["r": 3, "targets": model.projections])
        randomise(adapter, deviation: 0.2)
        let updated = try model.logits(batch)
        try model.session.merge(adapter)
        #expect(distance(try model.logits(batch), updated) < 1e-5 * updated.map(abs).max()!)
        // What runs now is the backbone alone.
        randomise(adapter, deviation: 5)
        #expect(distance(try model.logits(batch), updated) < 1e-5 * updated.map(abs).max()!)
        randomise(adapter, deviation: 0.2)
        try model.session.unmerge(adapter)
        #expect(bitEqual(try model.logits(batch), updated))
    }

    @Test(arguments: [TinyModel(.bart), TinyModel(.gpt2)]) func gradientsAreTheSlopes(_ family: TinyModel) throws {
        let targets: JSON = family.family == .gpt2 ? ["qkv", "down"] : ["v", "cross_k", "up"]
        // Updates of the size of the matrices: larger ones bend the loss within the step.
        let options: JSON = ["r": 2, "lora_alpha": 1, "layers": [1], "targets": targets]
        try expectGradients(of: "lora", options, in: try OpenModel(family))
    }

    @Test func somethingIsLeftToLearnFrom() throws {
        let model = try OpenModel(TinyModel(.llama))
        let error = #expect(throws: SeamError.self) { try attach(model, ["lora_dropout": 1]) }
        #expect(error?.message.contains("'lora_dropout' is 1, which leaves out everything") == true)
    }

    @Test func aSavedAdapterComesBackAtItsPoints() throws {
        let model = try OpenModel(TinyModel(.llama))
        let batch = try model.batch()
        let plain = try model.logits(batch)
        let adapter = try attach(model, ["r": 2, "layers": [1], "targets": ["down", "q"]])
        #expect(
            adapter.parameters.entries.map(\.name) == [
                "decoder.1.q.lora_A.weight", "decoder.1.q.lora_B.weight", "decoder.1.down.lora_A.weight",
                "decoder.1.down.lora_B.weight",
            ])
        randomise(adapter, deviation: 0.5)
        let updated = try model.logits(batch)
        try AdapterFolder.save(
            adapter, backbone: model.backbone, isBackboneTrained: false, notes: "", to: model.scratch["saved"])
        try model.session.detach(adapter)
        #expect(bitEqual(try model.logits(batch), plain))
        try model.session.attach(try AdapterFolder.load(model.scratch["saved"], backbone: model.backbone))
        #expect(bitEqual(try model.logits(batch), updated))
    }

    /// A decoding state keeps what was computed with the updates, cross-attention's keys and values too.
    @Test(arguments: [TinyModel(.t5), TinyModel(.marian), TinyModel(.llama)])
    func generationIsThatOfTheChangedModel(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let batch = try Batch(sources: makePairs(5).sources, info: model.info)
        var options = try model.session.defaultGenerationOptions()
        options.maxNewTokens = 8
        let plain = try model.session.generate(batch, options: options).map { $0[0].tokens }
        let adapter = try attach(model, ["r": 4, "lora_alpha": 4, "targets": model.projections])
        randomise(adapter, deviation: 0.2)
        let found = try model.session.generate(batch, options: options).map { $0[0].tokens }
        #expect(found != plain)
        try model.session.detach(adapter)
        try change(model, by: adapter, scale: 1)
        #expect(try model.session.generate(batch, options: options).map { $0[0].tokens } == found)
    }
}
