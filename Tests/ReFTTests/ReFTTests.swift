import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// LoReFT, NoReFT and DiReFT against their formulas, and the directions of LoReFT.
@Suite struct ReFTTests {
    /// The rows of R at a point, from the folded adapter.
    private func rows(_ adapter: Adapter, _ model: OpenModel, _ point: String) throws -> [[Double]] {
        let folded = try adapter.folded(for: model.backbone)
        let values = try #require(folded.parameters["\(point).rotate_layer.weight"])
        let width = values.shape[1]
        return (0..<values.shape[0]).map { values.floats[$0 * width..<($0 + 1) * width].map(Double.init) }
    }

    /// The largest entry of R R^T - I.
    private func error(_ rows: [[Double]]) -> Double {
        var largest = 0.0
        for i in rows.indices {
            for j in rows.indices {
                let product = zip(rows[i], rows[j]).reduce(0.0) { $0 + $1.0 * $1.1 }
                largest = max(largest, abs(product - (i == j ? 1 : 0)))
            }
        }
        return largest
    }

    @Test(arguments: [1, 4, 16]) func directionsAreOrthonormal(_ rank: Int) throws {
        let model = try OpenModel(TinyModel(.t5))
        let adapter = try model.attach("loreft", ["rank": .int(Int64(rank))])
        #expect(try error(rows(adapter, model, "encoder.1")) < 1e-6)
        randomise(adapter.parameters["encoder.1.rotate_layer.reflections"]!, deviation: 3)
        #expect(try error(rows(adapter, model, "encoder.1")) < 1e-6 * Double(4 + rank))
        // A row of zeros reflects nothing.
        randomise(adapter.parameters["encoder.1.rotate_layer.reflections"]!, deviation: 0)
        let base = adapter.parameters["encoder.1.rotate_layer.base"]!.floats
        #expect(try rows(adapter, model, "encoder.1").flatMap { $0 }.map { Float($0) } == base)
    }

    /// Whole reflections, one after another.
    @Test func theReflections() throws {
        let model = try OpenModel(TinyModel(.bert))
        let adapter = try model.attach("loreft", ["rank": 3])
        let normals = adapter.parameters["encoder.0.rotate_layer.reflections"]!
        randomise(normals, deviation: 1)
        var expected = adapter.parameters["encoder.0.rotate_layer.base"]!.floats.map(Double.init)
        for i in 0..<3 {
            let v = normals.floats[i * 16..<(i + 1) * 16].map(Double.init)
            let square = v.reduce(0.0) { $0 + $1 * $1 }
            for row in 0..<3 {
                let product = (0..<16).reduce(0.0) { $0 + expected[row * 16 + $1] * v[$1] }
                for j in 0..<16 { expected[row * 16 + j] -= 2 * product * v[j] / square }
            }
        }
        let found = try rows(adapter, model, "encoder.0").flatMap { $0 }
        #expect(distance(found.map { Float($0) }, expected.map { Float($0) }) < 2e-6)
    }

    @Test func theFoldedOneGivesTheSame() throws {
        let model = try OpenModel(TinyModel(.llama))
        let batch = try model.batch()
        let plain = try model.logits(batch)
        let adapter = try model.attach("loreft", ["rank": 3, "positions": "f2"])
        randomise(adapter, deviation: 0.4)
        let changed = try model.logits(batch)
        let largest = changed.map(abs).max()!
        #expect(distance(changed, plain) > 0.05 * largest)
        try model.session.detach(adapter)
        let folded = try adapter.folded(for: model.backbone)
        try model.session.attach(folded)
        #expect(distance(try model.logits(batch), changed) < 1e-5 * largest)
        try AdapterFolder.save(
            folded, backbone: model.backbone, isBackboneTrained: false, notes: "", to: model.scratch["saved"])
        let found = try model.logits(batch)
        try model.session.detach(folded)
        try model.session.attach(try AdapterFolder.load(model.scratch["saved"], backbone: model.backbone))
        #expect(bitEqual(try model.logits(batch), found))
    }

    /// The last layer alone, whose output goes to the head position by position.
    @Test(arguments: ["loreft", "noreft", "direft"]) func onlyChosenTokensAreChanged(_ id: String) throws {
        let model = try OpenModel(TinyModel(.bert))
        let batch = try model.batch()
        let plain = try model.logits(batch)
        for (positions, first, last) in [("all", 99, 99), ("f2", 2, 0), ("l1", 0, 1), ("f1+l2", 1, 2)] {
            let adapter = try model.attach(id, ["layers": [1], "positions": .string(positions)])
            randomise(adapter, deviation: 0.5)
            let changed = try model.logits(batch)
            try model.session.detach(adapter)
            for row in 0..<batch.count {
                let tokens = (0..<batch.sourceLength).count { batch.attentionMask[row * batch.sourceLength + $0] != 0 }
                for place in 0..<tokens {
                    let start = (row * batch.sourceLength + place) * 24
                    let range = start..<start + 24
                    let isChosen = place < first || place >= tokens - last
                    #expect(bitEqual(Array(changed[range]), Array(plain[range])) != isChosen, "\(positions), \(place)")
                }
            }
        }
    }

    @Test(arguments: ["noreft", "direft"]) func gradientsAreTheSlopes(_ id: String) throws {
        try expectGradients(of: id, ["layers": [1], "rank": 2], in: try OpenModel(TinyModel(.bart)))
    }

    @Test func whatIsRefused() throws {
        let model = try OpenModel(TinyModel(.t5))
        expectError(
            .invalidArgument, "the option 'rank' must be at most 16, the width of the hidden states, found 17"
        ) { try model.attach("loreft", ["rank": 17]) }
        for positions in ["", "f", "f0", "x2", "f1+", "f1+f2", "l-1", "f1234567"] {
            expectError(.invalidArgument, "must be all, or f and l with a number each", "found '\(positions)'") {
                try model.attach("direft", ["positions": .string(positions)])
            }
        }
        let decoder = try OpenModel(TinyModel(.llama))
        try decoder.attach("noreft", ["positions": "l2"])
        expectError(.unsupported, "where the prompt of a decoder ends is known in generation and from labels") {
            try decoder.session.forward(
                decoder.session.makeContext(recordsGradients: false), Batch(sources: [[5, 6, 7]], info: decoder.info))
        }
    }
}
