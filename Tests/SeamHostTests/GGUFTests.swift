import Engine
import Files
import Glibc
import SeamHost
import Support
import TestSupport
import Testing

/// Weights from GGUF files against those that transformers reads from the same files (Fixtures/make_gguf.py).
@Suite struct GGUFTests {
    private static let fixtures = FileSystem.join(FileSystem.parent(#filePath), "Fixtures")
    private static let path = FileSystem.join(fixtures, "llama.gguf")

    /// The lines that make_gguf.py writes for the tensors: name, shape and the hash of the f32 values.
    private func describe(_ files: ModelFiles) throws -> [String] {
        let context = Context(pool: MemoryPool(), recordsGradients: false)
        return try files.tensorNames.map { name in
            let loaded = try PretrainedModel.load(try files.requireTensor(name))
            let tensor = loaded.dtype == .f32 ? loaded : try context.cast(loaded, to: .f32)
            let hash = withExtendedLifetime(tensor) {
                ContentHash.of(UnsafeRawBufferPointer(start: tensor.baseAddress, count: tensor.elementCount * 4))
            }
            let shape = tensor.shape.map { "\($0)" }.joined(separator: ",")
            return "tensor \(name) \(shape) \(ContentHash.hex(hash))"
        }
    }

    private func expected() throws -> [[Substring]] {
        try FileSystem.readText(FileSystem.join(Self.fixtures, "llama.txt")).split(separator: "\n").map {
            $0.split(separator: " ")
        }
    }

    @Test func tensorsEqualThoseOfTransformers() throws {
        let lines = try expected().filter { $0[0] == "tensor" }.map { $0.joined(separator: " ") }
        #expect(lines.count == 39)
        #expect(try describe(ModelFiles(Self.path)) == lines)
    }

    @Test func configurationEqualsThatOfTransformers() throws {
        let config = try ModelFiles(Self.path).config
        for line in try expected() where line.count == 3 {
            let value = config[String(line[1])]
            switch line[0] {
            case "integer": #expect(value?.intValue == Int(line[2]), "\(line)")
            // transformers gives the f32 number's own digits; to f32 they are the same.
            case "number": #expect(value?.doubleValue.map { Float($0) } == Float(line[2]), "\(line)")
            case "text": #expect(value?.stringValue == String(line[2]), "\(line)")
            case "flag": #expect(value?.boolValue == (line[2] == "true"), "\(line)")
            default: Issue.record("\(line)")
            }
        }
        // transformers does not read this from GGUF files; the factors were computed from these settings.
        let scaling: JSON = [
            "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        ]
        #expect(config["rope_scaling"] == scaling)
    }

    @Test func storageFollowsTheEncoding() throws {
        let files = try ModelFiles(Self.path)
        func load(_ part: String) throws -> Tensor {
            try PretrainedModel.load(try files.requireTensor("model.layers.1.\(part).weight"))
        }
        #expect(try load("self_attn.q_proj").dtype == .f16)
        #expect(try load("mlp.up_proj").dtype == .bf16)
        #expect(try load("mlp.down_proj").dtype == .f32)
        #expect(try load("self_attn.k_proj").dtype == .f32)
    }

    @Test func badTensorsAreSentences() throws {
        let model = try PretrainedModel(Self.path)
        let name = "model.layers.0.self_attn.v_proj.weight"
        expectError(.shape, "tensor \"\(name)\" in \(Self.path) must have shape [16, 8], found [16, 256]") {
            try model.tensor(name, shape: [16, 8])
        }
        // A scale that is infinite: the first two bytes of the first block of v.
        let scratch = try ScratchFolder()
        var bytes = try FileSystem.readBytes(Self.path)
        let start = try model.files.requireTensor(name).range.lowerBound
        (bytes[start], bytes[start + 1]) = (0x00, 0x7C)
        try FileSystem.atomicWriteFile(scratch["bad.gguf"], bytes)
        let damaged = try PretrainedModel(scratch["bad.gguf"])
        expectError(.numeric, "tensor \"\(name)\" in \(scratch["bad.gguf"]) holds NaN or infinity at element") {
            try damaged.tensor(name, shape: [16, 256])
        }
    }

    /// A published model of 135 million weights, whose file SEAM_SMOLLM names: SmolLM2-135M-Instruct.Q4_1.gguf.
    @Test(.enabled(if: getenv("SEAM_SMOLLM") != nil)) func aPublishedModelEqualsThatOfTransformers() throws {
        let path = String(cString: getenv("SEAM_SMOLLM"))
        let lines = try describe(ModelFiles(path))
        #expect(lines.count == 272)
        #expect(ContentHash.hex(ContentHash.of(lines.joined(separator: "\n"))) == "d2d4cb55406013bd")
        let tokenizer = try GGUFTokenizerData(GGUFFile(path))
        #expect(tokenizer.tokens.count == 49152 && tokenizer.merges.count == 48900)
        #expect(tokenizer.tokenTypes.count == 49152)
    }
}
