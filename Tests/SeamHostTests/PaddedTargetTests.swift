import Engine
import SeamHost
import Support
import TestSupport
import Testing

/// Targets of several lengths in one batch, with an adapter inside the decoder that reads how many tokens a row has
/// (Tests/Fixtures/mean-plugin), against each row alone. Sums are made in another order in a batch: 1e-5 of the largest.
@Suite struct PaddedTargetTests {
    static let families = TinyModel.everyFamily
    private let sources: [[Int32]] = [[3, 4, 5], [6, 7], [8, 9, 3, 4]]
    private let targets: [[Int32]] = [[8, 1], [9, 10, 11, 12, 1], [5, 4, 1]]

    private func open(_ family: TinyModel) throws -> OpenModel {
        let model = try OpenModel(family)
        try model.runtime.loadPlugin(try compilePlugin("mean-plugin/mean.c", into: model.scratch.path))
        try model.attach("mean", ["stack": "decoder"])
        return model
    }

    private func expectLogitsAsAlone(_ model: OpenModel, _ make: (Range<Int>) throws -> Batch) throws {
        let context = model.session.makeContext(recordsGradients: false)
        func logits(_ batch: Batch) throws -> Tensor {
            try context.contiguous(try model.session.forward(context, batch).logits)
        }
        let all = try logits(try make(0..<sources.count))
        for row in sources.indices {
            let alone = try logits(try make(row..<row + 1))
            let start = row * all.shape[1] * all.shape[2]
            let own = Array(all.floats[start..<start + alone.elementCount])
            #expect(distance(own, alone.floats) < 1e-5 * (alone.floats.map(abs).max() ?? 0), "row \(row)")
        }
    }

    @Test(arguments: families) func labelsOfSeveralLengths(_ family: TinyModel) throws {
        let model = try open(family)
        func make(_ rows: Range<Int>) throws -> Batch {
            try Batch(sources: Array(sources[rows]), targets: Array(targets[rows]), info: model.info)
        }
        try expectLogitsAsAlone(model, make)
        let scores = try model.session.score(try make(0..<sources.count))
        for row in sources.indices {
            let alone = try model.session.score(try make(row..<row + 1))[0]
            #expect(abs(scores[row].logProbability - alone.logProbability) < 1e-5 * abs(alone.logProbability))
            #expect(scores[row].tokenCount == targets[row].count)
        }
    }

    @Test(arguments: families) func decoderIdsOfSeveralLengths(_ family: TinyModel) throws {
        let model = try open(family)
        let start = try #require(model.info.decoderStartToken)
        try expectLogitsAsAlone(model) { rows in
            try Batch(
                sources: Array(sources[rows]), decoderInputs: targets[rows].map { [start] + $0 }, info: model.info)
        }
    }

    /// Nothing hides a decoder's padding from the tokens behind it.
    /// Where the start token is the padding, too, a model may have written one: it is a token. With another start token such
    /// padding is refused (python/tests/test_marks.py).
    @Test func paddingThatMayBeATokenStays() throws {
        let info = try OpenModel(TinyModel(.t5)).info
        let pad = try #require(info.padToken)
        #expect(info.decoderStartToken == pad)
        func mask(_ ids: [Int32]) throws -> [Int32]? {
            try Batch(
                count: 2, sourceLength: 1, inputIDs: [3, 4], targetLength: 4, decoderInputIDs: ids, info: info
            ).decoderMask
        }
        #expect(try mask([pad, 8, pad, 9, pad, 7, 1, pad]) == [1, 1, 1, 1, 1, 1, 1, 0])
        #expect(try mask([pad, 8, 9, 1, pad, pad, pad, pad]) == [1, 1, 1, 1, 1, 0, 0, 0])
        #expect(try mask([pad, 8, 9, 1, pad, pad, pad, 7]) == nil)
    }
}
