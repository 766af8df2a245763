import Support

/// A model in a GGUF file as the Hugging Face folder that it was made from: config.json and tensors under their names
/// there.
struct GGUFModel {
    let config: JSON
    /// The members of generation_config.json.
    let generation: [(key: String, value: JSON)]
    let tensors: [TextKey: ModelTensor]

    /// Maps the file; no values of weights are read.
    ///
    /// Throws `SeamError`: `.unsupported` for another architecture, or a setting or tensor that has no counterpart;
    /// `.format` for values that are missing or contradict each other.
    init(_ file: GGUFFile) throws {
        let name = try file.requireString("general.architecture")
        guard let architecture = GGUFArchitecture.named(name) else {
            throw SeamError(
                .unsupported,
                "\(file.path) holds a model of the architecture \"\(name)\", which is not read from GGUF files;"
                    + " read are \(GGUFArchitecture.all.map(\.name).joined(separator: ", "))")
        }
        try Self.refuseUnknownSettings(file, architecture)
        let settings = try GGUFSettings(file, architecture.name)
        tensors = try Self.tensors(file, architecture, settings)
        generation = try GGUFGeneration(file, vocabulary: settings.vocabulary).members
        config = .object(try architecture.config(settings) + settings.ending())
    }

    /// A setting that is not known could change what the model computes.
    private static func refuseUnknownSettings(_ file: GGUFFile, _ architecture: GGUFArchitecture) throws {
        let prefix = "\(architecture.name)."
        let known = architecture.settings.union([
            "block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size",
            "attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length",
            "attention.causal", "pooling_type", "expert_count", "expert_used_count",
        ])
        let settings = file.entries.keys.map(\.text).filter { $0.utf8.starts(with: prefix.utf8) }.sortedExactly()
        if let key = settings.first(where: {
            !known.contains(TextKey(String($0.unicodeScalars.dropFirst(prefix.unicodeScalars.count))))
        }) {
            throw SeamError(
                .unsupported, "\(file.path): the setting \"\(key)\" is not supported for \(architecture.name) models")
        }
        for key in ["expert_count", "expert_used_count"].map({ prefix + $0 }) {
            if let count = try file.int(key), count > 0 {
                throw SeamError(
                    .unsupported, "\(file.path): \"\(key)\" is \(count), mixtures of experts are not supported")
            }
        }
        if let causal = try file.bool(prefix + "attention.causal"), causal != architecture.isCausal {
            throw SeamError(
                .unsupported,
                "\(file.path): \"\(prefix)attention.causal\" is \(causal), expected \(!causal) for \(architecture.name)"
                    + " models")
        }
    }

    private static func tensors(
        _ file: GGUFFile, _ architecture: GGUFArchitecture, _ settings: GGUFSettings
    ) throws -> [TextKey: ModelTensor] {
        var result: [TextKey: ModelTensor] = [:]
        for tensor in file.tensors where !RotaryScaling.factorNames.contains(tensor.name) {
            let names = architecture.huggingFace(tensor.name, layers: settings.stackLayers)
            guard let gated = names.first, let plain = names.last else {
                let layers = zip(settings.stackLayers, architecture.stacks).map { "\($0.0)" }.joined(separator: " and ")
                throw SeamError(
                    .unsupported,
                    "\(file.path): a \(architecture.name) model of \(layers) layers has no tensor \"\(tensor.name)\" in"
                        + " transformers")
            }
            let name = settings.isGated ? gated : plain
            let layout = try layout(tensor, architecture, settings, file.path)
            result[TextKey(name)] = ModelTensor(
                name: name, shape: layout == .transposed ? tensor.shape.reversed() : tensor.shape,
                encoding: tensor.type.plain.map { .plain($0) } ?? .blocks(tensor.type), file: file.file,
                range: tensor.range, layout: layout)
        }
        return result
    }

    private static func layout(
        _ tensor: GGUFTensor, _ architecture: GGUFArchitecture, _ settings: GGUFSettings, _ path: String
    ) throws -> TensorLayout {
        func wrong(_ what: String) -> SeamError {
            SeamError(
                .format, "\(path): tensor \"\(tensor.name)\" of \(tensor.type.name) \(tensor.shape) \(what)")
        }
        switch architecture.change(of: tensor.name) {
        case nil: return .same
        case .transposed:
            guard tensor.shape.count == 2 else { throw wrong("must be a matrix") }
            return .transposed
        case .oneAdded:
            guard tensor.type == .f32 else { throw wrong("must be F32") }
            return .oneAdded
        case let change?:
            let heads = change == .pairedQueries ? settings.heads : settings.kvHeads
            let rows = tensor.shape[0]
            guard tensor.shape.count == 2 || tensor.type.plain != nil,
                let order = architecture.rowOrder(
                    tensor.name, rows: rows, heads: settings.heads, kvHeads: settings.kvHeads)
            else { throw wrong("cannot be divided into the even rows of \(heads) heads") }
            return .rows(order.map { Int64($0) })
        }
    }
}
