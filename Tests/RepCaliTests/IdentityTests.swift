import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// RepCali on frozen backbones: where it starts, and what its options do.
@Suite struct IdentityTests {
    private func batch(_ model: OpenModel, count: Int = 4) throws -> Batch {
        let pairs = makePairs(count)
        return try Batch(sources: pairs.sources, targets: pairs.targets, info: model.info)
    }

    @Test(arguments: TinyModel.everyFamily) func startsAsTheIdentityToTheLastBit(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let batch = try batch(model)
        let plain = try model.logits(batch)
        for options: JSON in [
            .null, ["seed": "positions", "max_positions": 16], ["lambda": 0.25], ["norm": "none"],
            ["initialization": "identity"], ["epsilon": 0.1],
        ] {
            let adapter = try model.attach("repcali", options)
            #expect(bitEqual(try model.logits(batch), plain), "\(options)")
            try model.session.detach(adapter)
            #expect(bitEqual(try model.logits(batch), plain), "detached")
        }
    }

    @Test func autoIsResolvedByWhatIsTrained() throws {
        let model = try OpenModel()
        #expect(try model.attach().options["initialization"] == "identity")
        #expect(try model.attach(backboneFrozen: false).options["initialization"] == "paper")
        #expect(try model.attach("repcali", ["initialization": "paper"]).options["initialization"] == "paper")
        #expect(
            try model.attach("repcali", ["initialization": "identity"], backboneFrozen: false)
                .options["initialization"] == "identity")
    }

    @Test func initialValues() throws {
        let model = try OpenModel()
        let identity = try model.attach()
        #expect(identity.parameters.entries.map(\.name) == ["embedding.weight", "norm.weight", "norm.bias"])
        #expect(identity.parameters["embedding.weight"]!.shape == [1, 16])
        #expect(identity.parameters["embedding.weight"]!.floats.allSatisfy { $0 == 0 })
        #expect(identity.parameters["norm.weight"]!.floats.allSatisfy { $0 == 1 })
        #expect(identity.parameters["norm.bias"]!.floats.allSatisfy { $0 == 0 })
        #expect(identity.parameters.trainableCount == 48)

        let options: JSON = [
            "initialization": "paper", "deviation": 0.5, "seed": "positions", "max_positions": 400, "norm": "none",
        ]
        let paper = try model.attach("repcali", options)
        #expect(paper.parameters.entries.map(\.name) == ["embedding.weight"])
        let values = paper.parameters["embedding.weight"]!.floats.map(Double.init)
        #expect(values.count == 400 * 16)
        // Standard errors of mean and deviation of 6400 draws: 0.006 and 0.0044; four of each.
        let mean = values.reduce(0, +) / 6400
        let deviation = (values.map { $0 * $0 }.reduce(0, +) / 6400 - mean * mean).squareRoot()
        #expect(abs(mean) < 0.025)
        #expect(abs(deviation - 0.5) < 0.018)
    }

    @Test func positionsDefaultToTheBackbones() throws {
        let marian = try OpenModel()
        #expect(try marian.attach("repcali", ["seed": "positions"]).parameters["embedding.weight"]!.shape == [32, 16])
        #expect(
            try marian.attach("repcali", ["seed": "positions", "max_positions": 5])
                .parameters["embedding.weight"]!.shape == [5, 16])
        let t5 = try OpenModel(TinyModel(.t5))
        expectError(.invalidArgument, "seed 'positions'", "set max_positions") {
            try t5.attach("repcali", ["seed": "positions"])
        }
    }

    @Test func theSeedOfTheSessionDecidesTheInitialValues() throws {
        let model = try OpenModel()
        func values(_ seed: UInt64) throws -> [Float] {
            try model.attach("repcali", ["initialization": "paper"], seed: seed).parameters["embedding.weight"]!.floats
        }
        #expect(bitEqual(try values(3), try values(3)))
        #expect(distance(try values(3), try values(4)) > 0.1)
    }

    @Test func wrongOptionsAreRefused() throws {
        let model = try OpenModel()
        expectError(.invalidArgument, "unknown option \"lamda\"", "lambda, seed, norm") {
            try model.attach("repcali", ["lamda": 1])
        }
        expectError(.invalidArgument, "\"seed\" must be one of ones, positions") {
            try model.attach("repcali", ["seed": "all"])
        }
        expectError(.invalidArgument, "\"lambda\" must be a number") { try model.attach("repcali", ["lambda": "1"]) }
        expectError(.invalidArgument, "\"epsilon\"", "0") { try model.attach("repcali", ["epsilon": 0]) }
        expectError(.invalidArgument, "\"max_positions\" must be an integer from 0 to 1000000") {
            try model.attach("repcali", ["max_positions": -1])
        }
        expectError(.invalidArgument, "\"max_positions\"") { try model.attach("repcali", ["max_positions": 1.5]) }
    }
}
