import Engine
import Files
import Support

/// Writing a backbone with its trained weights as a folder in the Hugging Face layout.
public enum BackboneFolder {
    /// Copies every file of the source folder but the weights, and writes one `model.safetensors`: trained tensors in
    /// f32 under their names, the others as they were. The old folder or the new one, never a mixture.
    /// - Throws: for a backbone opened without a folder, or a trained weight that is not finite.
    public static func save(_ backbone: Backbone, to path: String) throws {
        guard let source = backbone.model?.folder else {
            throw SeamError(
                .unsupported, "backbone \"\(backbone.factory.id)\" was opened without a folder, so there is none to write")
        }
        let trained = Dictionary(
            uniqueKeysWithValues: backbone.parameters.entries.filter { source.tensor($0.name) != nil }
                .map { ($0.name, $0.tensor) })
        for (name, tensor) in trained {
            if let position = NativeEngine.firstNonFinite(tensor.baseAddress, tensor.dtype, count: tensor.elementCount) {
                throw SeamError(
                    .numeric, "the backbone is not saved: \"\(name)\" holds NaN or infinity at element \(position)")
            }
        }
        let tensors = try source.tensorNames.map { name -> SafetensorsWriter.Tensor in
            let (stored, file) = try source.requireTensor(name)
            if let tensor = trained[try twin(of: name, among: trained, in: source) ?? name], tensor.dtype == .f32 {
                return SafetensorsWriter.Tensor(name: name, type: .float32, shape: stored.shape) { body in
                    try body(UnsafeRawBufferPointer(start: tensor.baseAddress, count: tensor.elementCount * 4))
                }
            }
            return SafetensorsWriter.Tensor(name: name, type: stored.type, shape: stored.shape) { body in
                try body(file.bytes(of: stored))
            }
        }
        let widened = trained.contains { name, tensor in
            tensor.dtype == .f32 && source.tensor(name).map { $0.tensor.type != .float32 } ?? false
        }
        try AtomicFolder.write(path, marker: "config.json") { folder in
            for name in try FileSystem.list(source.path) where isCompanion(name, in: source.path) {
                if name == "config.json", widened {
                    try FileSystem.atomicWriteFile(
                        FileSystem.join(folder, name), text: try wideConfig(source.config).serialized(indent: 2) + "\n")
                    continue
                }
                try FileSystem.atomicWriteFile(
                    FileSystem.join(folder, name), try FileSystem.readBytes(FileSystem.join(source.path, name)))
            }
            try SafetensorsWriter.write(
                tensors, metadata: ["format": "pt"], to: FileSystem.join(folder, "model.safetensors"))
        }
    }

    /// The backbone's tensor that `name`, which the backbone does not read, is another copy of: some writers store tied
    /// embeddings twice, and the second copy must not keep the old values.
    private static func twin(of name: String, among read: [String: Tensor], in source: ModelFolder) throws -> String? {
        guard read[name] == nil else { return nil }
        let (copy, copyFile) = try source.requireTensor(name)
        return try read.keys.sorted().first { candidate in
            let (original, file) = try source.requireTensor(candidate)
            return original.type == copy.type && original.shape == copy.shape
                && file.bytes(of: original).elementsEqual(copyFile.bytes(of: copy))
        }
    }

    /// The configuration of weights that were stored in half precision and are f32 now: transformers rounds what it
    /// loads to the type that is named here.
    private static func wideConfig(_ config: JSON) -> JSON {
        .object(
            (config.objectValue ?? []).map { key, value in
                (key: key, value: key == "dtype" || key == "torch_dtype" ? .string("float32") : value)
            })
    }

    /// Configuration and tokenizer files, not weights in any format.
    private static func isCompanion(_ name: String, in folder: String) -> Bool {
        !FileSystem.isDirectory(FileSystem.join(folder, name))
            && [".json", ".txt", ".model", ".spm", ".md"].contains { name.hasSuffix($0) }
            && !name.hasSuffix(".safetensors.index.json") && !name.hasSuffix(".bin.index.json")
    }
}
