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
        #expect(succeeded(try Tool.run(common + named + ["w3 w4 w5"])) == expected[1])
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
}
