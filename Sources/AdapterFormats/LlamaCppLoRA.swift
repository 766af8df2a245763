import Files
import SeamHost
import Support

/// Trained LoRA adapters as files of llama.cpp (`--lora`): GGUF with the type "adapter". Of a projection W they hold
/// lora_a [r, in] and lora_b [out, r] under W's name there, and one alpha: llama.cpp adds alpha / r times their product.
enum LlamaCppLoRA {
    /// The adapter that it is here.
    static let id = "lora"
    private static let endings = [".lora_a": "lora_A.weight", ".lora_b": "lora_B.weight"]
    private static let alphaKey = "adapter.lora.alpha"

    /// A LoRA adapter in a GGUF file, as an adapter `lora` on the same projections, not yet attached.
    /// - Parameters:
    ///   - file: of F32, F16 or BF16.
    ///   - backbone: a model of a family whose GGUF files are read, from such a file or a folder.
    /// - Throws: `.format` and `.shape` for a damaged file; `.unsupported` for one that is no LoRA adapter of
    ///   a model like this, and for what is not followed; `.incompatible` where it is for another model; `.numeric`.
    static func adapter(in file: GGUFFile, backbone: Backbone) throws -> Adapter {
        let (info, path) = (backbone.info, file.path)
        let architecture = try architecture(of: info)
        for (key, expected) in [
            ("general.type", "adapter"), ("adapter.type", "lora"), ("general.architecture", architecture.name),
        ] {
            let found = try file.string(key)
            guard found == expected else {
                throw SeamError(
                    .unsupported,
                    "\(path): \"\(key)\" must be \"\(expected)\" for a LoRA adapter of a \(info.family) model, found \(found.map { "\"\($0)\"" } ?? "none")"
                )
            }
        }
        if let stranger = file.keys.first(where: {
            $0.hasPrefix("adapter.") && !["adapter.type", alphaKey].containsExactly($0)
        }) {
            throw SeamError(
                .unsupported,
                "\(path): the setting \"\(stranger)\" is not followed, and could change what the adapter does")
        }
        let alpha = try file.requireDouble(alphaKey)
        var modules = try modules(in: file, architecture, for: info)
        let ranks = Set(modules.map { $0.tensors[0].shape[0] })
        // llama.cpp multiplies by 1 where alpha is 0.
        let scale = { (rank: Int) in alpha == 0 ? 1 : alpha / Double(rank) }
        let options: JSON =
            ranks.count == 1 && alpha != 0
            ? ["r": .int(Int64(ranks.first!)), "lora_alpha": .double(alpha), "use_rslora": false]
            : ModuleTensors.unify(&modules, scales: modules.map { scale($0.tensors[0].shape[0]) })
        return try ModuleTensors.adapter(
            id, options, with: modules, of: "a LoRA adapter of llama.cpp", for: backbone)
    }

    private static func architecture(of info: BackboneInfo) throws -> GGUFArchitecture {
        guard let architecture = GGUFArchitecture.of(family: info.family) else {
            throw SeamError(
                .unsupported,
                "LoRA adapters of llama.cpp are exchanged for models of the families \(GGUFArchitecture.readableFamilies.joined(separator: ", ")), found a model of the family \"\(info.family)\""
            )
        }
        return architecture
    }

    /// The numbers of layers of the stacks, as files of llama.cpp list them.
    private static func layers(_ info: BackboneInfo) -> [Int] {
        [info.encoderLayers, info.decoderLayers].filter { $0 > 0 }
    }

    private static func modules(
        in file: GGUFFile, _ architecture: GGUFArchitecture, for info: BackboneInfo
    ) throws -> [ModuleTensors] {
        let (known, layers) = (PEFTModules(info), layers(info))
        var found: [TextKey: ModuleTensors] = [:]
        for tensor in file.tensors {
            guard let (ending, name) = endings.first(where: { tensor.name.hasSuffix($0.key) }),
                case let path = String(tensor.name.dropLast(ending.count)), path.hasSuffix(".weight"),
                let point = architecture.huggingFace(path, layers: layers).compactMap({
                    known.point(of: String($0.dropLast(".weight".count)))
                }).first
            else {
                throw SeamError(
                    .incompatible,
                    "\(file.path): tensor \"\(tensor.name)\" is no LoRA of a projection of this model, which has \(layers.map { "\($0)" }.joined(separator: " and ")) layers"
                )
            }
            let isA = name == "lora_A.weight"
            let width = isA ? point.inputWidth : point.outputWidth
            guard tensor.shape.count == 2, tensor.shape[isA ? 1 : 0] == width else {
                throw SeamError(
                    .shape,
                    "\(file.path): tensor \"\(tensor.name)\" must be \(isA ? "[r, \(width)]" : "[\(width), r]") for this model, found \(tensor.shape)"
                )
            }
            var values = try file.numbers(of: tensor)
            if !isA,
                let order = architecture.rowOrder(path, rows: width, heads: info.heads, kvHeads: info.kvHeads)
            {
                let rank = tensor.shape[1]
                values = order.flatMap { values[$0 * rank..<($0 + 1) * rank] }
            }
            found[TextKey(point.path), default: ModuleTensors(point: point, path: path, tensors: [])].tensors.append(
                PEFTFolder.Tensor(name: name, shape: tensor.shape, values: values))
        }
        let modules = info.points.compactMap { found[TextKey($0.path)] }.map { module in
            ModuleTensors(
                point: module.point, path: module.path, tensors: module.tensors.sorted { $0.name < $1.name })
        }
        for module in modules {
            guard module.tensors.map(\.name) == ["lora_A.weight", "lora_B.weight"],
                module.tensors[0].shape[0] == module.tensors[1].shape[1]
            else {
                throw SeamError(
                    .format,
                    "\(file.path): \"\(module.path)\" must have lora_a [r, in] and lora_b [out, r], found \(module.tensors.map { "\($0.shape)" }.joined(separator: " and "))"
                )
            }
        }
        guard !modules.isEmpty else { throw SeamError(.format, "\(file.path) holds no tensors") }
        return modules
    }

    /// Writes a LoRA adapter in f32. An alpha that stands for another scale (`use_rslora`) is written as the one that gives
    /// the same.
    static func export(_ adapter: Adapter, _ info: BackboneInfo, to path: String) throws {
        let architecture = try architecture(of: info)
        let options = adapter.options.json
        let owner = "the options of adapter \"lora\""
        let (rank, alpha) = (
            Double(try options.requireInt("r", in: owner)), try options.requireDouble("lora_alpha", in: owner)
        )
        guard alpha != 0 else {
            throw SeamError(.unsupported, "a lora_alpha of 0 cannot be written: llama.cpp takes it for a scale of 1")
        }
        let isStabilised = try options.requireBool("use_rslora", in: owner)
        guard try !options.requireBool("use_dora", in: owner) else {
            throw SeamError(
                .unsupported,
                "adapter \"\(id)\" has use_dora, which is not written for llama.cpp: merge it into the model (seam merge)"
            )
        }
        let tensors = try adapter.points.flatMap { point -> [GGUFWriter.Tensor] in
            guard let name = point.weightParameter.flatMap({ architecture.ggml(ofLayerMatrix: $0) }) else {
                throw SeamError(.unsupported, "the matrix of \"\(point.path)\" has no name in llama.cpp")
            }
            return try ["lora_a", "lora_b"].map { ending in
                var (shape, values) = try adapter.exported(
                    endings[".\(ending)"]!, at: point, for: "a LoRA adapter of llama.cpp")
                if ending == "lora_b",
                    let order = architecture.rowOrder(
                        name, rows: shape[0], heads: info.heads, kvHeads: info.kvHeads)
                {
                    let (own, rank) = (values, shape[1])
                    for (row, place) in order.enumerated() {
                        values.replaceSubrange(
                            place * rank..<(place + 1) * rank, with: own[row * rank..<(row + 1) * rank])
                    }
                }
                return GGUFWriter.Tensor(name: "\(name).\(ending)", shape: shape, values: values)
            }
        }
        try GGUFWriter.write(
            [
                ("general.architecture", .string(architecture.name)), ("general.type", .string("adapter")),
                ("adapter.type", .string("lora")),
                (alphaKey, .float32(Float(isStabilised ? alpha * rank.squareRoot() : alpha))),
            ], tensors, to: path)
    }
}
