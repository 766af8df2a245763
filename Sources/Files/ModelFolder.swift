import Support

/// A backbone's folder in the Hugging Face layout: `config.json` and the weights, in
/// `model.safetensors` or in the shards that `model.safetensors.index.json` lists.
///
/// Thread rules: any thread may read. Tensor bytes live as long as this object.
public final class ModelFolder: Sendable {
    /// The folder as given to `init`.
    public let path: String
    /// The content of `config.json`.
    public let config: JSON
    /// The path of `config.json`, for error sentences about its values.
    public let configPath: String
    /// The weight files: one, or the shards sorted by name.
    public let files: [SafetensorsFile]
    /// The names of all tensors, sorted.
    public let tensorNames: [String]
    private let places: [String: Int]

    /// Opens the folder and checks the header of every weight file; no values are read.
    ///
    /// Throws `SeamError`: `.notFound` for a missing folder, config or shard, `.unsupported` for a folder
    /// that holds its weights only in another format, `.format` for a malformed file, an index that does
    /// not match its shards, or a tensor in two shards.
    public init(_ path: String) throws {
        guard FileSystem.exists(path) else {
            throw SeamError(.notFound, "cannot open the model folder \"\(path)\", there is no such folder")
        }
        let names = try FileSystem.list(path)
        configPath = FileSystem.join(path, "config.json")
        guard names.contains("config.json") else {
            throw SeamError(.notFound, "the model folder \"\(path)\" has no config.json")
        }
        self.path = path
        config = try JSON.read(configPath)
        if names.contains("model.safetensors") {
            files = [try SafetensorsFile(FileSystem.join(path, "model.safetensors"))]
        } else if names.contains("model.safetensors.index.json") {
            files = try Self.shards(path)
        } else {
            throw Self.withoutSafetensors(path, names)
        }
        var places: [String: Int] = [:]
        for (number, file) in files.enumerated() {
            for tensor in file.tensors {
                if let other = places.updateValue(number, forKey: tensor.name) {
                    throw SeamError(
                        .format, "tensor \"\(tensor.name)\" is in two shards, \(files[other].path) and \(file.path)")
                }
            }
        }
        self.places = places
        tensorNames = places.keys.sorted()
    }

    /// The tensor of that name with the file that holds it, or nil.
    public func tensor(_ name: String) -> (tensor: StoredTensor, file: SafetensorsFile)? {
        guard let place = places[name], let tensor = files[place][name] else { return nil }
        return (tensor, files[place])
    }

    /// As `tensor(_:)`, but throws `SeamError(.notFound)` naming the folder and the tensor.
    public func requireTensor(_ name: String) throws -> (tensor: StoredTensor, file: SafetensorsFile) {
        guard let found = tensor(name) else {
            throw SeamError(.notFound, "the model folder \"\(path)\" has no tensor \"\(name)\"")
        }
        return found
    }

    private static func shards(_ path: String) throws -> [SafetensorsFile] {
        let indexPath = FileSystem.join(path, "model.safetensors.index.json")
        let map = try JSON.read(indexPath).requireObject("weight_map", in: indexPath)
        var listed: [String: [String]] = [:]
        for (tensor, value) in map {
            guard let shard = value.stringValue else {
                throw SeamError(
                    .format, "\(indexPath): the shard of \"\(tensor)\" must be a string, found \(value.kind)")
            }
            // A name with a path in it would let an index reach files outside of its folder.
            guard !shard.isEmpty, shard != "..", !shard.contains("/") else {
                throw SeamError(
                    .format, "\(indexPath): the shard of \"\(tensor)\" must be a plain file name, found \"\(shard)\"")
            }
            listed[shard, default: []].append(tensor)
        }
        guard !listed.isEmpty else {
            throw SeamError(.format, "\(indexPath): \"weight_map\" lists no tensor")
        }
        return try listed.keys.sorted().map { shard in
            let shardPath = FileSystem.join(path, shard)
            guard FileSystem.exists(shardPath) else {
                throw SeamError(.notFound, "\(indexPath) lists the shard \(shard), which is not in the folder")
            }
            let file = try SafetensorsFile(shardPath)
            if let absent = listed[shard]!.first(where: { file[$0] == nil }) {
                throw SeamError(.format, "\(indexPath) lists tensor \"\(absent)\" in \(shard), which does not hold it")
            }
            return file
        }
    }

    private static func withoutSafetensors(_ path: String, _ names: [String]) -> SeamError {
        let pickle = names.first { $0 == "pytorch_model.bin" } ?? names.first { $0.hasSuffix(".bin.index.json") }
            ?? names.first { $0.hasPrefix("pytorch_model") && $0.hasSuffix(".bin") }
        if let pickle {
            return SeamError(
                .unsupported,
                "the model folder \"\(path)\" holds only \(pickle), a pickle, which is never executed; convert it"
                    + " to safetensors")
        }
        return SeamError(
            .notFound,
            "the model folder \"\(path)\" has no model.safetensors and no model.safetensors.index.json")
    }
}
