import Files
import Support
import TestSupport
import Testing

/// One line on standard error, an exit code other than 0, and nothing half-written.
@Suite struct FailureTests {
    @Test func wrongTrainingsLeaveNothing() throws {
        let tool = try Tool()
        func expectRefusal(_ more: [String], _ words: String..., sourceLocation: SourceLocation = #_sourceLocation)
            throws
        {
            let outcome = try Tool.run(tool.training(more))
            expectFailure(outcome, sourceLocation: sourceLocation)
            for word in words {
                #expect(outcome.errors.contains(word), "\(outcome.errors)", sourceLocation: sourceLocation)
            }
            #expect(!FileSystem.exists(tool.scratch["run"]), "\(more)", sourceLocation: sourceLocation)
        }
        try expectRefusal(["--option", "lamda=1"], "unknown option \"lamda\"")
        try expectRefusal(["--option", "lambda"], "--option must be NAME=VALUE, found \"lambda\"")
        try expectRefusal(["--option", "lambda=0,5"], "option \"lambda\" must be a number, found \"0,5\"")
        try expectRefusal(["--option", "lambda=x"], "option \"lambda\" must be a number, found \"x\"")
        try expectRefusal(["--option", "seed=all"], "must be one of ones, positions")
        try expectRefusal(["--learning-rate=-1"], "learning_rate must be 0 or more")
        try expectRefusal(["--batch-size", "0"], "batch_size must be positive")
        try expectRefusal(["--steps", "0"], "steps must be positive")
        try expectRefusal(["--warmup-steps", "9"], "total_steps must be more than warmup_steps")
        try expectRefusal(["--adapter", "nothing"], "no loaded plugin offers an adapter \"nothing\"")
        try expectRefusal(["--model", tool.scratch["nowhere"]], "nowhere")
        try expectRefusal(["--train", tool.scratch["nowhere.jsonl"]], "nowhere.jsonl")
        try expectRefusal(["--source-column", "from"], "\"from\"")
        try expectRefusal(["--threads=-1"], "--threads must be 0 or more, found -1")
        try expectRefusal(["--resume"], "holds no checkpoint")
        try expectRefusal(["--adapter", "none"], "there is nothing to train")
        try tool.scratch.write(
            "long.jsonl", "{\"source\": \"\(String(repeating: "w3 ", count: 40))\", \"target\": \"w3\"}\n")
        try expectRefusal(["--train", tool.scratch["long.jsonl"]], "line 1", "at most 32 tokens")
        try tool.scratch.write("empty.jsonl", "")
        try expectRefusal(["--train", tool.scratch["empty.jsonl"]], "empty.jsonl")
    }

    @Test func aLossThatIsNotFiniteEndsTheRun() throws {
        let tool = try Tool()
        let outcome = try Tool.run(
            tool.training(["--option", "norm=none", "--learning-rate", "1e38", "--schedule", "constant"]))
        #expect(outcome.status == 1)
        #expect(outcome.output.isEmpty)
        #expect(outcome.errors.split(separator: "\n").last?.contains("the learning rate may be too high") == true)
        #expect(Set(try FileSystem.list(tool.scratch["run"])) == ["log.jsonl", "loss.svg"])
    }

    @Test func wrongCommandsShowTheirUsage() throws {
        for arguments in [["trian"], ["train"], ["train", "--steps", "many"], ["generate"], ["call"]] {
            let outcome = try Tool.run(arguments)
            #expect(outcome.status == 64, "\(arguments)")
            #expect(outcome.output.isEmpty && outcome.errors.contains("Error: "))
        }
        #expect(succeeded(try Tool.run(["--version"])) == "\(seamVersion)\n")
        #expect(succeeded(try Tool.run(["--help"])).contains("train"))
    }

    @Test func wrongGenerations() throws {
        let tool = try Tool()
        let generate = ["generate", "--model", tool.model]
        expectFailure(try Tool.run(generate), "there is no source text")
        expectFailure(try Tool.run(generate + ["--beams", "0", "w3"]), "beams")
        expectFailure(
            try Tool.run(generate + ["--max-new-tokens", "33", "w3"]), "max_new_tokens must be at most", "32")
        expectFailure(try Tool.run(generate + ["--batch-size", "0", "w3"]), "--batch-size must be positive, found 0")
        expectFailure(try Tool.run(generate + [String(repeating: "w3 ", count: 40)]), "41 tokens", "at most 32")
        expectFailure(try Tool.run(generate + ["--adapter", tool.scratch["none"], "w3"]), "there is no such folder")
        expectFailure(try Tool.run(["generate", "--model", tool.scratch["none"], "w3"]), "none")
        expectFailure(try Tool.run(generate + ["--backbone", "other", "w3"]), "a backbone \"other\"")
    }

    @Test func wrongEvaluations() throws {
        let tool = try Tool()
        let evaluate = ["evaluate", "--model", tool.model, "--data"]
        expectFailure(try Tool.run(evaluate + [tool.scratch["none.jsonl"]]), "none.jsonl")
        expectFailure(
            try Tool.run(evaluate + [tool.scratch["dev.jsonl"], "--batch-size=-3"]),
            "--batch-size must be positive, found -3")
        let wide = try Tool(TinyModel(.marian, dModel: 32))
        _ = succeeded(try Tool.run(wide.training(steps: 1)))
        expectFailure(
            try Tool.run(evaluate + [tool.scratch["dev.jsonl"], "--adapter", wide.adapter]),
            "was trained for a backbone with d_model 32, this one has 16")
    }
}
