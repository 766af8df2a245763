import Support

/// A pretrained model's configuration and weights: a folder in the Hugging Face layout, or a GGUF file, which looks the
/// same from here on.
///
/// Thread rules: any thread may read. Tensor bytes live as long as this object.
public final class ModelFiles: Sendable {
    /// The folder as given to `init`, or the GGUF file.
    public let path: String
    /// The folder with what else belongs to the model (tokenizer, generation settings); nil for a GGUF file.
    public let folder: String?
    /// The content of `config.json`, or what it would be.
    public let config: JSON
    /// What `generation_config.json` would be, of a GGUF file that holds settings of a generation; nil for a folder, where
    /// that file is.
    public let generation: JSON?
    /// The path of the file that holds the configuration, for error sentences about its values.
    public let configPath: String
    /// The names of all tensors, sorted.
    public let tensorNames: [String]
    private let tensors: [TextKey: ModelTensor]

    /// Opens the model and checks the header of every weight file; no values are read.
    ///
    /// `path` is a folder with `config.json` and safetensors, a GGUF file, or a folder with one GGUF file and no
    /// `config.json`.
    ///
    /// Throws `SeamError`: `.notFound` for what is missing, `.unsupported` for a folder that holds its weights only in
    /// another format and for a GGUF model that has no counterpart, `.format` for malformed files.
    public init(_ path: String) throws {
        guard FileSystem.exists(path) else {
            throw SeamError(.notFound, "cannot open the model \"\(path)\", there is no such folder or file")
        }
        if let file = try GGUFFile.locate(path) {
            let model = try GGUFModel(GGUFFile(file))
            self.path = file
            folder = nil
            configPath = file
            (config, tensors) = (model.config, model.tensors)
            generation = model.generation.isEmpty ? nil : .object(model.generation)
        } else {
            let found = try HuggingFaceFolder(path)
            self.path = path
            folder = path
            configPath = found.configPath
            (config, tensors) = (found.config, found.tensors)
            generation = nil
        }
        tensorNames = tensors.keys.sorted().map(\.text)
    }

    /// The tensor of that name, or nil.
    public func tensor(_ name: String) -> ModelTensor? { tensors[TextKey(name)] }

    /// The tensor that `tensor(_:)` gives, but throws `SeamError(.notFound)` naming the model and the tensor.
    public func requireTensor(_ name: String) throws -> ModelTensor {
        guard let found = tensor(name) else {
            throw SeamError(.notFound, "the model \"\(path)\" has no tensor \"\(name)\"")
        }
        return found
    }
}
