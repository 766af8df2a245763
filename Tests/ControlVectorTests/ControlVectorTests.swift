import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// Control vectors on every family, from pairs of texts.
@Suite struct ControlVectorTests {
    static let families = TinyModel.Family.allCases.map { TinyModel($0) }
    private let sources: [[Int32]] = [[3, 4, 5], [6, 7], [8, 9, 3, 4], [5, 6, 4], [7, 3], [9, 8]]

    /// Pairs of texts, and of an encoder-decoder with targets.
    private func pairs(_ model: OpenModel, classes: [Int32]) throws -> Batch {
        let count = classes.count
        guard model.info.architecture == .encoderDecoder else {
            return try Batch(sources: Array(sources[..<count]), classes: classes, info: model.info)
        }
        return try Batch(
            sources: Array(sources[..<count]), targets: sources[..<count].map { $0.reversed() + [1] }, classes: classes,
            info: model.info)
    }

    @Test(arguments: families) func itStartsAsTheIdentityAndIsPrepared(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let batch = try model.batch()
        let plain = try model.logits(batch)
        let adapter = try model.attach("control-vector", ["method": "mean"])
        #expect(distance(try model.logits(batch), plain) == 0)
        let expected = model.info.points.filter { $0.seam == "layer.output" }
        #expect(adapter.parameters.entries.map(\.name) == expected.map { "\($0.path).direction" })
        try model.session.prepare(adapter, from: [try pairs(model, classes: [1, 0, 1, 0, 1, 0])])
        for entry in adapter.parameters.entries {
            let length = entry.tensor.floats.reduce(0) { $0 + $1 * $1 }.squareRoot()
            #expect(abs(length - 1) < 1e-6, "\(entry.name)")
        }
        #expect(distance(try model.logits(batch), plain) > 1e-3 * plain.map(abs).max()!)
    }

    @Test func theNormIsKept() throws {
        let model = try OpenModel(TinyModel(.llama))
        let batch = try model.batch()
        let plain = try model.logits(batch)
        let adapter = try model.attach("control-vector", ["keep_norm": true, "strength": 3])
        #expect(distance(try model.logits(batch), plain) < 1e-6 * plain.map(abs).max()!)
        randomise(adapter, deviation: 0.3)
        #expect(distance(try model.logits(batch), plain) > 1e-3 * plain.map(abs).max()!)
    }

    @Test func wrongExamples() throws {
        let model = try OpenModel(TinyModel(.gpt2))
        let adapter = try model.attach("control-vector")
        func expectRefusal(_ classes: [Int32], _ words: String) throws {
            let batch = try pairs(model, classes: classes)
            expectError(.invalidArgument, words) { try model.session.prepare(adapter, from: [batch]) }
        }
        let unlabelled = try Batch(sources: sources, info: model.info)
        expectError(.invalidArgument, "there are no classes") {
            try model.session.prepare(adapter, from: [unlabelled])
        }
        try expectRefusal([0, 1, 2], "there are others or only one")
        try expectRefusal([0, 0, 0], "there are others or only one")
        try expectRefusal([0, 1, 1, 1], "needs 2 pairs or more")
        try expectRefusal([0, 1], "found 1 and 1")
        #expect(adapter.parameters.entries.allSatisfy { $0.tensor.floats.allSatisfy { $0 == 0 } })
    }

    @Test(arguments: [TinyModel(.bart), TinyModel(.gpt2)]) func gradientsAreTheSlopes(_ family: TinyModel) throws {
        try expectGradients(
            of: "control-vector", ["layers": [1], "keep_norm": true, "strength": 2], in: try OpenModel(family))
    }
}
