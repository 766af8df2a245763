import CSeam
import Engine
import Generation
import SeamHost
import Support
import TestSupport
import Testing

/// Sources that are features, with Tests/Fixtures/features-backbone: frames of 3 numbers, 2 frames a position, 8 numbers a
/// hidden state.
@Suite struct FeatureSourceTests {
    private let scratch: ScratchFolder
    private let runtime: Runtime

    init() throws {
        scratch = try ScratchFolder()
        runtime = try makeRuntime()
        try runtime.loadPlugin(try compilePlugin("features-backbone/features.c", into: scratch.path))
    }

    private func open(_ architecture: String = "encoder-decoder") throws -> Backbone {
        try Backbone(runtime: runtime, id: "tiny-features", path: nil, options: ["architecture": .string(architecture)])
    }

    /// Two rows of 5 frames, which are 3 positions; the second row has 3 frames, the last of them first in its group.
    private let frames = (0..<30).map { Float($0 % 7) / 3 - 1 }
    private let mask: [Int32] = [1, 1, 1, 1, 1, 1, 1, 1, 0, 0]

    private func batch(_ info: BackboneInfo, labels: [Int32] = []) throws -> Batch {
        try Batch(
            count: 2, sourceLength: 5, inputFeatures: frames, attentionMask: mask, targetLength: labels.count / 2,
            labels: labels, info: info)
    }

    @Test func positionsAreGroupsOfFrames() throws {
        let backbone = try open()
        #expect(backbone.info.readsFeatures && backbone.info.featureWidth == 3 && backbone.info.featureStride == 2)
        let batch = try batch(backbone.info)
        #expect(batch.positionCount == 3 && batch.positionMask == [1, 1, 1, 1, 1, 0])
        let context = Context(pool: runtime.pool, recordsGradients: false)
        #expect(try Session(backbone: backbone).encode(context, batch).shape == [2, 3, 8])
        // What the mask hides changes nothing.
        var changed = frames
        for index in 24..<30 { changed[index] = 9 }
        let other = try Batch(
            count: 2, sourceLength: 5, inputFeatures: changed, attentionMask: mask, info: backbone.info)
        let session = Session(backbone: backbone)
        let (first, second) = (try session.encode(context, batch), try session.encode(context, other))
        #expect(bitEqual(try context.contiguous(first).floats, try context.contiguous(second).floats))
    }

    /// The states of a position that does not count reach neither cross-attention nor the pooled vector.
    @Test func theMaskIsThatOfTheFirstFrames() throws {
        let labels: [Int32] = [5, 6, 7, 8]
        let (backbone, alone) = (try open(), try open("encoder-only"))
        let session = Session(backbone: backbone)
        func logits(_ batch: Batch) throws -> [Float] {
            let context = session.makeContext(recordsGradients: false)
            return try context.contiguous(try session.forward(context, batch).logits).floats
        }
        func pooled(_ batch: Batch) throws -> [Float] {
            let context = Context(pool: runtime.pool, recordsGradients: false)
            return try context.contiguous(try Session(backbone: alone).pool(context, batch)).floats
        }
        /// The second row by itself, without the frames behind those that count.
        func short(_ info: BackboneInfo, _ labels: [Int32]) throws -> Batch {
            try Batch(
                count: 1, sourceLength: 3, inputFeatures: Array(frames[15..<24]), targetLength: labels.count,
                labels: labels, info: info)
        }
        let together = try logits(try batch(backbone.info, labels: labels))
        #expect(distance(Array(together[32...]), try logits(try short(backbone.info, [7, 8]))) < 1e-6)
        #expect(distance(Array(try pooled(try batch(alone.info))[8...]), try pooled(try short(alone.info, []))) < 1e-6)
        // Of an encoder alone labels stand at the hidden states.
        let tagged = try Batch(
            count: 2, sourceLength: 5, inputFeatures: frames, targetLength: 3, labels: [1, 2, 3, 4, 5, 6],
            info: alone.info)
        #expect(tagged.targetLength == 3)
        expectError(.shape, "the labels are as long as the hidden states, 3, found 5") {
            try Batch(
                count: 2, sourceLength: 5, inputFeatures: frames, targetLength: 5,
                labels: [Int32](repeating: 1, count: 10),
                info: alone.info)
        }
    }

    @Test func adaptersCachesAndGenerationWork() throws {
        let backbone = try open()
        let session = Session(backbone: backbone)
        let batch = try batch(backbone.info, labels: [5, 6, 7, -100])
        let plain = try session.score(batch)
        let adapter = try Adapter(backbone: backbone, id: "repcali", seed: 3)
        try session.attach(adapter)
        for entry in adapter.parameters.entries { randomise(entry.tensor, deviation: 0.3) }
        let found = try session.score(batch)
        #expect(found != plain)
        let store = StateStore()
        let cache = SeamCache(session: session, store: store)
        #expect(try session.score(batch, kept: try cache.states(of: batch, examples: [4, 2])) == found)
        #expect(try session.score(batch, kept: try cache.states(of: batch, examples: [4, 2])) == found)
        #expect(cache.encodedCount == 2 && store.memoryBytes == (3 + 2) * 8 * 4)
        var options = try session.defaultGenerationOptions()
        options.maxNewTokens = 4
        options.beams = 2
        let texts = try session.generate(batch, options: options)
        let short = try Batch(count: 1, sourceLength: 3, inputFeatures: Array(frames[15..<24]), info: backbone.info)
        let alone = try session.generate(short, options: options)
        #expect(texts.count == 2 && texts[1][0].tokens == alone[0][0].tokens)
    }

    @Test func wrongSourcesAreRefused() throws {
        let info = try open().info
        let tokens = try OpenModel().info
        let numbers: [Int32] = [3, 4]
        expectError(
            .invalidArgument,
            "sources of this backbone are features: give input_features of [batch, frames, 3] alone, found input_ids"
        ) { try Batch(sources: [numbers], info: info) }
        expectError(.invalidArgument, "are token ids: give input_ids alone, found input_features") {
            try Batch(count: 1, sourceLength: 2, inputFeatures: [1, 2], info: tokens)
        }
        expectError(.invalidArgument, "found both") {
            try Batch(count: 1, sourceLength: 2, inputIDs: numbers, inputFeatures: frames, info: info)
        }
        expectError(.invalidArgument, "found neither") { try Batch(count: 1, sourceLength: 2, info: info) }
        expectError(.shape, "input_features must hold 1 x 2 x 3 values, found 5") {
            try Batch(count: 1, sourceLength: 2, inputFeatures: [1, 2, 3, 4, 5], info: info)
        }
        for wrong in [Float.nan, .infinity] {
            var values = frames
            values[20] = wrong
            expectError(.numeric, "input_features: expected numbers, found NaN or infinity in row 1, frame 1") {
                try Batch(count: 2, sourceLength: 5, inputFeatures: values, info: info)
            }
        }
        expectError(.invalidArgument, "attention_mask hides every position of row 1: of each 2 frames") {
            try Batch(
                count: 2, sourceLength: 2, inputFeatures: Array(frames[..<12]), attentionMask: [1, 1, 0, 1], info: info)
        }
        let long = [Float](repeating: 0, count: 41 * 3)
        expectError(.invalidArgument, "the source has 21 positions, the backbone takes at most 20 positions") {
            try Batch(count: 1, sourceLength: 41, inputFeatures: long, info: info)
        }
        expectError(.unsupported, "token_type_ids are for encoder-only backbones of token ids") {
            try Batch(
                count: 1, sourceLength: 2, inputFeatures: Array(frames[..<6]), tokenTypeIDs: [0, 0],
                info: try open("encoder-only").info)
        }
    }
}
