import Files
import Support
import TestSupport
import Testing

/// `seam train --task classification` and what can be done with its adapters; compositions on the command line.
@Suite struct ClassificationTests {
    /// Texts with word 3 are bad, those with word 4 good.
    private func tool() throws -> Tool {
        let tool = try Tool(TinyModel(.bert))
        let rows = (0..<16).map {
            "\($0 % 2 == 0 ? "w3" : "w4") w\(5 + $0 % 7) w\(6 + $0 % 5)\t\($0 % 2 == 0 ? "bad" : "good")"
        }
        try tool.scratch.write("texts.tsv", "sentence\tlabel\n" + rows.joined(separator: "\n") + "\n")
        return tool
    }

    private func training(_ tool: Tool, _ more: [String] = []) -> [String] {
        [
            "train", "--model", tool.model, "--task", "classification", "--train", tool.scratch["texts.tsv"], "--dev",
            tool.scratch["texts.tsv"], "--text-column", "sentence", "--output", tool.scratch["run"], "--steps", "150",
            "--batch-size", "8", "--learning-rate", "0.005",
        ] + more
    }

    @Test func aClassifierFromTrainingToAnswers() throws {
        let tool = try tool()
        let output = succeeded(
            try Tool.run(training(tool, ["--adapter", "residual-prefix+gate", "--option", "prefix_length=2"])))
        #expect(output.contains("saved residual-prefix + gate + linear-head ("))
        #expect(
            Set(try FileSystem.list(tool.scratch["run"]))
                == ["adapter", "log.jsonl", "loss.svg", "recorded.jsonl", "gate-weights.svg"])
        let run = ["--model", tool.model, "--adapter", tool.adapter]
        let measured = try JSON.parse(
            succeeded(
                try Tool.run(
                    [
                        "evaluate", "--data", tool.scratch["texts.tsv"], "--text-column", "sentence", "--json",
                        "--predictions", tool.scratch["predictions.jsonl"],
                    ] + run)), name: "evaluate")
        #expect(measured.objectValue?.map(\.key) == ["examples", "loss", "accuracy", "macro_f1"])
        #expect(measured["examples"] == 16 && measured["accuracy"]!.doubleValue! > 80)
        let lines = try FileSystem.readText(tool.scratch["predictions.jsonl"]).split(separator: "\n").map {
            try JSON.parse(String($0), name: "predictions")
        }
        let right = lines.count { $0["prediction"] == $0["label"] }
        #expect(lines.count == 16 && 100 * Double(right) / 16 == measured["accuracy"]?.doubleValue)

        let texts = lines.compactMap { $0["text"]?.stringValue }
        let expected = lines.map { $0["prediction"]!.stringValue! + "\n" }.joined()
        #expect(succeeded(try Tool.run(["classify"] + run + texts)) == expected)
        let table = succeeded(
            try Tool.run(["classify", "--data", tool.scratch["texts.tsv"], "--text-column", "sentence"] + run))
        #expect(table.contains("accuracy") && table.contains("macro_f1"))
        expectFailure(
            try Tool.run(["evaluate", "--data", tool.scratch["texts.tsv"], "--metric", "bleu"] + run),
            "--metric bleu is of generated texts")

        // A method of one of several adapters.
        let call = ["call", "--model", tool.model]
        let weights = succeeded(try Tool.run(call + [tool.adapter, "weights"]))
        #expect(try JSON.parse(weights, name: "weights")["shape"] == [1, 2])
        #expect(succeeded(try Tool.run(call + [tool.scratch["run/adapter/2-gate"], "weights"])) == weights)
        expectFailure(
            try Tool.run(call + [tool.adapter, "shift"]), "none of the adapters in", "has a method \"shift\"")
        let saved = try JSON.parse(succeeded(try Tool.run(["describe", "--json", tool.adapter])), name: "describe")
        let parts = try #require(saved["adapters"]?.arrayValue)
        #expect(parts.compactMap { $0["folder"]?.stringValue } == ["1-residual-prefix", "2-gate", "3-linear-head"])
        #expect(parts.last?["task"] == ["schema": 1, "labels": ["bad": [], "good": []]])
        #expect(succeeded(try Tool.run(["describe", tool.adapter])).contains("2-gate"))

        // Trained further, with its head and its labels.
        let further = training(
            tool, ["--init-adapter", tool.adapter, "--output", tool.scratch["further"], "--steps", "2"])
        #expect(succeeded(try Tool.run(further)).contains("saved residual-prefix + gate + linear-head ("))
        #expect(!FileSystem.exists(tool.scratch["further/adapter/4-linear-head"]))
    }

    /// A head that starts from all examples is given them before the first step.
    @Test func aHeadThatStartsFromTheExamples() throws {
        let tool = try tool()
        let output = succeeded(
            try Tool.run(training(tool, ["--adapter", "dect", "--option", "projection_width=4", "--steps", "20"])))
        #expect(output.contains("saved dect ("))
        let run = ["--model", tool.model, "--adapter", tool.adapter]
        let data = ["--data", tool.scratch["texts.tsv"], "--text-column", "sentence", "--json"]
        let measured = try JSON.parse(succeeded(try Tool.run(["evaluate"] + data + run)), name: "measured")
        #expect(try measured.requireDouble("accuracy", in: "measured") > 80)
    }

    @Test func wrongClassifications() throws {
        let tool = try tool()
        func expectRefusal(_ more: [String], _ words: String..., sourceLocation: SourceLocation = #_sourceLocation)
            throws
        {
            let outcome = try Tool.run(training(tool, more))
            expectFailure(outcome, sourceLocation: sourceLocation)
            for word in words {
                #expect(outcome.errors.contains(word), "\(outcome.errors)", sourceLocation: sourceLocation)
            }
            #expect(!FileSystem.exists(tool.scratch["run"]), sourceLocation: sourceLocation)
        }
        try expectRefusal(["--adapter", "gate"], "attach a prefix adapter before it")
        try expectRefusal(["--adapter", "none", "--labels", "bad"], "needs 2 labels or more")
        try expectRefusal(["--adapter", "none", "--labels", "bad,bad"], "must be names, each another", "\"bad,bad\"")
        try expectRefusal(["--adapter", "none", "--labels", "bad,,good"], "must be names, each another")
        try expectRefusal(
            ["--adapter", "a=repcali", "--option", "prefix_length=3"], "route \"a\": ", "prefix_length")
        try expectRefusal(["--adapter", "none", "--labels", "bad,fine"], "line 3", "the label \"good\" is unknown")
        try expectRefusal(["--adapter", "none", "--text-column", "text"], "\"text\"")
        try expectRefusal(["--adapter", "none", "--task", "pairs", "--labels", "a,b"], "are for --task classification")
        // 32 positions, of which the prefix takes 20.
        try tool.scratch.write(
            "long.tsv", "sentence\tlabel\nw3\tbad\n\(String(repeating: "w4 ", count: 14))\tgood\n")
        let long = ["--adapter", "prefix-tuning", "--option", "prefix_length=20", "--train", tool.scratch["long.tsv"]]
        try expectRefusal(long, "long.tsv, line 3: the text must have at most 12 tokens, found 15")
        _ = succeeded(try Tool.run(training(tool, long + ["--truncate", "--steps", "1"])))
    }

    /// Heads of two routes from one training; each text takes one of them.
    @Test func everyTextIsClassifiedOnItsRoute() throws {
        let tool = try tool()
        let rows = (0..<24).map { row in
            // The second route has it the other way round.
            let (isFirst, route) = (row % 2 == 0, row / 2 % 2 == 0 ? "a" : "b")
            let label = isFirst == (route == "a") ? "bad" : "good"
            return "\(isFirst ? "w3" : "w4") w\(5 + row % 7) w\(6 + row % 5)\t\(label)\t\(route)"
        }
        try tool.scratch.write("texts.tsv", "sentence\tlabel\troute\n" + rows.joined(separator: "\n") + "\n")
        let output = succeeded(try Tool.run(training(tool, ["--adapter", "a=lora", "--adapter", "b=lora"])))
        #expect(output.contains("saved lora + linear-head ("))
        let named = ["a", "b"].flatMap { ["--adapter", "\($0)=\(tool.scratch["run/routes/\($0)"])"] }
        let data = ["--data", tool.scratch["texts.tsv"], "--text-column", "sentence", "--json", "--model", tool.model]
        func json(_ arguments: [String]) throws -> JSON {
            try JSON.parse(succeeded(try Tool.run(arguments)), name: arguments[0])
        }
        let found = try json(
            ["evaluate", "--predictions", tool.scratch["predictions.jsonl"]] + data + named)
        #expect(found["examples"] == 24 && found["accuracy"]!.doubleValue! > 80)
        #expect(try json(["classify"] + data + named)["accuracy"] == found["accuracy"])
        let lines = try FileSystem.readText(tool.scratch["predictions.jsonl"]).split(separator: "\n").map {
            try JSON.parse(String($0), name: "predictions")
        }
        #expect(lines.map { $0["route"]!.stringValue! } == rows.map { String($0.suffix(1)) })
        for route in ["a", "b"] {
            let own = lines.filter { $0["route"]?.stringValue == route }
            let texts = own.map { $0["text"]!.stringValue! }
            let expected = own.map { $0["prediction"]!.stringValue! + "\n" }.joined()
            let model = ["classify", "--model", tool.model]
            #expect(succeeded(try Tool.run(model + named + ["--route", route] + texts)) == expected)
            #expect(
                succeeded(try Tool.run(model + ["--adapter", tool.scratch["run/routes/\(route)"]] + texts)) == expected)
        }
        expectFailure(
            try Tool.run(["classify"] + data + named + ["--route", "a"]), "--route is for texts that are no --data")
        expectFailure(
            try Tool.run(["classify", "--model", tool.model] + named + ["w3"]),
            "needs an adapter on decoder.output: none is attached")
        expectFailure(
            try Tool.run(["classify", "--model", tool.model] + named + ["--route", "c", "w3"]),
            "there is no route \"c\"")
        expectFailure(
            try Tool.run(["evaluate"] + data + Array(named.prefix(2))), "texts.tsv, line 4", "there is no route \"b\"")
    }
}
