import Engine
import Files
import Support

/// Writing a backbone with its trained weights as a folder in the Hugging Face layout.
public enum BackboneFolder {
    /// What is replaced where a backbone is saved: a model's configuration, tokenizer and safetensors, nothing else.
    public static let kind = FolderKind(marker: "config.json", isModel: true) { path in
        let name = FileSystem.baseName(path)
        guard !FileSystem.isDirectory(path) else {
            return !FileSystem.isLink(path) && modules(in: FileSystem.parent(path)).containsExactly(name)
                && (try? FileSystem.list(path)) == ["config.json"]
                && FileSystem.isPlainFile(FileSystem.join(path, "config.json"))
        }
        return isCompanion(name, in: FileSystem.parent(path))
            || [".safetensors", ".safetensors.index.json"].contains { name.hasSuffix($0) }
    }

    /// Copies every file of the source folder but the weights, and writes one `model.safetensors`: trained tensors in
    /// f32 under their names, the others as they were. A model from a GGUF file gets a config.json and, where the file
    /// holds settings of a generation, a generation_config.json; its quantised tensors become f32, and the tokenizer
    /// stays in that file. The old folder or the new one, never a mixture.
    /// - Parameters:
    ///   - replacements: tensors that are written in the place of the backbone's, by the index of its parameters.
    ///   - replaces: whether a model of SeamKit's that is at `path` is replaced; else it is refused.
    /// - Throws: for a backbone opened without a folder, or a trained weight that is not finite.
    public static func save(
        _ backbone: Backbone, replacements: [Int: Tensor] = [:], replaces: Bool = true, to path: String
    ) throws {
        try backbone.requireComputation()
        guard let source = backbone.model?.files else {
            throw SeamError(
                .unsupported,
                "\(backbone.name) was opened without a folder, so there is none to write")
        }
        let trained: [TextKey: Tensor] = Dictionary(
            uniqueKeysWithValues: backbone.parameters.entries.enumerated().filter { source.tensor($1.name) != nil }
                .map { (TextKey($1.name), replacements[$0] ?? $1.tensor) })
        for (name, tensor) in trained {
            if let position = NativeEngine.firstNonFinite(tensor.baseAddress, tensor.dtype, count: tensor.elementCount)
            {
                throw SeamError(
                    .numeric, "the backbone is not saved: \"\(name.text)\" holds NaN or infinity at element \(position)"
                )
            }
        }
        let tensors = try source.tensorNames.map { name -> SafetensorsWriter.Tensor in
            let stored = try source.requireTensor(name)
            if let tensor = trained[try twin(of: name, among: trained, in: source) ?? TextKey(name)],
                tensor.dtype == .f32
            {
                return written(stored, .float32) { tensor }
            }
            switch stored.encoding {
            case .plain(let type) where stored.layout == .same:
                return SafetensorsWriter.Tensor(name: name, type: type, shape: stored.shape) { body in
                    try withExtendedLifetime(stored.file) { try body(stored.bytes) }
                }
            // What is quantised is several times as large in f32: loaded one at a time, when its turn comes.
            case .plain(let type): return written(stored, type) { try PretrainedModel.load(stored) }
            case .blocks: return written(stored, .float32) { try PretrainedModel.load(stored) }
            }
        }
        let widened = trained.contains { name, tensor in
            tensor.dtype == .f32 && source.tensor(name.text).map { $0.encoding != .plain(.float32) } ?? false
        }
        try AtomicFolder.write(path, kind, replaces: replaces) { folder in
            if let original = source.folder {
                for name in try FileSystem.list(original) where isCompanion(name, in: original) {
                    try FileSystem.atomicWriteFile(
                        FileSystem.join(folder, name), try FileSystem.readBytes(FileSystem.join(original, name)))
                }
                try copyModules(from: original, to: folder)
            }
            if widened || source.folder == nil {
                try FileSystem.atomicWriteFile(
                    FileSystem.join(folder, "config.json"),
                    text: try wideConfig(source.config).serialized(indent: 2) + "\n")
            }
            if let generation = source.generation {
                try FileSystem.atomicWriteFile(
                    FileSystem.join(folder, "generation_config.json"), text: try generation.serialized(indent: 2) + "\n"
                )
            }
            try SafetensorsWriter.write(
                tensors, metadata: WrittenModel.metadata, to: FileSystem.join(folder, "model.safetensors"))
        }
    }

    /// The backbone's tensor that `name`, which the backbone does not read, is another copy of: some writers store tied
    /// embeddings twice, and the second copy must not keep the old values.
    private static func twin(of name: String, among read: [TextKey: Tensor], in source: ModelFiles) throws -> TextKey? {
        guard read[TextKey(name)] == nil else { return nil }
        let copy = try source.requireTensor(name)
        return try read.keys.sorted().first { try source.requireTensor($0.text).hasContent(of: copy) }
    }

    /// A tensor to be written, whose contiguous values are taken when its turn comes.
    private static func written(
        _ stored: ModelTensor, _ type: StoredType, _ values: @escaping () throws -> Tensor
    ) -> SafetensorsWriter.Tensor {
        SafetensorsWriter.Tensor(name: stored.name, type: type, shape: stored.shape) { body in
            let tensor = try values()
            try withExtendedLifetime(tensor) {
                try body(
                    UnsafeRawBufferPointer(
                        start: tensor.baseAddress, count: tensor.elementCount * tensor.dtype.byteCount))
            }
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

    /// The configurations of the modules of sentence-transformers, which lie in folders beside the model.
    private static func copyModules(from original: String, to folder: String) throws {
        for name in modules(in: original) {
            let config = FileSystem.join(original, name, "config.json")
            guard FileSystem.exists(config) else { continue }
            try FileSystem.createDirectories(FileSystem.join(folder, name))
            try FileSystem.atomicWriteFile(
                FileSystem.join(folder, name, "config.json"), try FileSystem.readBytes(config))
        }
    }

    /// The folders of the modules of sentence-transformers, such as 1_Pooling, as modules.json lists them.
    private static func modules(in folder: String) -> [String] {
        let list = try? JSON.read(FileSystem.join(folder, "modules.json"))
        return (list?.arrayValue ?? []).compactMap { $0["path"]?.stringValue }.filter(FileSystem.isEntryName)
    }

    /// Configuration and tokenizer files, not weights in any format.
    private static func isCompanion(_ name: String, in folder: String) -> Bool {
        !FileSystem.isDirectory(FileSystem.join(folder, name))
            && [".json", ".txt", ".model", ".spm", ".md", ".jinja"].contains { name.hasSuffix($0) }
            && !name.hasSuffix(".safetensors.index.json") && !name.hasSuffix(".bin.index.json")
    }
}
