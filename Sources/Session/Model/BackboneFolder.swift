import Engine
import Files
import Support

/// Writing a backbone, with the weights that were trained, as a folder in the Hugging Face layout.
public enum BackboneFolder {
    static let marker = "config.json"
    static let weightsName = "model.safetensors"

    /// What is taken over beside the weights, where the source folder has it.
    private static let copied = [
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
        "source.spm", "target.spm",
    ]

    /// Writes every tensor of the folder that the backbone was opened from, trained ones with their new values as F32.
    /// Atomic: a crash leaves the old folder or the new one.
    /// - Throws: `.unsupported` for a backbone without a folder, `.numeric` when a trained weight is not finite.
    public static func save(_ backbone: Backbone, to path: String) throws {
        guard let source = backbone.model?.folder else {
            throw SeamError(
                .unsupported, "backbone \"\(backbone.factory.id)\" was opened without a folder, so there is none to write")
        }
        let trained = try trainedTensors(backbone)
        let tied = try tiedNames(trained, in: source)
        var tensors: [SafetensorsWriter.Tensor] = try source.tensorNames.map { name in
            if let tensor = trained[tied[name] ?? name] { return stored(name, tensor) }
            let (original, file) = try source.requireTensor(name)
            return SafetensorsWriter.Tensor(name: name, type: original.type, shape: original.shape) { body in
                try file.withBytes(of: original, body)
            }
        }
        // A trained parameter of the plugin's own, which the source folder does not have.
        for (name, tensor) in trained where source.tensor(name) == nil { tensors.append(stored(name, tensor)) }
        try AtomicFolder.write(path, marker: marker) { folder in
            for name in copied {
                let original = FileSystem.join(source.path, name)
                guard FileSystem.exists(original) else { continue }
                try FileSystem.atomicWriteFile(FileSystem.join(folder, name), try FileSystem.readBytes(original))
            }
            try SafetensorsWriter.write(
                tensors, metadata: ["format": "pt"], to: FileSystem.join(folder, weightsName))
        }
    }

    private static func trainedTensors(_ backbone: Backbone) throws -> [String: Tensor] {
        guard backbone.isTrained else { return [:] }
        var result: [String: Tensor] = [:]
        for entry in backbone.parameters.entries where !entry.isFrozen {
            if let position = NativeEngine.firstNonFinite(
                entry.tensor.baseAddress, .f32, count: entry.tensor.elementCount)
            {
                throw SeamError(
                    .numeric,
                    "backbone \"\(backbone.factory.id)\" is not saved: parameter \"\(entry.name)\" holds NaN or infinity at element \(position)"
                )
            }
            result[entry.name] = entry.tensor
        }
        return result
    }

    /// Names under which the folder holds a trained tensor once more, as some writers store tied embeddings: they must
    /// not keep the old values. The trained name by the other one.
    private static func tiedNames(_ trained: [String: Tensor], in source: ModelFolder) throws -> [String: String] {
        var result: [String: String] = [:]
        for other in source.tensorNames where trained[other] == nil {
            let (candidate, candidateFile) = try source.requireTensor(other)
            for name in trained.keys.sorted() {
                guard let (original, file) = source.tensor(name), original.type == candidate.type,
                    original.shape == candidate.shape,
                    file.bytes(of: original).elementsEqual(candidateFile.bytes(of: candidate))
                else { continue }
                result[other] = name
                break
            }
        }
        return result
    }

    private static func stored(_ name: String, _ tensor: Tensor) -> SafetensorsWriter.Tensor {
        SafetensorsWriter.Tensor(name: name, type: .float32, shape: Array(tensor.shape)) { body in
            try body(UnsafeRawBufferPointer(start: tensor.baseAddress, count: tensor.elementCount * 4))
        }
    }
}
