import Support

/// A folder that CTranslate2's converters wrote, and the Hugging Face folder that it was made from.
public enum CTranslate2Folder {
    /// The folders that are written, and replaced as a whole.
    public static let kind = FolderKind(
        "config.json", "model.safetensors", "generation_config.json", preprocessorName, "tokenizer.json",
        "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "normalizer.json", "vocab.json",
        "merges.txt", "source.spm", "target.spm", isModel: true)
    static let preprocessorName = "preprocessor_config.json"

    /// What belongs to a model beside its weights and lies in a CTranslate2 folder as it was in the original.
    private static let companions = [
        preprocessorName, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "normalizer.json",
        "vocab.json", "merges.txt",
    ]

    /// Writes the model of a CTranslate2 folder as a folder in the Hugging Face layout: config.json, model.safetensors,
    /// generation_config.json, preprocessor_config.json of Whisper, and the tokenizer. Whisper and Marian models are read.
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
        switch file.specification {
        case "WhisperSpec": try convertWhisper(file, folder, names, replaces: replaces, to: output)
        case "TransformerSpec": try convertMarian(file, folder, names, replaces: replaces, to: output)
        default:
            throw SeamError(
                .unsupported,
                "\(file.path) holds a model of CTranslate2's \(file.specification), which is not converted; WhisperSpec"
                    + " and the TransformerSpec of Marian models are")
        }
    }

    /// The tokens of a vocabulary, vocabulary.json or vocabulary.txt for instance, in the order of their ids.
    static func vocabulary(_ path: String) throws -> [String] {
        if path.hasSuffix(".json") {
            let list = try JSON.read(path)
            guard let tokens = list.arrayValue?.map(\.stringValue), !tokens.contains(nil) else {
                throw SeamError(.format, "\(path): expected a list of strings, found \(list.kind) of something else")
            }
            return tokens.compactMap(\.self)
        }
        var lines = try FileSystem.readText(path).split(separator: "\n", omittingEmptySubsequences: false)
        if lines.last?.isEmpty == true { lines.removeLast() }
        return lines.map(String.init)
    }

    /// Writes files of a model into a folder that takes its place whole.
    /// - Parameters:
    ///   - settings: names and contents of files of JSON.
    ///   - copied: the names of files that are as they were.
    private static func write(
        _ settings: [(String, JSON)], copied: [String], from folder: String,
        _ tensors: [SafetensorsWriter.Tensor], replaces: Bool, to output: String
    ) throws {
        try FileSystem.checkApart(FileSystem.filesBelow(folder), from: [output])
        try AtomicFolder.write(output, kind, replaces: replaces) { temporary in
            for (name, content) in settings {
                try FileSystem.atomicWriteFile(
                    FileSystem.join(temporary, name), text: try content.serialized(indent: 2) + "\n")
            }
            for name in copied {
                try FileSystem.atomicWriteFile(
                    FileSystem.join(temporary, name), try FileSystem.readBytes(FileSystem.join(folder, name)))
            }
            try SafetensorsWriter.write(
                tensors, metadata: WrittenModel.metadata, to: FileSystem.join(temporary, "model.safetensors"))
        }
    }

    private static func convertMarian(
        _ file: CTranslate2File, _ folder: String, _ names: [String], replaces: Bool, to output: String
    ) throws {
        let model = try CTranslate2Marian(file)
        let tokens = try MarianTokens(folder, names, count: model.vocabulary)
        try model.check(FileSystem.join(folder, "config.json"))
        var settings = [
            ("config.json", model.config(tokens)), ("generation_config.json", model.generation(tokens)),
            ("vocab.json", tokens.ids),
        ]
        if !names.contains("tokenizer_config.json") { settings.append(("tokenizer_config.json", tokens.settings)) }
        let copied = (["source.spm", "target.spm"] + companions).filter { names.contains($0) && $0 != "vocab.json" }
        try write(settings, copied: copied, from: folder, model.tensors, replaces: replaces, to: output)
    }

    private static func convertWhisper(
        _ file: CTranslate2File, _ folder: String, _ names: [String], replaces: Bool, to output: String
    ) throws {
        let model = try CTranslate2Whisper(file)
        let tokens = try WhisperTokens(folder, names, count: model.vocabulary)
        let generation = try model.generation(FileSystem.join(folder, "config.json"), tokens)
        var settings = [("config.json", try model.config(tokens)), ("generation_config.json", generation)]
        if !names.contains(preprocessorName) { settings.append((preprocessorName, try model.preprocessor(file.path))) }
        if !names.contains("tokenizer_config.json") { settings.append(("tokenizer_config.json", tokens.settings)) }
        let copied = (["tokenizer.json"] + companions).filter(names.contains)
        try write(settings, copied: copied, from: folder, model.tensors, replaces: replaces, to: output)
    }
}
