import Support

/// A model's folder in the Hugging Face layout: `config.json` and the weights, in `model.safetensors` or in the shards
/// that `model.safetensors.index.json` lists.
struct HuggingFaceFolder {
    let config: JSON
    let configPath: String
    let tensors: [TextKey: ModelTensor]

    /// Opens the folder and checks the header of every weight file; no values are read.
    ///
    /// Throws `SeamError`: `.notFound` for a missing config or shard, `.unsupported` for a folder that holds its
    /// weights only in another format, `.format` for a malformed file, an index that does not match its shards, or a
    /// tensor in two shards.
    init(_ path: String) throws {
        let names = try FileSystem.list(path)
        configPath = FileSystem.join(path, "config.json")
        guard names.contains("config.json") else {
            throw ForeignModel.error(path, names, missing: "no config.json")
        }
        config = try JSON.read(configPath)
        try Self.refuseQuantised(config, configPath)
        let files: [SafetensorsFile]
        if names.contains("model.safetensors") {
            files = [try SafetensorsFile(FileSystem.join(path, "model.safetensors"))]
        } else if names.contains("model.safetensors.index.json") {
            files = try Self.shards(path)
        } else {
            throw ForeignModel.error(path, names, missing: "no model.safetensors and no model.safetensors.index.json")
        }
        var tensors: [TextKey: ModelTensor] = [:]
        for file in files {
            for stored in file.tensors {
                let tensor = ModelTensor(
                    name: stored.name, shape: stored.shape, encoding: .plain(stored.type), file: file.file,
                    range: stored.range, layout: .same)
                if let other = tensors.updateValue(tensor, forKey: TextKey(stored.name)) {
                    throw SeamError(
                        .format,
                        "tensor \"\(stored.name)\" is in two shards, \(other.file.path) and \(file.path)")
                }
            }
        }
        self.tensors = tensors
    }

    /// Weights that a library of their own decodes have tensors of their own.
    private static func refuseQuantised(_ config: JSON, _ path: String) throws {
        guard let settings = config["quantization_config"], settings != .null else { return }
        let method = settings["quant_method"]?.stringValue.map { "\"\($0)\"" } ?? "a method that is not named"
        throw SeamError(
            .unsupported,
            "\(path): \"quantization_config\" says that the weights are quantised by \(method), which is not read from"
                + " safetensors; take the model that was quantised, or a GGUF file of it")
    }

    private static func shards(_ path: String) throws -> [SafetensorsFile] {
        let indexPath = FileSystem.join(path, "model.safetensors.index.json")
        let map = try JSON.read(indexPath).requireObject("weight_map", in: indexPath)
        var listed: [TextKey: [String]] = [:]
        for (tensor, value) in map {
            guard let shard = value.stringValue else {
                throw SeamError(
                    .format, "\(indexPath): the shard of \"\(tensor)\" must be a string, found \(value.kind)")
            }
            // A name with a path in it would let an index reach files outside of its folder.
            guard FileSystem.isEntryName(shard) else {
                throw SeamError(
                    .format, "\(indexPath): the shard of \"\(tensor)\" must be a plain file name, found \"\(shard)\"")
            }
            listed[TextKey(shard), default: []].append(tensor)
        }
        guard !listed.isEmpty else {
            throw SeamError(.format, "\(indexPath): \"weight_map\" lists no tensor")
        }
        return try listed.sorted { $0.key < $1.key }.map { key, tensors in
            let shard = key.text
            let shardPath = FileSystem.join(path, shard)
            guard FileSystem.exists(shardPath) else {
                throw SeamError(.notFound, "\(indexPath) lists the shard \(shard), which is not in the folder")
            }
            let file = try SafetensorsFile(shardPath)
            if let absent = tensors.first(where: { file[$0] == nil }) {
                throw SeamError(.format, "\(indexPath) lists tensor \"\(absent)\" in \(shard), which does not hold it")
            }
            return file
        }
    }
}
