import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing
import Trainer

/// Training of adapters inside the layers (Tests/Fixtures/low-rank-plugin).
@Suite struct InsideLayersTrainingTests {
    private func fixture(_ options: [JSON] = [.null], usesCache: Bool = true) throws -> RunFixture {
        var fixture = try RunFixture(TinyModel(.t5), adapters: [])
        try fixture.model.runtime.loadPlugin(
            try compilePlugin("low-rank-plugin/low_rank.c", into: fixture.model.scratch.path))
        for each in options { try fixture.model.attach("low-rank", each, seed: 3) }
        fixture.options.usesSeamCache = usesCache
        fixture.options.evaluationInterval = 4
        return fixture
    }

    private func bytes(_ fixture: RunFixture) throws -> [String: [UInt8]] {
        try ScratchFolder.contents(of: fixture.output)
    }

    @Test func theLossFalls() throws {
        let fixture = try fixture([["targets": "q,k,v,o,cross_q,cross_k,cross_v,cross_o,up,down", "rank": 4]])
        let batch = try fixture.data.batch(Array(0..<11), info: fixture.model.info)
        var options = TrainingOptions()
        options.learningRate = 0.02
        let optimisation = try Optimisation(session: fixture.model.session, options: options)
        let losses = try (0..<40).map { _ in try optimisation.update(batch).loss }
        #expect(losses.last! < 0.5 * losses[0], "from \(losses[0]) to \(losses.last!)")
        #expect(optimisation.variables.allSatisfy { $0.moments != nil })
    }

    /// The cache of the encoder's output is used where adapters are inside the decoder alone, and changes nothing; one
    /// inside the encoder gets its gradient in every step.
    @Test(arguments: ["encoder", "decoder", "both"]) func theCacheChangesNothing(_ stack: String) throws {
        let fixtures = try [true, false].map { try fixture([["stack": .string(stack)]], usesCache: $0) }
        let encoded = try fixtures.map { try $0.run().encodedExamples }
        #expect((encoded[0] != nil) == (stack == "decoder"))
        let (with, without) = (try bytes(fixtures[0]), try bytes(fixtures[1]))
        for name in ["adapter/adapter_model.safetensors", "log.jsonl"] {
            #expect(with[name] != nil && with[name] == without[name], "\(name)")
        }
    }

    @Test func aResumedRunEqualsAnUninterruptedOne() throws {
        let options: [JSON] = [["stack": "encoder"], ["stack": "decoder", "targets": "down"]]
        let whole = try fixture(options)
        try whole.run()
        let first = try fixture(options)
        try first.run(stopAt: 5)
        var other = try fixture([["stack": "encoder"], ["stack": "decoder", "targets": "up"]])
        other.options.output = first.output
        expectError(.invalidArgument, "points") { try other.run(resumes: true) }
        var second = try fixture(options)
        second.options.output = first.output
        #expect(try second.run(resumes: true).isComplete)
        let (expected, found) = (try bytes(whole), try bytes(second))
        #expect(Set(found.keys) == Set(expected.keys))
        for (name, bytes) in expected { #expect(found[name] == bytes, "\(name)") }
    }

    @Test func mergedAdaptersAreNotTrained() throws {
        let fixture = try fixture()
        let adapter = fixture.model.session.adapters[0]
        try fixture.model.session.merge(adapter)
        expectError(
            .invalidArgument, "adapter \"low-rank\" is merged into the weights: unmerge it before it is trained"
        ) {
            try Optimisation(session: fixture.model.session, options: TrainingOptions())
        }
        try fixture.model.session.unmerge(adapter)
        _ = try Optimisation(session: fixture.model.session, options: TrainingOptions())
    }
}
