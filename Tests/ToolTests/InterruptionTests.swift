import Files
import Glibc
import Support
import TestSupport
import Testing

@Suite struct InterruptionTests {
    /// Starts a run long enough to be hit, and interrupts it once it has begun to train.
    private func interrupted(_ tool: Tool, _ arguments: [String]) throws -> Program.Outcome {
        let program = try Tool.start(arguments)
        let start = monotonicSeconds()
        while !(try program.errorsSoFar().contains("step ")), monotonicSeconds() - start < 20 { usleep(2000) }
        program.send(SIGINT)
        return try program.wait()
    }

    @Test func anInterruptedRunResumesToTheSameBytes() throws {
        let tool = try Tool()
        let steps = 300
        _ = succeeded(try Tool.run(tool.training(output: "whole", steps: steps)))
        let stopped = try interrupted(tool, tool.training(output: "parts", steps: steps))
        #expect(stopped.status == 130, "\(stopped.errors)")
        #expect(stopped.output.isEmpty)
        #expect(
            stopped.errors.split(separator: "\n").last?.contains(
                "of \(steps) steps; go on with the same command and --resume") == true)
        #expect(Set(try FileSystem.list(tool.scratch["parts"])) == ["checkpoint", "log.jsonl", "loss.svg"])

        expectFailure(
            try Tool.run(tool.training(output: "parts", steps: steps)),
            "holds the checkpoint of an unfinished run: add --resume to go on")
        let outcome = try Tool.run(tool.training(["--resume"], output: "parts", steps: steps))
        _ = succeeded(outcome)
        #expect(outcome.errors.contains("resumed at step "))
        let (whole, parts) = (
            try ScratchFolder.contents(of: tool.scratch["whole"]), try ScratchFolder.contents(of: tool.scratch["parts"])
        )
        #expect(Set(whole.keys) == Set(parts.keys))
        for (name, bytes) in whole { #expect(parts[name] == bytes, "\(name)") }
    }

    /// Killed outright, a run with checkpoints goes on from the last one.
    @Test func aKilledRunResumesFromItsLastCheckpoint() throws {
        let tool = try Tool()
        let arguments = tool.training(["--checkpoint-every", "20"], steps: 20_000)
        let program = try Tool.start(arguments)
        let start = monotonicSeconds()
        while !FileSystem.exists(tool.scratch["run/checkpoint/trainer_state.json"]), monotonicSeconds() - start < 20 {
            usleep(2000)
        }
        program.send(SIGKILL)
        #expect(try program.wait().status == 128 + SIGKILL)
        let resumed = try Tool.start(arguments + ["--resume"])
        while !(try resumed.errorsSoFar().contains("resumed at step ")), monotonicSeconds() - start < 40 {
            usleep(2000)
        }
        resumed.send(SIGINT)
        let outcome = try resumed.wait()
        #expect(outcome.status == 130, "\(outcome.errors)")
        #expect(outcome.errors.contains("resumed at step "))
    }
}
