import Files
import SeamHost
import Support
import TestSupport
import Testing

@Suite struct CommandTests {
    @Test func pluginsAreListed() throws {
        let output = succeeded(try Tool.run(["plugins"]))
        let rows = output.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        #expect(rows.first == ["offers", "kind", "plugin", "version", "file"])
        #expect(rows.contains { $0.prefix(3) == ["repcali", "adapter", "org.seamkit.repcali"] })
        #expect(rows.contains { $0.prefix(3) == ["transformer", "backbone", "org.seamkit.transformer"] })
    }

    /// SEAM_PLUGIN_PATH comes before the tool's own folder, and what is broken there is a warning.
    @Test func thePluginPathComesFirst() throws {
        let scratch = try ScratchFolder()
        try compilePlugin("bad-plugins/newer_minor.c", into: scratch.path)
        try compilePlugin("bad-plugins/duplicate_id.c", into: scratch.path)
        try compilePlugin("bad-plugins/null_entry.c", into: scratch.path)
        let outcome = try Tool.run(["plugins"], environment: ["SEAM_PLUGIN_PATH": scratch.path])
        let output = succeeded(outcome)
        #expect(output.contains("test-newer-minor"))
        let repcali = try #require(output.split(separator: "\n").first { $0.hasPrefix("repcali ") })
        #expect(repcali.contains(scratch.path), "the one found first")
        // The bundled plugin of the same adapter is refused now, with its own id and a reason.
        let warnings = outcome.errors.split(separator: "\n")
        #expect(warnings.count == 2 && warnings.allSatisfy { $0.hasPrefix("warning: ") }, "\(outcome.errors)")
        #expect(outcome.errors.contains("seam_plugin_entry returned NULL"))
        #expect(
            outcome.errors.contains(
                "\"repcali\" of plugin org.seamkit.repcali is already offered by org.seamkit.test.repcali"))

        expectFailure(
            try Tool.run(["plugins"], environment: ["SEAM_PLUGIN_PATH": scratch["nowhere"]]),
            "plugin search path", "nowhere\" is not a folder")
    }

    @Test func aPluginCanBeNamed() throws {
        let scratch = try ScratchFolder()
        let path = try compilePlugin("bad-plugins/newer_minor.c", into: scratch.path)
        #expect(
            succeeded(try Tool.run(["describe", "--plugin", path, "test-newer-minor"])).contains("Changes nothing."))
        let bad = try compilePlugin("bad-plugins/other_major.c", into: scratch.path)
        expectFailure(try Tool.run(["plugins", "--plugin", bad]), "was built for ABI 2.0")
    }

    @Test func descriptions() throws {
        let tool = try Tool()
        let text = succeeded(try Tool.run(["describe", "repcali"]))
        for words in ["encoder.output", "lambda", "seam_tensor *(void *, const seam_pass *)", "Zhang et al. 2025"] {
            #expect(text.contains(words))
        }
        let json = try JSON.parse(succeeded(try Tool.run(["describe", "--json", "repcali"])), name: "describe")
        #expect(json["kind"] == "adapter" && json["seams"] == ["encoder.output"])
        let options = try #require(json["options"]?.arrayValue)
        #expect(options.compactMap { $0["name"]?.stringValue }.first == "lambda")
        #expect(options.first { $0["name"] == "seed" }?["choices"] == ["ones", "positions"])
        #expect(json["methods"]?.arrayValue?.compactMap { $0["name"]?.stringValue } == ["shift", "lambda"])

        let plugin = try JSON.parse(
            succeeded(try Tool.run(["describe", "--json", "org.seamkit.transformer"])), name: "describe")
        #expect(plugin["backbones"] == ["transformer"])
        let model = try JSON.parse(succeeded(try Tool.run(["describe", "--json", tool.model])), name: "describe")
        #expect(model["family"] == "marian" && model["d_model"] == 16 && model["vocab_size"] == 24)
        #expect(succeeded(try Tool.run(["describe", tool.model])).contains("marian"))
        expectFailure(
            try Tool.run(["describe", "nothing"]), "no loaded plugin, adapter or backbone has the id \"nothing\"")
    }

    /// Not the network that folding throws away.
    @Test func whatIsSavedIsCounted() throws {
        let tool = try Tool()
        let more = ["--adapter", "prefix-tuning", "--option", "prefix_length=2", "--option", "attention=decoder"]
        let trained = succeeded(try Tool.run(tool.training(more, steps: 1)))
        let file = try SafetensorsFile(FileSystem.join(tool.adapter, "adapter_model.safetensors"))
        let count = file.tensors.reduce(0) { $0 + $1.shape.reduce(1, *) }
        #expect(trained.contains("saved prefix-tuning (\(count) parameters) to \(tool.adapter)"))
    }

    /// One model from training to a method's result.
    @Test(arguments: [TinyModel(.marian), TinyModel(.t5)]) func trainEvaluateGenerateCall(_ family: TinyModel) throws {
        let tool = try Tool(family)
        let trained = succeeded(
            try Tool.run(tool.training(["--option", "lambda=0.5", "--eval-every", "20"], steps: 40)))
        #expect(trained.contains("saved repcali (48 parameters) to \(tool.adapter)"))
        #expect(Set(try FileSystem.list(tool.scratch["run"])) == ["adapter", "log.jsonl", "loss.svg"])

        func evaluate(_ more: [String]) throws -> JSON {
            let arguments = ["evaluate", "--model", tool.model, "--data", tool.scratch["train.jsonl"], "--json"]
            return try JSON.parse(succeeded(try Tool.run(arguments + more)), name: "evaluate")
        }
        let predictions = tool.scratch["predictions.jsonl"]
        let with = try evaluate([
            "--adapter", tool.adapter, "--metric", "exact-match", "--metric", "chrf", "--predictions", predictions,
            "--max-new-tokens", "8",
        ])
        let without = try evaluate(["--loss-only"])
        #expect(with["examples"] == 11 && without["examples"] == 11)
        #expect(with["loss"]!.doubleValue! < without["loss"]!.doubleValue! - 0.1)
        #expect(with["exact_match"] != nil && with["chrf"] != nil && without["exact_match"] == nil)
        let lines = try FileSystem.readText(predictions).split(separator: "\n").map {
            try JSON.parse(String($0), name: predictions)
        }
        #expect(lines.count == 11)
        let plain = succeeded(
            try Tool.run(["evaluate", "--model", tool.model, "--data", tool.scratch["dev.jsonl"], "--loss-only"]))
        #expect(plain.split(separator: "\n").count == 3)

        // The same texts one by one, as arguments and as lines of standard input.
        let sources = lines.compactMap { $0["source"]?.stringValue }
        let generation = ["generate", "--model", tool.model, "--adapter", tool.adapter, "--max-new-tokens", "8"]
        let expected = lines.map { $0["prediction"]!.stringValue! }.joined(separator: "\n") + "\n"
        #expect(succeeded(try Tool.run(generation + sources)) == expected)
        #expect(succeeded(try Tool.run(generation, input: sources.joined(separator: "\n") + "\n")) == expected)
        #expect(succeeded(try Tool.run(generation + ["--beams", "3", sources[0]])).hasSuffix("\n"))

        let call = ["call", "--model", tool.model, tool.adapter]
        #expect(succeeded(try Tool.run(call + ["lambda"])) == "0.5\n")
        let shift = try JSON.parse(succeeded(try Tool.run(call + ["shift"])), name: "shift")
        #expect(shift["shape"] == [1, 16])
        #expect(shift["values"]?.arrayValue?.contains { $0.doubleValue != 0 } == true)
        expectFailure(try Tool.run(call + ["shfit"]), "has no method \"shfit\"")
        expectFailure(try Tool.run(call + ["lambda", "1"]), "\"lambda\" takes 0 arguments")
        let saved = try JSON.parse(succeeded(try Tool.run(["describe", "--json", tool.adapter])), name: "describe")
        #expect(saved["options"]?["lambda"] == 0.5)
    }

    @Test func aModelTrainedWithItsAdapter() throws {
        let tool = try Tool()
        let output = succeeded(try Tool.run(tool.training(["--train-backbone", "--backbone-learning-rate", "1e-2"])))
        #expect(output.contains("saved the model to \(tool.scratch["run/backbone"])"))
        let outcome = try Tool.run([
            "generate", "--model", tool.scratch["run/backbone"], "--adapter", tool.adapter, "--max-new-tokens", "4",
            "w3 w4",
        ])
        _ = succeeded(outcome)
        #expect(outcome.errors.isEmpty, "the adapter belongs to the saved model")
        #expect(
            try Tool.run(["generate", "--model", tool.model, "--adapter", tool.adapter, "w3"]).errors.contains(
                "was trained on other weights"))
    }
}
