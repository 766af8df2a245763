import Files
import Glibc
import Support
import TestSupport
import Testing

@Suite struct SweepTests {
    private func arguments(_ tool: Tool, _ more: [String] = [], output: String = "sweep", steps: Int = 6) -> [String] {
        [
            "sweep", "--model", tool.model, "--train", tool.scratch["train.jsonl"], "--dev", tool.scratch["dev.jsonl"],
            "--variant", "plain=prefix-tuning:mlp_hidden_size=8", "--variant",
            "gate=prefix-tuning:mlp_hidden_size=8+gate",
            "--vary", "prefix_length=2,3", "--steps", "\(steps)", "--batch-size", "4", "--output", tool.scratch[output],
        ] + more
    }

    @Test func aSweepAndItsReport() throws {
        let tool = try Tool(TinyModel(.gpt2))
        let more = [
            "--seeds", "0,1", "--test", tool.scratch["dev.jsonl"], "--metric", "chrf", "--metric", "exact-match",
            "--eval-limit", "3", "--max-new-tokens", "4",
        ]
        let output = succeeded(try Tool.run(arguments(tool, more)))
        #expect(output.contains("chrf on the development examples") && output.contains("gate-gate-3.svg"))
        let names = [
            "results.md", "results.jsonl", "metric.svg", "loss.svg", "gate-gate-2.svg", "gate-gate-3.svg", "sweep.json",
        ]
        #expect(Set(try FileSystem.list(tool.scratch["sweep"])) == Set(names + ["runs"]))
        let run = tool.scratch["sweep/runs/gate/prefix_length-3/seed-1"]
        let result = try JSON.read(FileSystem.join(run, "result.json"))
        for part in ["development", "test"] {
            #expect(result[part]?.objectValue?.map(\.key) == ["loss", "token_accuracy", "chrf", "exact_match"])
        }
        #expect(FileSystem.exists(FileSystem.join(run, "loss.svg")))

        let report = try FileSystem.readText(tool.scratch["sweep/results.md"])
        for name in names where name != "sweep.json" { try FileSystem.remove(tool.scratch["sweep/\(name)"]) }
        let again = try Tool.run(["sweep", "--report-only", tool.scratch["sweep"]])
        #expect(succeeded(again) == output && again.errors.isEmpty)
        #expect(try FileSystem.readText(tool.scratch["sweep/results.md"]) == report)
        // Everything is there already.
        let skipped = try Tool.run(arguments(tool, more))
        #expect(succeeded(skipped) == output)
        #expect(skipped.errors == "8 of 8 runs have results already\n")
        expectFailure(
            try Tool.run(arguments(tool, more + ["--learning-rate", "gate=0.5"])),
            "result.json was made with learning_rate 0.001, this sweep has 0.5: give another --output")
    }

    @Test func anInterruptedSweepGoesOn() throws {
        let tool = try Tool()
        let long = arguments(tool, steps: 400)
        let program = try Tool.start(long)
        let start = monotonicSeconds()
        while !(try program.errorsSoFar().contains("step ")), monotonicSeconds() - start < 20 { usleep(2000) }
        program.send(SIGINT)
        let stopped = try program.wait()
        #expect(stopped.status == 130, "\(stopped.errors)")
        #expect(
            stopped.errors.split(separator: "\n").last
                == "stopped within plain, prefix_length 2, seed 0; the same command goes on from there")
        #expect(FileSystem.exists(tool.scratch["sweep/runs/plain/prefix_length-2/seed-0/checkpoint"]))
        let outcome = try Tool.run(long)
        _ = succeeded(outcome)
        #expect(outcome.errors.contains("run 1/4: plain, prefix_length 2, seed 0, resumed at step "))
        _ = succeeded(try Tool.run(arguments(tool, output: "whole", steps: 400)))
        func report(_ folder: String) throws -> [Substring] {
            let text = try FileSystem.readText(tool.scratch["\(folder)/results.md"])
            return Array(text.prefix(upTo: text.ranges(of: "## Seconds")[0].lowerBound).split(separator: "\n"))
        }
        #expect(try report("sweep") == report("whole"))
    }

    @Test func aFailedRunFailsTheCommandAtItsEnd() throws {
        let tool = try Tool()
        let outcome = try Tool.run(arguments(tool, ["--vary", "learning_rate=0.01,1e38"]))
        #expect(outcome.status == 1)
        #expect(outcome.output.contains("failed"))
        #expect(outcome.errors.contains("Error: 4 of 8 runs failed"), "\(outcome.errors)")
        let report = try FileSystem.readText(tool.scratch["sweep/results.md"])
        #expect(report.contains("- plain, prefix_length 2, learning_rate 1e38, seed 0: "))
    }

    @Test func brokenCommands() throws {
        let tool = try Tool()
        func refused(_ more: [String], _ words: String) throws {
            expectFailure(try Tool.run(arguments(tool, more)), words)
            #expect(!FileSystem.exists(tool.scratch["sweep"]))
        }
        try refused(["--seeds", "0,x"], "--seeds must be whole numbers as 0,1,2, found \"0,x\"")
        try refused(["--learning-rate", "fast"], "--learning-rate must be a number or NAME=NUMBER, found \"fast\"")
        try refused(["--learning-rate", "other=1"], "there is no variant \"other\"")
        try refused(["--option", "colour"], "--option must be NAME=VALUE, found \"colour\"")
        try refused(["--variant", "plain"], "--variant must be NAME=ADAPTER")
        try refused(["--variant", "more=nothing"], "\"nothing\"")
        try refused(["--vary", "colour=1,2"], "has no adapter with this option")
        try refused(["--eval-limit=-1"], "--eval-limit must be 0 or more, found -1")
        try refused(["--metric", "bleu", "--max-new-tokens", "100000"], "--max-new-tokens must be at most")
        expectFailure(try Tool.run(["sweep", "--report-only", tool.scratch.path]), "holds no sweep")
    }
}
