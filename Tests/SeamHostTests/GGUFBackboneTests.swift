import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// A backbone opened from a GGUF file (Fixtures/make_gguf.py): parameters, generation settings, saving.
@Suite struct GGUFBackboneTests {
    private let scratch: ScratchFolder
    private let runtime: Runtime
    private let path = FileSystem.join(FileSystem.parent(#filePath), "Fixtures", "llama.gguf")
    private let query = "model.layers.0.self_attn.q_proj.weight"

    init() throws {
        scratch = try ScratchFolder()
        runtime = Runtime()
        try runtime.loadPlugin(try compilePlugin("reading-backbone/reader.c", into: scratch.path))
    }

    private func values(_ files: ModelFiles, _ name: String) throws -> [Float] {
        let tensor = try PretrainedModel.load(try files.requireTensor(name))
        return tensor.dtype == .f32 ? tensor.floats : try makeContext().cast(tensor, to: .f32).floats
    }

    private func makeContext() -> Context { Context(pool: runtime.pool, recordsGradients: false) }

    @Test func parametersAreTheModelsTensors() throws {
        try FileSystem.createDirectories(scratch["folder"])
        let copy = FileSystem.join(scratch["folder"], "some.gguf")
        try FileSystem.atomicWriteFile(copy, try FileSystem.readBytes(path))
        let files = try ModelFiles(path)
        for place in [path, scratch["folder"]] {
            let backbone = try Backbone(runtime: runtime, path: place)
            #expect(backbone.info.dModel == 256 && backbone.info.vocabSize == 40)
            #expect(backbone.model?.files.path == (place == path ? path : copy))
            let parameter = try #require(backbone.parameters[query])
            #expect(bitEqual(parameter.floats, try values(files, query)))
            #expect(backbone.parameters["model.layers.1.self_attn.q_proj.weight"]?.dtype == .f16)
        }
    }

    @Test func generationSettingsComeFromTheConfiguration() throws {
        let options = try Session(backbone: try Backbone(runtime: runtime, path: path)).defaultGenerationOptions()
        #expect(options.eosTokens == [2])
        #expect(options.padToken == 2)
    }

    @Test func aPluginsSentenceNamesTheFile() throws {
        var bytes = try FileSystem.readBytes(path)
        let key = Array("llama.embedding_length".utf8)
        let start = try #require(
            (0..<4096).first { bytes[$0..<$0 + key.count].elementsEqual(key) }.map { $0 + key.count + 4 })
        bytes[start + 3] = 0x10
        try FileSystem.atomicWriteFile(scratch["wide.gguf"], bytes)
        expectError(.unsupported, "\(scratch["wide.gguf"]): \"hidden_size\" is too large") {
            try Backbone(runtime: runtime, path: scratch["wide.gguf"])
        }
    }

    @Test func aTrainedBackboneIsSavedAsAFolder() throws {
        let backbone = try Backbone(runtime: runtime, path: path)
        try backbone.unfreeze()
        let changed = try #require(backbone.parameters[query])
        changed.assign(changed.floats.map { $0 + 1 })
        try BackboneFolder.save(backbone, to: scratch["saved"])
        #expect(try FileSystem.list(scratch["saved"]) == ["config.json", "model.safetensors"])
        let (old, new) = (try ModelFiles(path), try ModelFiles(scratch["saved"]))
        #expect(new.folder == scratch["saved"])
        #expect(new.config == old.config)
        #expect(new.tensorNames == old.tensorNames)
        for name in old.tensorNames {
            let expected = try values(old, name)
            #expect(bitEqual(try values(new, name), name == query ? expected.map { $0 + 1 } : expected), "\(name)")
        }
        // Trained or quantised: f32. What neither was trained nor is quantised keeps its type, its rows in order.
        func encoding(_ part: String) -> TensorEncoding? { new.tensor("model.layers.\(part).weight")?.encoding }
        #expect(encoding("0.self_attn.q_proj") == .plain(.float32))
        #expect(encoding("1.self_attn.q_proj") == .plain(.float32))
        #expect(encoding("2.mlp.gate_proj") == .plain(.float32))
        #expect(encoding("2.self_attn.k_proj") == .plain(.bfloat16))
        #expect(new.fingerprint() != old.fingerprint())
        #expect(try Backbone(runtime: runtime, path: scratch["saved"]).info == backbone.info)
    }
}
