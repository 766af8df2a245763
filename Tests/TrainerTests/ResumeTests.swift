import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing
import Trainer

@Suite struct ResumeTests {
    /// Every file that a run left.
    private func bytes(_ fixture: RunFixture) throws -> [String: [UInt8]] {
        try ScratchFolder.contents(of: fixture.output)
    }

    /// Stops after some steps, within the first epoch of three and beyond it, and goes on in a new process's stead:
    /// with a new runtime, backbone, adapter and cache.
    @Test(
        arguments: [1, 2, 3, 5, 9],
        [(TinyModel(.marian), false), (TinyModel(.t5), false), (TinyModel(.marian), true)])
    func aResumedRunEqualsAnUninterruptedOne(_ steps: Int, _ setting: (TinyModel, Bool)) throws {
        func fixture() throws -> RunFixture {
            var fixture = try RunFixture(setting.0, trainsBackbone: setting.1)
            fixture.options.evaluationInterval = 4
            return fixture
        }
        let whole = try fixture()
        try whole.run()
        let expected = try bytes(whole)

        let first = try fixture()
        let stopped = try first.run(stopAt: steps)
        #expect(!stopped.isComplete && stopped.steps == steps && stopped.adapterPath == nil)
        #expect(Set(try FileSystem.list(first.output)) == ["checkpoint", "log.jsonl", "loss.svg"])
        #expect(RunFolder.isResumable(first.output))
        var second = try fixture()
        second.options.output = first.output
        var resumedAt = -1
        let result = try second.run(resumes: true) { if case .started(_, let first) = $0 { resumedAt = first } }
        #expect(resumedAt == steps)
        #expect(result.isComplete)
        let found = try bytes(second)
        #expect(Set(found.keys) == Set(expected.keys))
        for (name, bytes) in expected { #expect(found[name] == bytes, "\(name)") }
        #expect(!RunFolder.isResumable(first.output))
    }

    @Test func checkpointsInBetweenChangeNothing() throws {
        let plain = try RunFixture()
        try plain.run()
        var fixture = try RunFixture()
        fixture.options.checkpointInterval = 3
        var checkpoints: [Int] = []
        try fixture.run { event in
            guard case .checkpoint(let step, let path) = event else { return }
            checkpoints.append(step)
            #expect(path == FileSystem.join(fixture.output, "checkpoint"))
            let state = try JSON.read(FileSystem.join(path, "trainer_state.json"))
            #expect(state["step"]?.intValue == step)
        }
        #expect(checkpoints == [3, 6, 9])
        #expect(try bytes(fixture) == bytes(plain))
    }

    @Test func aFailedStepLeavesTheLastCheckpoint() throws {
        struct PowerCut: Error {}
        var fixture = try RunFixture()
        fixture.options.checkpointInterval = 4
        #expect(throws: PowerCut.self) {
            try fixture.run { if case .step(let report, _, _) = $0, report.step == 7 { throw PowerCut() } }
        }
        #expect(RunFolder.isResumable(fixture.output))
        var second = try RunFixture()
        second.options.output = fixture.output
        second.options.checkpointInterval = 4
        try second.run(resumes: true)
        let plain = try RunFixture()
        try plain.run()
        #expect(try bytes(second) == bytes(plain))
    }

    /// The log can be read behind every step, and what ended with an error keeps it.
    @Test func theLogGrowsStepByStep() throws {
        struct PowerCut: Error {}
        let fixture = try RunFixture()
        #expect(throws: PowerCut.self) {
            try fixture.run {
                guard case .step(let report, _, _) = $0 else { return }
                #expect(try fixture.log().compactMap { $0["step"]?.intValue } == Array(1...report.step))
                if report.step == 7 { throw PowerCut() }
            }
        }
        #expect(try fixture.log().count == 7)
        #expect(Set(try FileSystem.list(fixture.output)) == ["log.jsonl", "loss.svg"])
        let before = try bytes(fixture)
        var second = try RunFixture()
        second.options.output = fixture.output
        expectError(.alreadyExists, "holds the log.jsonl of another run", "--overwrite") { try second.run() }
        #expect(try bytes(fixture) == before)
        second.options.overwrites = true
        try second.run()
        let plain = try RunFixture()
        try plain.run()
        #expect(try bytes(second) == bytes(plain))
    }

    @Test func aRunStoppedBeforeItGoesOnCanBeResumedAgain() throws {
        let plain = try RunFixture()
        try plain.run()
        let first = try RunFixture()
        try first.run(stopAt: 5)
        for steps in [0, 6, .max] {
            var next = try RunFixture()
            next.options.output = first.output
            let result = try next.run(resumes: true, stopAt: steps)
            #expect(result.steps == (steps == .max ? 10 : max(5, steps)))
        }
        #expect(try bytes(first) == bytes(plain))
    }

    @Test func otherSettingsAreRefused() throws {
        let fixture = try RunFixture()
        try fixture.run(stopAt: 2)
        let checkpoint = try ScratchFolder.contents(of: fixture.output)
        func expectRefusal(_ words: String..., change: (inout RunFixture) throws -> Void) throws {
            var other = try RunFixture()
            other.options.output = fixture.output
            try change(&other)
            for word in words {
                expectError(.invalidArgument, "the run was started with", word) { try other.run(resumes: true) }
            }
            #expect(other.model.session.variables.isEmpty)
        }
        try expectRefusal("learning_rate 0.02, it cannot be resumed with 0.03") {
            $0.options.training.learningRate = 0.03
        }
        try expectRefusal("seed \"0\"", "with \"1\"") { $0.options.seed = 1 }
        try expectRefusal("batch_size 4") { $0.options.batchSize = 5 }
        try expectRefusal("steps 10") { $0.options.training.totalSteps = 11 }
        try expectRefusal("schedule \"linear\"") { $0.options.training.schedule = .cosine }
        try expectRefusal("max_grad_norm 1.0") { $0.options.training.maxGradientNorm = 2 }
        try expectRefusal("beta1 0.9") { $0.options.training.optimizer.beta1 = 0.8 }
        try expectRefusal("epsilon 1e-08") { $0.options.training.optimizer.epsilon = 1e-6 }
        try expectRefusal("data ") {
            $0.data = TokenPairs(sources: $0.data.sources.reversed(), targets: $0.data.targets)
        }
        try expectRefusal("adapters ") { try $0.model.attach() }
        #expect(try ScratchFolder.contents(of: fixture.output) == checkpoint)

        var other = try RunFixture(TinyModel(.marian, seed: 2))
        other.options.output = fixture.output
        expectError(.invalidArgument, "backbone_fingerprint") { try other.run(resumes: true) }
    }

    /// The same ids cut into other sentences are other data.
    @Test func whereSentencesEndCounts() throws {
        var fixture = try RunFixture()
        fixture.data = TokenPairs(sources: [[3, 4], [5]], targets: [[6], [7]])
        try fixture.run(stopAt: 1)
        var other = try RunFixture()
        other.options.output = fixture.output
        other.data = TokenPairs(sources: [[3], [4, 5]], targets: [[6], [7]])
        expectError(.invalidArgument, "the run was started with data") { try other.run(resumes: true) }
    }

    @Test func damagedCheckpointsAreRefused() throws {
        let fixture = try RunFixture()
        try fixture.run(stopAt: 2)
        let folder = FileSystem.join(fixture.output, "checkpoint")
        let (statePath, weightsPath) = (
            FileSystem.join(folder, "trainer_state.json"), FileSystem.join(folder, "trainer_state.safetensors")
        )
        #expect(Set(try FileSystem.list(folder)) == ["trainer_state.json", "trainer_state.safetensors"])
        func resume() throws -> RunResult {
            var other = try RunFixture()
            other.options.output = fixture.output
            return try other.run(resumes: true)
        }
        let (state, weights) = (try FileSystem.readText(statePath), try FileSystem.readBytes(weightsPath))
        try FileSystem.atomicWriteFile(statePath, text: state.replacing("\"schema\": 1", with: "\"schema\": 2"))
        expectError(.incompatible, "trainer_state.json", "schema 2") { try resume() }
        try FileSystem.atomicWriteFile(statePath, text: String(state.dropLast(10)))
        expectError(.format, "trainer_state.json") { try resume() }
        try FileSystem.atomicWriteFile(statePath, text: state)
        try FileSystem.atomicWriteFile(weightsPath, Array(weights.dropLast(8)))
        expectError(.format, "trainer_state.safetensors") { try resume() }
        try SafetensorsWriter.write([], to: weightsPath)
        expectError(.format, "tensor \"value.adapter.0.embedding.weight\" with shape [6, 16] is missing") {
            try resume()
        }
        try FileSystem.atomicWriteFile(weightsPath, weights)
        #expect(try resume().isComplete)
    }

    /// A folder that is no checkpoint is never replaced by one.
    @Test func foreignFoldersAreLeftAlone() throws {
        let fixture = try RunFixture()
        let folder = FileSystem.join(fixture.output, "checkpoint")
        try FileSystem.createDirectories(folder)
        try FileSystem.atomicWriteFile(FileSystem.join(folder, "diary.txt"), text: "mine")
        expectError(.alreadyExists, "holds other files (diary.txt)") { try fixture.run(stopAt: 1) }
        #expect(try FileSystem.list(folder) == ["diary.txt"])
    }
}
