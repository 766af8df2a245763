import Support

/// A folder that CTranslate2's converters wrote, and the Hugging Face folder that it was made from.
public enum CTranslate2Folder {
    /// The folders that are written, and replaced as a whole.
    public static let kind = FolderKind(
        "config.json", "model.safetensors", "generation_config.json", preprocessorName, "tokenizer.json",
        "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "normalizer.json", "vocab.json",
        "merges.txt", isModel: true)
    static let preprocessorName = "preprocessor_config.json"

    /// What belongs to a model beside its weights and lies in a CTranslate2 folder as it was in the original.
    private static let companions = [
        preprocessorName, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "normalizer.json",
        "vocab.json", "merges.txt",
    ]

    /// Writes the model of a CTranslate2 folder as a folder in the Hugging Face layout: config.json, model.safetensors,
    /// generation_config.json, preprocessor_config.json and the tokenizer. Whisper models are read.
    ///
    /// Weights keep their type and bytes, but int8, which becomes f32: each integer divided by its row's factor. The files
    /// are read and nothing of them is executed.
    ///
    /// - Parameter replaces: whether a folder of this form that is at `output` is replaced; else it is refused.
    /// - Throws: `SeamError`: `.notFound` for a missing file, `.format` for a damaged one, `.unsupported` for a model,
    ///   version, variable or setting that has no counterpart, `.alreadyExists` and `.io` as `AtomicFolder.write`.
    public static func convert(_ folder: String, replaces: Bool = false, to output: String) throws {
        let names = try FileSystem.list(folder)
        guard names.contains("model.bin") else {
            throw SeamError(.notFound, "\"\(folder)\" is no folder of CTranslate2, it has no model.bin")
        }
        let file = try CTranslate2File(FileSystem.join(folder, "model.bin"))
        guard file.specification == "WhisperSpec" else {
            throw SeamError(
                .unsupported,
                "\(file.path) holds a model of CTranslate2's \(file.specification), which is not converted; WhisperSpec is"
            )
        }
        let model = try CTranslate2Whisper(file)
        let tokens = try WhisperTokens(folder, names, count: model.vocabulary)
        let generation = try model.generation(FileSystem.join(folder, "config.json"), tokens)
        try FileSystem.checkApart(FileSystem.filesBelow(folder), from: [output])
        try AtomicFolder.write(output, kind, replaces: replaces) { temporary in
            func write(_ name: String, _ content: JSON) throws {
                try FileSystem.atomicWriteFile(
                    FileSystem.join(temporary, name), text: try content.serialized(indent: 2) + "\n")
            }
            try write("config.json", model.config(tokens))
            try write("generation_config.json", generation)
            if !names.contains(preprocessorName) { try write(preprocessorName, try model.preprocessor(file.path)) }
            if !names.contains("tokenizer_config.json") { try write("tokenizer_config.json", tokens.settings) }
            for name in ["tokenizer.json"] + companions where names.contains(name) {
                try FileSystem.atomicWriteFile(
                    FileSystem.join(temporary, name), try FileSystem.readBytes(FileSystem.join(folder, name)))
            }
            try SafetensorsWriter.write(
                model.tensors, metadata: WrittenModel.metadata, to: FileSystem.join(temporary, "model.safetensors"))
        }
    }
}
