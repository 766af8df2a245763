import Files
import Support
import Sweeps
import TestSupport
import Testing

@Suite struct SweepTests {
    /// Every file of a sweep; the times are no part of what must be equal.
    private func files(_ folder: SweepFolder) throws -> [String: String] {
        try ScratchFolder.contents(of: folder.path).mapValues { bytes in
            let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
            return lines.filter { !$0.contains("\"seconds\"") }.joined(separator: "\n")
        }
    }

    @Test func everyRunHasAResult() throws {
        let fixture = try SweepFixture()
        var started: [String] = []
        #expect(
            try fixture.run { if case .started(let run, _, _, _) = $0 { started.append(run.folder) } }
                == .complete(failed: 0))
        #expect(started == (try fixture.plan()).runs.map(\.folder))
        let report = try SweepReport(fixture.folder)
        #expect(report.missing == 0 && report.failures.isEmpty)
        for run in try fixture.plan().runs {
            let result = try #require(try fixture.folder.result(of: run)?.finished)
            #expect(result.development.values.map(\.metric.name) == ["loss", "token_accuracy"])
            #expect(result.test?.values.count == 2)
            let losses = try fixture.folder.losses(of: run)
            #expect(losses.count == 10 && losses.last == result.lastLoss && result.window == 1)
        }
        // A gate has a weight for each token.
        let names = try report.write(to: fixture.folder)
        #expect(
            names == [
                "results.md", "results.jsonl", "metric.svg", "loss.svg", "gate-gate-2.svg", "gate-gate-4.svg",
            ])
        #expect(names.allSatisfy { FileSystem.exists(fixture.folder[$0]) })
    }

    /// Stopped in the first run, within the scoring at its end, and within a later one, each time with everything made anew.
    @Test func interruptionsChangeNothing() throws {
        let whole = try SweepFixture()
        try whole.run()
        let parts = try SweepFixture()
        let first = try parts.plan().runs[0]
        #expect(try parts.run(stopAfter: 3) == .stopped(first))
        #expect(FileSystem.exists(FileSystem.join(parts.folder.folder(of: first), "checkpoint")))
        #expect(try SweepReport(parts.folder).missing == 8)
        var resumed: [Int] = []
        for (updates, done) in [(7, 0), (14, 0), (1, 2), (.max, 2)] {
            let next = try SweepFixture()
            try next.run(in: parts.folder, stopAfter: updates) { event in
                if case .started(_, _, _, let step) = event, step > 0 { resumed.append(step) }
                if case .found(let found, let count) = event { #expect(found == done && count == 8) }
            }
        }
        #expect(resumed == [3, 10, 4, 5])
        let (expected, found) = (try files(whole.folder), try files(parts.folder))
        #expect(Set(found.keys) == Set(expected.keys))
        for (name, text) in expected { #expect(found[name] == text, "\(name)") }
    }

    @Test func otherSettingsAreRefused() throws {
        let fixture = try SweepFixture()
        try fixture.run(stopAfter: 12)
        let before = try files(fixture.folder)
        func expectRefusal(_ words: String..., change: (inout SweepFixture) throws -> Void) throws {
            var other = try SweepFixture()
            try change(&other)
            for word in words {
                expectError(.invalidArgument, " was made with", word, "give another --output") {
                    try other.run(in: fixture.folder)
                }
            }
        }
        try expectRefusal("learning_rate 0.02, this sweep has 0.03") { $0.task.options.training.learningRate = 0.03 }
        try expectRefusal("steps 10") { $0.task.options.training.totalSteps = 11 }
        try expectRefusal("learning_rate") { $0.task.learningRates = ["plain": 0.5] }
        try expectRefusal("adapters") { $0.variants[1] += ":initial_weight=0.9" }
        try expectRefusal("adapters") { $0.variants[0] = "plain=prefix-tuning:mlp_hidden_size=9" }
        #expect(try files(fixture.folder) == before)
        // More of the grid is the same sweep.
        var wider = try SweepFixture()
        wider.axes = ["prefix_length=2,4,3"]
        wider.seeds = [0]
        #expect(try wider.run(in: fixture.folder) == .complete(failed: 0))
    }

    @Test func whatCannotBeTrainedIsRefusedBeforeAnything() throws {
        func expectRefusal(_ words: String, change: (inout SweepFixture) -> Void) throws {
            var fixture = try SweepFixture()
            change(&fixture)
            expectError(.invalidArgument, words) { try fixture.run() }
            #expect(!FileSystem.exists(fixture.folder.path))
        }
        try expectRefusal("--vary initial_weight: variant \"plain\" has no adapter with this option") {
            $0.axes = ["initial_weight=0.1,0.9"]
        }
        try expectRefusal("--option colour=red: no variant has an adapter with the option \"colour\"") {
            $0.task.adapterSettings = [SweepSetting(name: "colour", value: "red")]
        }
        try expectRefusal("--learning-rate other=...: there is no variant \"other\"") {
            $0.task.learningRates = ["other": 1]
        }
        try expectRefusal("--vary steps: expected a whole number, found \"many\"") { $0.axes = ["steps=many"] }
        try expectRefusal("variant plain, prefix_length 1000, seed 0: ") { $0.axes = ["prefix_length=2,1000"] }
        try expectRefusal("variant plain, prefix_length x, seed 0: ") { $0.axes = ["prefix_length=x"] }
    }

    /// The loss of a run with an absurd rate does not stay finite; the others do not mind.
    @Test func aFailedRunIsAResult() throws {
        var fixture = try SweepFixture()
        fixture.axes = ["learning_rate=0.01,1e38"]
        fixture.task.adapterSettings = [SweepSetting(name: "prefix_length", value: "2")]
        fixture.seeds = [0]
        #expect(try fixture.run() == .complete(failed: 2))
        let report = try SweepReport(fixture.folder)
        #expect(
            report.failures.map(\.run.title) == [
                "plain, learning_rate 1e38, seed 0", "gate, learning_rate 1e38, seed 0",
            ])
        #expect(report.failures.allSatisfy { $0.sentence.contains("step") })
        let text = report.markdown
        #expect(text.contains("failed |") && text.contains("## Failed runs"))
        #expect(!report.metricPlot.contains("nan"))
        // They are not tried again.
        #expect(try fixture.run { if case .started = $0 { Issue.record("a run was started") } } == .complete(failed: 2))
    }

    @Test func measuresBesideTheLoss() throws {
        var fixture = try SweepFixture()
        fixture.seeds = [0]
        fixture.task.measure = { _, part in [(SweepMetric("bleu"), part == .test ? 12.5 : 25)] }
        try fixture.run()
        let result = try #require(try fixture.folder.result(of: fixture.plan().runs[0])?.finished)
        #expect(result.development[SweepMetric("bleu")] == 25 && result.test?[SweepMetric("bleu")] == 12.5)
    }

    @Test func aFolderWithoutASweep() throws {
        let scratch = try ScratchFolder()
        expectError(.notFound, "holds no sweep") { try SweepReport(SweepFolder(scratch.path)) }
    }
}
