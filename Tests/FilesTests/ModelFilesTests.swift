import Files
import Support
import TestSupport
import Testing

@Suite struct ModelFilesTests {
    let scratch: ScratchFolder
    init() throws { scratch = try ScratchFolder() }

    private func tensor(_ name: String, _ values: [Float]) -> SafetensorsWriter.Tensor {
        .init(name: name, type: .float32, shape: [values.count], bytes: littleEndian(values))
    }

    private func write(_ file: String, _ tensors: SafetensorsWriter.Tensor...) throws {
        try SafetensorsWriter.write(tensors, to: FileSystem.join(scratch.path, file))
    }

    private func shard(index: String) throws {
        try scratch.write("config.json", #"{"model_type": "t5"}"#)
        try scratch.write("model.safetensors.index.json", index)
    }

    @Test func opensASingleFile() throws {
        try scratch.write("config.json", #"{"d_model": 64}"#)
        try write("model.safetensors", tensor("b", [1, 2]), tensor("a", [3]))
        let model = try ModelFiles(scratch.path)
        #expect(try model.config.requireInt("d_model", in: model.configPath) == 64)
        #expect(model.tensorNames == ["a", "b"])
        #expect(model.folder == scratch.path)
        #expect(model.tensor("c") == nil)
        let found = try model.requireTensor("b")
        #expect(found.encoding == .plain(.float32) && found.rowOrder == nil)
        #expect(withExtendedLifetime(model) { Array(found.bytes) } == littleEndian([1, 2] as [Float]))
        expectError(.notFound, scratch.path, "has no tensor \"c\"") { try model.requireTensor("c") }
    }

    @Test func opensShards() throws {
        try shard(
            index: #"{"metadata": {"total_size": 12}, "weight_map": {"a": "s2.safetensors", "b": "s1.safetensors"}}"#)
        try write("s1.safetensors", tensor("b", [1, 2]))
        try write("s2.safetensors", tensor("a", [3]))
        let model = try ModelFiles(scratch.path)
        #expect(model.tensorNames == ["a", "b"])
        #expect(model.tensor("a")?.file.path.hasSuffix("s2.safetensors") == true)
        #expect(model.tensor("b")?.file.path.hasSuffix("s1.safetensors") == true)
    }

    @Test func fingerprintFollowsTheWeightsNotTheirPlace() throws {
        try scratch.write("config.json", "{}")
        var long = [Float](repeating: 0.5, count: 10_000)
        try write("model.safetensors", tensor("a", [3]), tensor("b", long))
        let whole = try ModelFiles(scratch.path).fingerprint()
        #expect(try ModelFiles(scratch.path).fingerprint() == whole)

        try write("model.safetensors", tensor("a", [3.5]), tensor("b", long))
        #expect(try ModelFiles(scratch.path).fingerprint() != whole)
        long[long.count - 1] = 0.25
        try write("model.safetensors", tensor("a", [3]), tensor("b", long))
        #expect(try ModelFiles(scratch.path).fingerprint() != whole)
        try write("model.safetensors", tensor("a", [3]), tensor("c", [Float](repeating: 0.5, count: 10_000)))
        #expect(try ModelFiles(scratch.path).fingerprint() != whole)

        try FileSystem.remove(FileSystem.join(scratch.path, "model.safetensors"))
        try shard(index: #"{"weight_map": {"a": "s1.safetensors", "b": "s2.safetensors"}}"#)
        try write("s1.safetensors", tensor("a", [3]))
        try write("s2.safetensors", tensor("b", [Float](repeating: 0.5, count: 10_000)))
        #expect(try ModelFiles(scratch.path).fingerprint() == whole)
    }

    @Test func incompleteFoldersAreRefused() throws {
        expectError(.notFound, "cannot open the model", "there is no such folder or file") {
            try ModelFiles(FileSystem.join(scratch.path, "none"))
        }
        expectError(.notFound, scratch.path, "has no config.json") { try ModelFiles(scratch.path) }
        try scratch.write("config.json", "{}")
        expectError(.notFound, "has no model.safetensors and no model.safetensors.index.json") {
            try ModelFiles(scratch.path)
        }
        try scratch.write("pytorch_model.bin", "pickle")
        expectError(
            .unsupported, "holds only pytorch_model.bin, a pickle, which is never executed; convert it to safetensors"
        ) {
            try ModelFiles(scratch.path)
        }
        try scratch.write("config.json", #"{"eps": NaN}"#)
        expectError(.format, "config.json, line 1", "JSON has no NaN") { try ModelFiles(scratch.path) }
    }

    @Test func shardedPicklesAreRefused() throws {
        try scratch.write("config.json", "{}")
        try scratch.write("pytorch_model-00001-of-00002.bin", "pickle")
        expectError(.unsupported, "holds only pytorch_model-00001-of-00002.bin, a pickle") {
            try ModelFiles(scratch.path)
        }
    }

    @Test func anIndexMustMatchItsShards() throws {
        try shard(index: #"{"weight_map": {"a": "s1.safetensors", "b": "s2.safetensors"}}"#)
        try write("s1.safetensors", tensor("a", [1]))
        expectError(.notFound, "index.json lists the shard s2.safetensors, which is not in the folder") {
            try ModelFiles(scratch.path)
        }
        try write("s2.safetensors", tensor("c", [1]))
        expectError(.format, "lists tensor \"b\" in s2.safetensors, which does not hold it") {
            try ModelFiles(scratch.path)
        }
        try write("s2.safetensors", tensor("b", [1]), tensor("a", [1]))
        expectError(.format, "tensor \"a\" is in two shards", "s1.safetensors", "s2.safetensors") {
            try ModelFiles(scratch.path)
        }
    }

    @Test func malformedIndexesAreRefused() throws {
        try shard(index: "{}")
        expectError(.format, "\"weight_map\" is missing") { try ModelFiles(scratch.path) }
        try shard(index: #"{"weight_map": {}}"#)
        expectError(.format, "lists no tensor") { try ModelFiles(scratch.path) }
        try shard(index: #"{"weight_map": {"a": 1}}"#)
        expectError(.format, "the shard of \"a\" must be a string, found an integer") { try ModelFiles(scratch.path) }
        try shard(index: #"{"weight_map": {"a": "../other/model.safetensors"}}"#)
        expectError(.format, "must be a plain file name, found \"../other") { try ModelFiles(scratch.path) }
    }
}
