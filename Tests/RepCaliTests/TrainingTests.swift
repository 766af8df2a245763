import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing
import Trainer

@Suite struct TrainingTests {
    private func options(_ learningRate: Double, trainsBackbone: Bool = false) -> TrainingOptions {
        var options = TrainingOptions()
        options.learningRate = learningRate
        options.trainsBackbone = trainsBackbone
        return options
    }

    private func weights(_ backbone: Backbone) throws -> [String: [Float]] {
        var result: [String: [Float]] = [:]
        for entry in backbone.parameters.entries where entry.tensor.dtype == .f32 {
            result[entry.name] = entry.tensor.floats
        }
        return result
    }

    @Test(arguments: TinyModel.everyFamily) func anAdapterLearnsAndTheBackboneStays(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let adapter = try model.attach()
        let pairs = makePairs(8)
        let batch = try Batch(sources: pairs.sources, targets: pairs.targets, info: model.info)
        let before = try weights(model.backbone)
        let plain = try model.logits(batch)
        let optimisation = try Optimisation(session: model.session, options: options(0.05))
        let losses = try (0..<30).map { _ in try optimisation.update(batch).loss }
        optimisation.end()
        #expect(losses.last! < losses[0] - 0.1, "\(losses[0]) -> \(losses.last!)")
        #expect(try weights(model.backbone) == before)
        #expect(model.session.variables.isEmpty)
        #expect(distance(try model.logits(batch), plain) > 1e-3)
        try model.session.detach(adapter)
        #expect(bitEqual(try model.logits(batch), plain))
    }

    @Test(arguments: TinyModel.everyFamily) func trainedTogetherBothChange(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let adapter = try model.attach(backboneFrozen: false)
        let pairs = makePairs(8)
        let batch = try Batch(sources: pairs.sources, targets: pairs.targets, info: model.info)
        let (before, adapterBefore) = (try weights(model.backbone), adapter.parameters.entries.map(\.tensor.floats))
        var training = options(0.01, trainsBackbone: true)
        training.backboneLearningRate = 0.01
        let optimisation = try Optimisation(session: model.session, options: training)
        let losses = try (0..<20).map { _ in try optimisation.update(batch).loss }
        optimisation.end()
        #expect(losses.last! < losses[0] - 0.3)
        for (entry, old) in zip(adapter.parameters.entries, adapterBefore) {
            #expect(entry.tensor.floats != old, "\(entry.name)")
        }
        let after = try weights(model.backbone)
        for entry in model.backbone.parameters.entries {
            // Attention's key bias moves every score of a query alike, so its gradient is rounding; constants stay.
            if entry.name.hasSuffix("k_proj.bias") { continue }
            #expect((after[entry.name] == before[entry.name]) == entry.isFrozen, "\(entry.name)")
        }
    }

    @Test(arguments: [TinyModel(.t5), TinyModel(.bart)]) func theSeamCacheChangesNoLoss(_ family: TinyModel) throws {
        let pairs = makePairs(12)
        func losses(cached: Bool) throws -> [Double] {
            let model = try OpenModel(family)
            try model.attach("repcali", ["seed": "positions", "max_positions": 8])
            let data = TokenPairs(sources: pairs.sources, targets: pairs.targets)
            let cache = cached ? SeamCache(session: model.session) : nil
            let optimisation = try Optimisation(session: model.session, options: options(1e-3))
            var result: [Double] = []
            // In the second epoch the batches are others, so rows meet neighbours of other lengths.
            for epoch in [
                [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]], [[11, 3, 7, 1, 0], [2, 10, 9, 4, 8], [6, 5]],
            ] {
                for indices in epoch {
                    let batch = try data.batch(indices, info: model.info)
                    result.append(
                        try optimisation.update(batch, kept: try cache?.states(of: batch, examples: indices)).loss)
                }
            }
            if let cache { #expect(cache.encodedCount == 12) }
            return result
        }
        let (with, without) = (try losses(cached: true), try losses(cached: false))
        #expect(zip(with, without).allSatisfy { abs($0 - $1) < 1e-5 }, "\(with) \(without)")
        #expect(Set(with).count == with.count)
    }

    @Test func aFullSeamCacheEncodesAgain() throws {
        let model = try OpenModel()
        let pairs = makePairs(6)
        let data = TokenPairs(sources: pairs.sources, targets: pairs.targets)
        let batch = try data.batch(Array(0..<6), info: model.info)
        func encoded(_ cache: SeamCache) throws -> [Float] {
            try #require(try cache.states(of: batch, examples: Array(0..<6))?.encoded).floats
        }
        let (whole, half) = (StateStore(), StateStore(memoryLimit: pairs.sources.map(\.count).reduce(0, +) * 16 * 2))
        let expected = try encoded(SeamCache(session: model.session, store: whole))
        let some = SeamCache(session: model.session, store: half)
        for _ in 0..<3 { #expect(distance(try encoded(some), expected) < 1e-5) }
        #expect(half.memoryBytes > 0 && half.fileBytes == 0 && some.keptCount < 6)
        #expect(some.encodedCount > 6)
        #expect(some.encodedCount < 18)
    }
}
