import Files
import SeamHost
import Support
import TestSupport
import Testing

/// The `seam` program that `swift test` built beside the tests, with a tiny model and pairs of texts.
struct Tool {
    let scratch: ScratchFolder
    var model: String { scratch["model"] }
    var adapter: String { scratch["run/adapter"] }

    init(_ family: TinyModel = TinyModel(.marian)) throws {
        scratch = try ScratchFolder()
        try family.write(to: scratch["model"])
        try write("train.jsonl", makePairs(11))
        try write("dev.jsonl", makePairs(5, seed: 2))
    }

    /// Pairs as lines of texts; the tokenizer adds the end token.
    private func write(_ name: String, _ pairs: (sources: [[Int32]], targets: [[Int32]])) throws {
        func text(_ ids: [Int32]) -> JSON { .string(ids.dropLast().map(TinyModel.word).joined(separator: " ")) }
        let lines = try zip(pairs.sources, pairs.targets).map { source, target in
            try (["source": text(source), "target": text(target)] as JSON).serialized() + "\n"
        }
        try scratch.write(name, lines.joined())
    }

    static func path() throws -> String {
        guard let folder = Runtime.ownFolder else {
            throw SeamError(.internal, "the test program does not know its folder")
        }
        return FileSystem.join(folder, "seam")
    }

    static func start(
        _ arguments: [String], environment: [String: String?] = ["SEAM_PLUGIN_PATH": nil], input: String = ""
    )
        throws -> Program
    {
        try Program(try path(), arguments, environment: environment, input: input)
    }

    @discardableResult
    static func run(
        _ arguments: [String], environment: [String: String?] = ["SEAM_PLUGIN_PATH": nil], input: String = ""
    ) throws -> Program.Outcome {
        try start(arguments, environment: environment, input: input).wait()
    }

    /// The arguments of a training run.
    func training(_ more: [String] = [], output: String = "run", steps: Int = 8) -> [String] {
        [
            "train", "--model", model, "--train", scratch["train.jsonl"], "--dev",
            scratch["dev.jsonl"],
            "--output", scratch[output], "--steps", "\(steps)", "--batch-size", "4", "--learning-rate", "0.02",
        ] + (more.contains("--adapter") ? [] : ["--adapter", "repcali"]) + more
    }
}

/// Expects success and gives what was written.
func succeeded(_ outcome: Program.Outcome, sourceLocation: SourceLocation = #_sourceLocation) -> String {
    #expect(outcome.status == 0, "\(outcome.errors)", sourceLocation: sourceLocation)
    return outcome.output
}

/// Expects a failure with one line on standard error that holds `words`, and nothing on standard output.
func expectFailure(
    _ outcome: Program.Outcome, _ words: String..., sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(outcome.status != 0 && outcome.status < 128, "status \(outcome.status)", sourceLocation: sourceLocation)
    #expect(outcome.output.isEmpty, sourceLocation: sourceLocation)
    let lines = outcome.errors.split(separator: "\n")
    #expect(lines.count == 1, "\(outcome.errors)", sourceLocation: sourceLocation)
    for word in words {
        #expect(outcome.errors.contains(word), "\(outcome.errors)", sourceLocation: sourceLocation)
    }
}
