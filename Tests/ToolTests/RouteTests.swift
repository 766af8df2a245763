import Files
import SeamHost
import TestSupport
import Testing

/// Texts of one call of `seam generate` that take different adapters.
@Suite struct RouteTests {
    /// A model with two adapters that write other texts than it, and than each other.
    private func adapters(_ tool: Tool) throws -> [String: String] {
        let runtime = try makeRuntime()
        let backbone = try Backbone(runtime: runtime, path: tool.model)
        var paths: [String: String] = [:]
        for (seed, (name, id)) in [("a", "lora"), ("b", "prefix-tuning")].enumerated() {
            let adapter = try Adapter(backbone: backbone, id: id)
            randomise(adapter, deviation: 0.6, seed: UInt64(seed + 1))
            paths[name] = tool.scratch[name]
            try AdapterFolder.save(
                adapter, backbone: backbone, isBackboneTrained: false, notes: "", to: tool.scratch[name])
        }
        return paths
    }

    @Test func everyTextTakesItsRoute() throws {
        let tool = try Tool()
        let paths = try adapters(tool)
        let common = ["generate", "--model", tool.model, "--max-new-tokens", "8"]
        let named = paths.sorted { $0.key < $1.key }.flatMap { ["--adapter", "\($0.key)=\($0.value)"] }
        let rows: [(text: String, route: String?)] = [
            ("w3 w4 w5", "b"), ("w3 w4 w5", nil), ("w6 w7", "a"), ("w3 w4 w5", "a"), ("w8", "b"), ("w9 w10", ""),
        ]
        try tool.scratch.write(
            "texts.jsonl",
            try rows.map { row in
                let route: JSON = row.route.map { .string($0) } ?? .null
                return try (["source": .string(row.text), "route": route] as JSON).serialized() + "\n"
            }.joined())
        let found = succeeded(try Tool.run(common + named + ["--data", tool.scratch["texts.jsonl"]]))
        let expected = try rows.map { row in
            let own = row.route.flatMap { paths[$0] }.map { ["--adapter", $0] } ?? []
            return succeeded(try Tool.run(common + own + [row.text]))
        }
        #expect(found == expected.joined())
        #expect(Set([expected[0], expected[1], expected[3]]).count == 3, "each of them writes something else")
        #expect(succeeded(try Tool.run(common + named + ["--route", "a", "w6 w7"])) == expected[2])
        let alone = try Tool.run(common + named + ["w3 w4 w5"])
        #expect(succeeded(alone) == expected[1])
        for name in ["a", "b"] {
            #expect(
                alone.errors.contains("warning: no text takes the route \"\(name)\", so \(paths[name]!) does nothing"))
        }
    }

    @Test func whatIsNotThereIsNamed() throws {
        let tool = try Tool()
        let paths = try adapters(tool)
        let common = ["generate", "--model", tool.model, "--adapter", "a=\(paths["a"]!)"]
        let words = "there is no route \"c\": the session has \"a\" and the default one"
        expectFailure(try Tool.run(common + ["--route", "c", "w3"]), words)
        try tool.scratch.write("texts.jsonl", "{\"source\": \"w3\"}\n{\"source\": \"w4\", \"route\": \"c\"}\n")
        expectFailure(try Tool.run(common + ["--data", tool.scratch["texts.jsonl"]]), "texts.jsonl, line 2", words)
        try tool.scratch.write("numbers.jsonl", "{\"source\": \"w3\", \"route\": 1}\n")
        expectFailure(
            try Tool.run(common + ["--data", tool.scratch["numbers.jsonl"]]), "line 1: \"route\" must be a string")
        expectFailure(
            try Tool.run(common + ["--data", tool.scratch["texts.jsonl"], "--route", "a"]), "--route is for texts")
        expectFailure(
            try Tool.run(common + ["--data", tool.scratch["texts.jsonl"], "w3"]), "with --data there is no other text")
        expectFailure(
            try Tool.run(["generate", "--model", tool.model, "--adapter", "x=/nowhere", "w3"]), "\"/nowhere\"")
    }

    // MARK: Evaluation

    private func json(_ arguments: [String]) throws -> JSON {
        try JSON.parse(succeeded(try Tool.run(arguments)), name: arguments[0])
    }

    private func lines(_ path: String) throws -> [JSON] {
        try FileSystem.readText(path).split(separator: "\n").map { try JSON.parse(String($0), name: path) }
    }

    @Test func everyPairIsMeasuredOnItsRoute() throws {
        let tool = try Tool()
        let paths = try adapters(tool)
        let named = paths.sorted { $0.key < $1.key }.flatMap { ["--adapter", "\($0.key)=\($0.value)"] }
        let common = ["evaluate", "--model", tool.model, "--json", "--max-new-tokens", "6"]
        // The last source stands twice on one route, with two references, and once on another.
        let rows: [(source: String, target: String, route: String?)] = [
            ("w3 w4 w5", "w6", "b"), ("w3 w4", "w7 w8", nil), ("w6 w7", "w3", "a"), ("w9 w3", "w5 w4", "b"),
            ("w5 w5", "w4", "a"), ("w5 w5", "w8", "a"), ("w5 w5", "w4", "b"),
        ]
        func write(_ name: String, _ rows: [(source: String, target: String, route: String?)]) throws -> String {
            try tool.scratch.write(
                name,
                try rows.map {
                    let route: JSON = $0.route.map { .string($0) } ?? .null
                    return try (["source": .string($0.source), "target": .string($0.target), "route": route] as JSON)
                        .serialized() + "\n"
                }.joined())
            return tool.scratch[name]
        }
        let all = ["--data", try write("pairs.jsonl", rows), "--predictions", tool.scratch["all.jsonl"]]
        let found = try json(common + named + ["--multi-reference"] + all)
        #expect(found["examples"] == 7 && found["sources"] == 6)
        var (loss, tokens) = (0.0, 0)
        var written: [String] = []
        for route in [nil, "a", "b"] as [String?] {
            let own = rows.filter { $0.route == route }
            let file = try write("own.jsonl", own.map { ($0.source, $0.target, nil) })
            let adapter = route.map { ["--adapter", paths[$0]!] } ?? []
            let measured = try json(
                common + adapter + [
                    "--multi-reference", "--data", file, "--predictions", tool.scratch["own.out.jsonl"],
                ])
            // A target's tokens, and the end token.
            let count = own.reduce(0) { $0 + $1.target.split(separator: " ").count + 1 }
            (loss, tokens) = (loss + measured["loss"]!.doubleValue! * Double(count), tokens + count)
            written += try lines(tool.scratch["own.out.jsonl"]).map {
                "\(route ?? "") \($0["source"]!.stringValue!): \($0["prediction"]!.stringValue!)"
            }
        }
        #expect(abs(found["loss"]!.doubleValue! - loss / Double(tokens)) < 1e-5)
        let predictions = try lines(tool.scratch["all.jsonl"]).map {
            "\($0["route"]?.stringValue ?? "") \($0["source"]!.stringValue!): \($0["prediction"]!.stringValue!)"
        }
        #expect(predictions.sorted() == written.sorted())
        // Without the column all rows are the model's own, and another column may have the names.
        let plain = try json(
            common.dropLast(2) + named + ["--loss-only", "--route-column", "", "--data", tool.scratch["pairs.jsonl"]])
        let model = try json(
            common.dropLast(2) + ["--loss-only", "--data", tool.scratch["pairs.jsonl"], "--route-column", ""])
        #expect(plain["loss"] == model["loss"] && plain["loss"] != found["loss"])
        expectFailure(
            try Tool.run(common + named + ["--data", tool.scratch["pairs.jsonl"], "--route-column", "adapter"]),
            "has no column \"adapter\"")
        expectFailure(
            try Tool.run(common + ["--data", tool.scratch["pairs.jsonl"]]), "pairs.jsonl, line 1",
            "there is no route \"b\"")
    }

    // MARK: Training

    @Test func routesAreTrainedSideBySide() throws {
        let tool = try Tool()
        let pairs = makePairs(12)
        func text(_ ids: [Int32]) -> JSON { .string(ids.dropLast().map(TinyModel.word).joined(separator: " ")) }
        func write(_ name: String, _ rows: [Int], routes: Bool) throws -> String {
            try tool.scratch.write(
                name,
                try rows.map { row in
                    let route = routes ? ", \"route\": \"\(row % 2 == 0 ? "a" : "b")\"" : ""
                    return
                        "{\"source\": \(try text(pairs.sources[row]).serialized()), \"target\": \(try text(pairs.targets[row]).serialized())\(route)}\n"
                }.joined())
            return tool.scratch[name]
        }
        let common = [
            "train", "--model", tool.model, "--steps", "4", "--learning-rate", "0.01", "--batch-size", "12", "--option",
            "r=2",
        ]
        let all = try write("all.jsonl", Array(0..<12), routes: true)
        let output = succeeded(
            try Tool.run(
                common + ["--train", all, "--dev", all, "--output", tool.scratch["both"]]
                    + ["--adapter", "a=lora", "--adapter", "b=lora", "--option", "b/lora_alpha=8"]))
        #expect(output.contains("saved lora (") && output.contains("to \(tool.scratch["both/routes/a"])"))
        #expect(Set(try FileSystem.list(tool.scratch["both"])) == ["routes", "log.jsonl", "loss.svg"])
        var losses: [[Double]] = []
        for (start, route) in ["a", "b"].enumerated() {
            let own = try write("own.jsonl", Array(stride(from: start, to: 12, by: 2)), routes: false)
            let more = route == "b" ? ["--option", "lora_alpha=8"] : []
            _ = succeeded(
                try Tool.run(
                    common + ["--train", own, "--output", tool.scratch[route], "--adapter", "lora"] + more))
            losses.append(
                try lines(tool.scratch["\(route)/log.jsonl"]).compactMap { $0["loss"]?.doubleValue }.prefix(4).map {
                    $0
                })
            let trained = ["evaluate", "--model", tool.model, "--loss-only", "--json", "--data", own, "--adapter"]
            let alone = try json(trained + [tool.scratch["\(route)/adapter"]])["loss"]!.doubleValue!
            let together = try json(trained + [tool.scratch["both/routes/\(route)"]])["loss"]!.doubleValue!
            #expect(abs(alone - together) < 1e-4, "\(route)")
        }
        #expect(losses.allSatisfy { $0.count == 4 && $0[3] < $0[0] })

        // Trained further, and what does not fit.
        let further = common + ["--train", all, "--output", tool.scratch["further"]]
        _ = succeeded(
            try Tool.run(
                common.dropLast(2) + ["--train", all, "--output", tool.scratch["further"]]
                    + ["--init-adapter", "a=\(tool.scratch["both/routes/a"])", "--adapter", "b=bias"]))
        #expect(FileSystem.exists(tool.scratch["further/routes/b/adapter_config.json"]))
        let failing = further.map { $0 == tool.scratch["further"] ? tool.scratch["none"] : $0 }
        expectFailure(
            try Tool.run(failing + ["--adapter", "a=lora"]),
            "all.jsonl, line 2: there is no route \"b\": the session has \"a\" and the default one")
        expectFailure(
            try Tool.run(failing + ["--adapter", "a=lora", "--adapter", "a=bias"]),
            "--adapter is given twice for route \"a\", lora and bias: join the names with +")
        expectFailure(
            try Tool.run(failing + ["--adapter", "a=lora", "--adapter", "b=lora", "--option", "c/r=3"]),
            "--option c/r=3: no --adapter is for route \"c\"")
        expectFailure(
            try Tool.run(failing + ["--adapter", "a=lora", "--adapter", "b=lora", "--train-backbone"]),
            "a backbone is trained with the default route alone")
        expectFailure(
            try Tool.run(failing + ["--adapter", "a=lora", "--adapter", "b=lora", "--adapter", "b c=lora"]),
            "the name of a trained route becomes that of a folder", "found \"b c\"")
        #expect(!FileSystem.exists(tool.scratch["none"]))
    }
}
