import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

@Suite struct SessionTests {
    // MARK: Adapters

    /// An adapter whose effect depends on what came before it.
    private func layer(_ model: OpenModel, seed: UInt64) throws -> Adapter {
        let adapter = try Adapter(backbone: model.backbone, id: "repcali", options: ["initialization": "paper"])
        for entry in adapter.parameters.entries { randomise(entry.tensor, mean: 1, deviation: 0.5, seed: seed) }
        return adapter
    }

    @Test func adaptersRunInOrder() throws {
        let model = try OpenModel()
        let (session, batch) = (
            model.session, try Batch(sources: [[3, 4, 5, 1]], targets: [[6, 1]], info: model.info)
        )
        let plain = try model.logits(batch)
        let (a, b, c) = (try layer(model, seed: 1), try layer(model, seed: 2), try layer(model, seed: 3))
        func isOrder(_ expected: Adapter...) -> Bool {
            session.adapters.count == expected.count && zip(session.adapters, expected).allSatisfy { $0 === $1 }
        }
        var seen: [String: [Float]] = [:]
        for adapter in [a, b, c] { try session.attach(adapter) }
        seen["abc"] = try model.logits(batch)
        try session.move(c, to: 0)
        #expect(isOrder(c, a, b))
        seen["cab"] = try model.logits(batch)
        try session.move(c, to: 1)
        #expect(isOrder(a, c, b))
        seen["acb"] = try model.logits(batch)
        try session.detach(c)
        #expect(isOrder(a, b))
        try session.attach(c, at: 0)
        #expect(bitEqual(try model.logits(batch), seen["cab"]!))
        try session.move(c, to: 2)
        #expect(bitEqual(try model.logits(batch), seen["abc"]!))
        let results = Array(seen.values) + [plain]
        for (index, one) in results.enumerated() {
            for other in results[..<index] { #expect(distance(one, other) > 1e-3) }
        }
        for adapter in [b, a, c] { try session.detach(adapter) }
        #expect(bitEqual(try model.logits(batch), plain))
    }

    @Test func wrongPositionsAreRefused() throws {
        let model = try OpenModel()
        let session = model.session
        let (a, b) = (try layer(model, seed: 1), try layer(model, seed: 2))
        expectError(.notFound, "adapter \"repcali\" is not attached") { try session.detach(a) }
        expectError(.notFound, "is not attached") { try session.move(a, to: 0) }
        expectError(.invalidArgument, "position must be 0 ... 0, found 1") { try session.attach(a, at: 1) }
        expectError(.invalidArgument, "position must be 0 ... 0, found -1") { try session.attach(a, at: -1) }
        try session.attach(a)
        expectError(.alreadyExists, "is already attached") { try session.attach(a) }
        try session.attach(b, at: 0)
        expectError(.invalidArgument, "position must be 0 ... 1, found 2") { try session.move(a, to: 2) }
        #expect(session.adapters[0] === b && session.adapters[1] === a)
    }

    // MARK: Batches

    @Test(arguments: TinyModel.everyFamily) func paddingChangesNoRow(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let adapter = try model.attach("repcali", ["seed": "positions", "max_positions": 4])
        for entry in adapter.parameters.entries { randomise(entry.tensor, mean: 1, deviation: 0.3) }
        let pairs = makePairs(5)
        let batch = try Batch(sources: pairs.sources, targets: pairs.targets, info: model.info)
        let together = try model.logits(batch)
        let width = batch.targetLength * model.info.vocabSize
        for row in pairs.sources.indices {
            let alone = try model.logits(
                try Batch(sources: [pairs.sources[row]], targets: [pairs.targets[row]], info: model.info))
            #expect(distance(Array(together[row * width..<row * width + alone.count]), alone) < 1e-5)
        }
        let scores = try model.session.score(batch)
        #expect(scores.map(\.tokenCount) == pairs.targets.map(\.count))
    }

    @Test func raggedSequencesArePadded() throws {
        let info = try OpenModel().info
        let batch = try Batch(sources: [[5, 1], [6, 7, 1]], targets: [[8, 9, 1], [1]], info: info)
        #expect(batch.inputIDs == [5, 1, 0, 6, 7, 1])
        #expect(batch.attentionMask == [1, 1, 0, 1, 1, 1])
        #expect(batch.labels == [8, 9, 1, 1, -100, -100])
        #expect(batch.decoderInputIDs == [0, 8, 9, 0, 1, 0])
        #expect(batch.labelCount == 4)
    }

    @Test func wrongBatchesAreRefused() throws {
        let info = try OpenModel().info
        func batch(
            _ count: Int, _ ids: [Int32], mask: [Int32]? = nil, target: Int = 0, labels: [Int32] = [],
            decoder: [Int32]? = nil
        ) throws -> Batch {
            try Batch(
                count: count, sourceLength: 2, inputIDs: ids, attentionMask: mask, targetLength: target, labels: labels,
                decoderInputIDs: decoder, info: info)
        }
        expectError(.invalidArgument, "the batch is empty: batch size 0") { try batch(0, []) }
        expectError(.shape, "input_ids must hold 2 x 2 values, found 3") { try batch(2, [3, 4, 5]) }
        expectError(.shape, "attention_mask must hold 1 x 2 values, found 1") { try batch(1, [3, 4], mask: [1]) }
        expectError(.invalidArgument, "attention_mask must hold 0 and 1, found 2 in row 1") {
            try batch(2, [3, 4, 5, 6], mask: [1, 1, 1, 2])
        }
        expectError(.invalidArgument, "attention_mask hides every token of row 1") {
            try batch(2, [3, 4, 5, 6], mask: [1, 0, 0, 0])
        }
        expectError(.invalidArgument, "input_ids: token id 24 in row 1 is outside the vocabulary of 24 (0 ... 23)") {
            try batch(2, [3, 4, 5, 24])
        }
        expectError(.invalidArgument, "token id -1 in row 0") { try batch(1, [-1, 4]) }
        expectError(.shape, "labels must hold 1 x 2 values, found 1") { try batch(1, [3, 4], target: 2, labels: [1]) }
        expectError(.invalidArgument, "labels: token id -2 in row 0") { try batch(1, [3, 4], target: 1, labels: [-2]) }
        expectError(.invalidArgument, "a target needs labels or decoder_input_ids") { try batch(1, [3, 4], target: 1) }
        expectError(.invalidArgument, "decoder_input_ids: token id 99") {
            try batch(1, [3, 4], target: 1, labels: [1], decoder: [99])
        }
        expectError(.invalidArgument, "the source has 33 tokens, the backbone takes at most 32 positions") {
            try Batch(sources: [[Int32](repeating: 3, count: 33)], info: info)
        }
        expectError(.invalidArgument, "the target has 33 tokens") {
            try Batch(sources: [[3]], targets: [[Int32](repeating: 3, count: 33)], info: info)
        }
        expectError(.invalidArgument, "the batch is empty") { try Batch(sources: [], info: info) }
        expectError(.invalidArgument, "source 1 has no token") { try Batch(sources: [[3], []], info: info) }
        expectError(.invalidArgument, "target 0 has no token") { try Batch(sources: [[3]], targets: [[]], info: info) }
        expectError(.shape, "there are 1 sources and 2 targets") {
            try Batch(sources: [[3]], targets: [[3], [4]], info: info)
        }
    }

    @Test func aForwardNeedsTargets() throws {
        let model = try OpenModel()
        expectError(.invalidArgument, "the batch has no targets") {
            try model.logits(try Batch(sources: [[3]], info: model.info))
        }
        let unlabelled = try Batch(
            count: 1, sourceLength: 1, inputIDs: [3], targetLength: 1, decoderInputIDs: [0], info: model.info)
        #expect(try model.logits(unlabelled).count == 24)
        expectError(.invalidArgument, "training and scoring need labels") { try model.session.score(unlabelled) }
    }

    @Test func opaqueWeightsAreNotTrained() throws {
        let scratch = try ScratchFolder()
        let runtime = try makeRuntime()
        try runtime.loadPlugin(try compilePlugin("opaque-backbone/tiny_opaque.c", into: scratch.path))
        let backbone = try Backbone(runtime: runtime, id: "tiny-opaque", path: nil)
        expectError(.unsupported, "\"tiny-opaque\" is opaque: its weights cannot be trained") {
            try backbone.unfreeze()
        }
        #expect(backbone.isFrozen)
        #expect(!backbone.isTrained)
    }
}
