import Files
import SeamHost
import Support

/// Control vectors as files of llama.cpp (`--control-vector`), which its `cvector-generator` and repeng write: GGUF with the
/// architecture "controlvector". direction.k [width] is added to what leaves layer k, counted from 0. llama.cpp never adds
/// one to the first layer, and reads nothing else of the file.
enum LlamaCppControlVector {
    static let architecture = "controlvector"
    /// The adapter that it is here.
    static let id = "control-vector"
    private static let parameter = "direction"
    private static let prefix = "direction."
    private static let hintKey = "controlvector.model_hint", countKey = "controlvector.layer_count"

    /// The vectors of a file as an adapter `control-vector` on the layers that have one, not yet attached.
    /// - Throws: `.format` and `.shape` for a damaged file; `.unsupported` for a model that llama.cpp does not steer;
    ///   `.incompatible` for a layer that this one does not have; `.numeric`.
    static func adapter(in file: GGUFFile, backbone: Backbone) throws -> Adapter {
        let info = backbone.info
        try requireDecoder(info)
        var vectors: [Int: [Float]] = [:]
        for tensor in file.tensors {
            guard tensor.name.hasPrefix(prefix), let layer = Int(tensor.name.dropFirst(prefix.count)), layer > 0,
                tensor.name == "\(prefix)\(layer)"
            else {
                throw SeamError(
                    .format, "\(file.path): tensor \"\(tensor.name)\" must be direction.1, direction.2 ...")
            }
            guard layer < info.decoderLayers else {
                throw SeamError(
                    .incompatible,
                    "\(file.path): tensor \"\(tensor.name)\" is for layer \(layer), and the layers of this model are 0 ... \(info.decoderLayers - 1)"
                )
            }
            guard tensor.shape == [info.dModel] else {
                throw SeamError(
                    .shape,
                    "\(file.path): tensor \"\(tensor.name)\" must be [\(info.dModel)] for this model, found \(tensor.shape)"
                )
            }
            vectors[layer] = try file.numbers(of: tensor)
        }
        guard !vectors.isEmpty else { throw SeamError(.format, "\(file.path) holds no tensors") }
        if let hint = try file.string(hintKey), hint != architecture(of: info) {
            backbone.runtime.log?(
                .warning,
                "\(file.path) was made for a model of the architecture \"\(hint)\", and this one is of the family \"\(info.family)\""
            )
        }
        // The states that leave a layer are at the point that is named as the layer is.
        let points = info.points.filter { $0.path == "decoder.\($0.layer)" && vectors[$0.layer] != nil }
        let modules = points.map { point in
            ModuleTensors(
                point: point, path: point.path,
                tensors: [.init(name: parameter, shape: [info.dModel], values: vectors[point.layer]!)])
        }
        return try ModuleTensors.adapter(
            id, ["strength": 1, "keep_norm": false], with: modules, of: "a control vector of llama.cpp", for: backbone)
    }

    /// Writes the vectors times the adapter's strength, in f32.
    static func export(_ adapter: Adapter, _ info: BackboneInfo, to path: String) throws {
        try requireDecoder(info)
        let options = adapter.options.json
        let owner = "the options of adapter \"\(id)\""
        guard try !options.requireBool("keep_norm", in: owner) else {
            throw SeamError(
                .unsupported, "adapter \"\(id)\" has keep_norm, and llama.cpp adds its vectors without it")
        }
        let strength = Float(try options.requireDouble("strength", in: owner))
        let tensors = try adapter.points.compactMap { point -> GGUFWriter.Tensor? in
            let (shape, values) = try adapter.exported(parameter, at: point, for: "a control vector of llama.cpp")
            guard point.layer > 0 else {
                guard values.allSatisfy({ $0 == 0 }) else {
                    throw SeamError(
                        .unsupported,
                        "llama.cpp adds no vector to the first layer's states, and adapter \"\(id)\" has one: prepare it with layers=1-\(info.decoderLayers - 1)"
                    )
                }
                return nil
            }
            let vector = values.map { $0 * strength }
            guard vector.allSatisfy(\.isFinite) else {
                throw SeamError(
                    .numeric,
                    "the adapter is not written: \"\(point.path).\(parameter)\" times the strength \(strength) leaves f32"
                )
            }
            return GGUFWriter.Tensor(name: "\(prefix)\(point.layer)", shape: shape, values: vector)
        }
        guard !tensors.isEmpty else {
            throw SeamError(.unsupported, "adapter \"\(id)\" has no vector that llama.cpp would add")
        }
        try GGUFWriter.write(
            [
                ("general.architecture", .string(architecture)), (hintKey, .string(architecture(of: info))),
                (countKey, .uint32(UInt32(tensors.count))),
            ], tensors, to: path)
    }

    /// What llama.cpp calls models of the family.
    private static func architecture(of info: BackboneInfo) -> String {
        GGUFArchitecture.of(family: info.family)?.name ?? info.family
    }

    private static func requireDecoder(_ info: BackboneInfo) throws {
        guard info.architecture == .decoderOnly else {
            throw SeamError(
                .unsupported,
                "control vectors of llama.cpp are exchanged for decoder-only models, found one of the family \"\(info.family)\""
            )
        }
    }
}
