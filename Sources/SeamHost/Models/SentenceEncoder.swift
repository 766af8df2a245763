import Files
import Support

/// What the files of sentence-transformers in a model's folder say of the one vector that stands for a text:
/// `modules.json`, the configurations of its transformer and pooling modules, and `config_sentence_transformers.json`.
///
/// A backbone reads it as if config.json had it, under the keys of `members`.
struct SentenceEncoder {
    /// The pooling as the option of that name calls it; nil where it is none of these.
    var pooling: String?
    /// Why the vector cannot be had as these files say, as a sentence; nil where it can.
    var refusal: String?

    private static let fileName = "modules.json"
    /// The keys of a pooling configuration that may ask for one, with what they ask for.
    private static let poolings: KeyValuePairs = [
        "pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_max_tokens": "max",
        "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens": "weightedmean",
        "pooling_mode_lasttoken": "lasttoken",
    ]
    private static let offered = ["cls", "mean", "max"]

    /// Nil for a folder without `modules.json`. Throws `.format` for files that are malformed or missing.
    init?(folder: String) throws {
        let path = FileSystem.join(folder, Self.fileName)
        guard FileSystem.exists(path) else { return nil }
        guard let modules = try JSON.read(path).arrayValue else {
            throw SeamError(.format, "\(path): expected a JSON array of modules")
        }
        for module in modules {
            let type = try module.requireString("type", in: path)
            // A class of another package is code of whoever made the model, whatever its name.
            switch type.hasPrefix("sentence_transformers.") ? type.split(separator: ".").last.map(String.init) : nil {
            // Unit length is a choice of the caller's: an option of the backbone.
            case "Transformer", "Dropout", "Normalize": break
            case "Pooling":
                let name = try module.requireString("path", in: path)
                try read(pooling: FileSystem.join(folder, name, "config.json"), named: name + "/config.json")
            default: refuse("\(Self.fileName) lists a module of the type \(type)")
            }
        }
        if pooling == nil { refuse("\(Self.fileName) lists no pooling") }
        try readTransformer(folder)
        try readPrompts(folder)
    }

    /// The keys that are added to those of config.json.
    var members: [(key: String, value: JSON)] {
        [("pooling", pooling), ("refusal", refusal)].compactMap { key, value in
            value.map { (key: "\(Self.fileName).\(key)", value: .string($0)) }
        }
    }

    private mutating func read(pooling path: String, named name: String) throws {
        let config = try JSON.read(path)
        guard config.objectValue != nil else {
            throw SeamError(.format, "\(path): expected a JSON object, found \(config.kind)")
        }
        var modes: [String] = []
        if let mode = try config.optionalString("pooling_mode", in: path) {
            modes = [mode.lowercased()]
        } else {
            for (key, mode) in Self.poolings {
                switch config[key] {
                // The mean is taken where nothing is said of it.
                case nil, .null?: if mode == "mean" { modes.append(mode) }
                case .bool(let asks)?: if asks { modes.append(mode) }
                case let other?:
                    throw SeamError(.format, "\(path): \"\(key)\" must be true or false, found \(other.kind)")
                }
            }
        }
        guard modes.count == 1, Self.offered.contains(modes[0]), pooling == nil else {
            refuse("\(name) asks for \(modes.isEmpty ? "no pooling" : "the pooling \(modes.joined(separator: " + "))")")
            return
        }
        pooling = modes[0]
    }

    /// The states that the pooling takes are the last ones, of a model without a head.
    private mutating func readTransformer(_ folder: String) throws {
        guard let path = SentenceEncoderFile.path(in: folder) else { return }
        let (config, name) = (try JSON.read(path), FileSystem.baseName(path))
        let usual: JSON = ["method": "forward", "method_output_name": "last_hidden_state"]
        let asked: [(key: String, found: JSON?, expected: JSON)] = [
            ("transformer_task", config["transformer_task"], "feature-extraction"),
            ("modality_config", config["modality_config"].map { $0["text"] ?? $0 }, usual),
            ("module_output_name", config["module_output_name"], "token_embeddings"),
            ("processing_kwargs", config["processing_kwargs"], [:]),
        ]
        for (key, found, expected) in asked {
            guard let found, found != .null, found != expected else { continue }
            refuse(
                "\(name) has \(try found.serialized()) as \"\(key)\", where only \(try expected.serialized()) is followed"
            )
        }
    }

    private mutating func readPrompts(_ folder: String) throws {
        let name = "config_sentence_transformers.json"
        let path = FileSystem.join(folder, name)
        guard FileSystem.exists(path) else { return }
        let config = try JSON.read(path)
        if let prompt = config["default_prompt_name"], prompt != .null {
            refuse("\(name) puts the prompt \(try prompt.serialized()) before every text, which a caller has to do")
        }
        if let width = config["truncate_dim"], width != .null {
            refuse("\(name) cuts the vector to \(try width.serialized()) numbers (\"truncate_dim\")")
        }
    }

    private mutating func refuse(_ what: String) {
        guard refusal == nil else { return }
        refusal =
            "\(what): the vector of sentence-transformers cannot be given; the option pooling=\(pooling ?? "mean")"
            + " gives the one without it"
    }
}
