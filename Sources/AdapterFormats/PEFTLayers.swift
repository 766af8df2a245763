import Engine
import Files
import SeamHost
import Support

/// Trained adapters on the projections of the layers, LoRA and IA3, as folders of PEFT's methods of these names.
public enum PEFTLayers {
    /// What stands before a module's path in the names of the tensors.
    private static let root = "base_model.model."

    /// What the names of a module's tensors end in, which are also those of the adapter's parameters at a point, but for
    /// the lengths of DoRA.
    private static func endings(of method: PEFTMethod, hasMagnitudes: Bool) -> [String] {
        if method == .ia3 { return ["ia3_l"] }
        return ["lora_A.weight", "lora_B.weight"] + (hasMagnitudes ? [PEFTMagnitudes.ending] : [])
    }

    /// Whether PEFT has a method for the adapter.
    static func exports(_ adapter: Adapter) -> Bool { method(of: adapter) != nil }

    private static func method(of adapter: Adapter) -> PEFTMethod? {
        [PEFTMethod.lora, .ia3].first { $0.adapter == adapter.factory.id }
    }

    /// A LoRA or IA3 adapter that PEFT saved, as an adapter `lora` or `ia3` on the same projections, not yet attached. A
    /// classification head beside it is left out, with a warning in the log.
    ///
    /// A LoRA whose modules have ranks or alphas of their own gets the largest rank, and values that give the same product.
    /// The lengths of DoRA become what they add to those of the backbone's own rows.
    /// - Parameter folder: one of these methods, with adapter_model.safetensors in F32, F16 or BF16. A pickle is never
    ///   executed.
    /// - Throws: `.notFound` for a missing file; `.format` and `.shape` for a damaged one; `.unsupported` for what is not
    ///   followed; `.incompatible` where a module is no projection of this backbone, or of another width; `.numeric`.
    static func adapter(of folder: PEFTFolder, backbone: Backbone) throws -> Adapter {
        try folder.checkModules()
        let lora = folder.method == .lora ? try PEFTLoRAConfig(folder) : nil
        if lora == nil { try folder.refuseUnknownKeys(besides: PEFTIA3Config.known) }
        var modules = try read(folder, hasMagnitudes: lora?.hasMagnitudes ?? false, for: backbone)
        let options: JSON
        if let lora {
            options = try lora.unify(&modules, in: folder)
            if lora.hasMagnitudes {
                for index in modules.indices { try PEFTMagnitudes.subtractOwn(from: &modules[index], of: backbone) }
            }
        } else {
            options = try PEFTIA3Config.options(of: modules, in: folder)
        }
        return try ModuleTensors.adapter(
            folder.method.adapter, options, with: modules, of: "PEFT's \(folder.method.name)", for: backbone)
    }

    /// The modules of a folder, in the order of the backbone's points.
    private static func read(
        _ folder: PEFTFolder, hasMagnitudes: Bool, for backbone: Backbone
    ) throws -> [ModuleTensors] {
        let endings = endings(of: folder.method, hasMagnitudes: hasMagnitudes)
        let file = try folder.openWeights()
        let known = PEFTModules(backbone.info)
        var modules: [TextKey: ModuleTensors] = [:]
        var others: [String] = []
        for stored in file.tensors {
            guard stored.name.hasPrefix(root),
                let ending = endings.first(where: { stored.name.hasSuffix("." + $0) })
            else {
                others.append(stored.name)
                continue
            }
            let path = String(stored.name.dropFirst(root.count).dropLast(ending.count + 1))
            guard let point = known.point(of: path) else {
                throw SeamError(
                    .incompatible,
                    "\(file.path): \"\(path)\" is no projection of this backbone (\(backbone.info.family)) on which adapters attach"
                )
            }
            let axes = ending == PEFTMagnitudes.ending ? 1 : 2
            guard stored.shape.count == axes else {
                throw SeamError(
                    .shape,
                    "\(file.path): tensor \"\(stored.name)\" must have \(axes == 1 ? "one size" : "two sizes"), found \(stored.shape)"
                )
            }
            let tensor = PEFTFolder.Tensor(
                name: ending, shape: stored.shape, values: try PEFTFolder.numbers(of: stored, in: file))
            modules[TextKey(point.path), default: ModuleTensors(point: point, path: path, tensors: [])].tensors.append(
                tensor)
        }
        try folder.leaveOut(others, of: file, backbone.runtime)
        for module in modules.values.sorted(by: { $0.point.path < $1.point.path }) {
            let found = module.tensors.map(\.name).sorted()
            guard found == endings else {
                let expected = endings.joined(separator: " and ")
                throw SeamError(
                    .format,
                    "\(file.path): \"\(module.path)\" must have \(expected) once, found \(found.joined(separator: ", "))"
                )
            }
        }
        guard !modules.isEmpty else {
            throw SeamError(.format, "\(file.path) has no tensor of PEFT's \(folder.method.name)")
        }
        return backbone.info.points.compactMap { point in
            guard var module = modules[TextKey(point.path)] else { return nil }
            module.tensors.sort { $0.name < $1.name }
            return module
        }
    }

    /// Writes the LoRA or IA3 adapter attached to a session as a folder that `PeftModel.from_pretrained` reads:
    /// adapter_config.json and adapter_model.safetensors (F32), replaced as a whole or not at all.
    /// - Parameters:
    ///   - baseModel: `base_model_name_or_path`, the model's name or path for whoever loads the folder; nil: none.
    ///   - replaces: whether one of PEFT's that is at `path` is replaced; else it is refused.
    ///   - path: a folder; an adapter of SeamKit's that is there is never replaced.
    /// - Throws: `.unsupported` for another adapter beside it; `.numeric` for NaN or infinity.
    static func export(_ session: Session, baseModel: String?, replaces: Bool, to path: String) throws {
        guard session.adapters.count == 1, let adapter = session.adapters.first, let method = method(of: adapter) else {
            let ids = session.adapters.map { "\"\($0.factory.id)\"" }
            throw SeamError(
                .unsupported,
                "a folder of PEFT's holds one LoRA or IA3 adapter alone, found \(ids.joined(separator: " and ")): leave the others out"
            )
        }
        let info = session.backbone.info
        let known = PEFTModules(info)
        let modules = try adapter.points.map { point in
            let path = try known.path(of: point)
            let tensors = try endings(of: method, hasMagnitudes: PEFTMagnitudes.has(adapter)).map { ending in
                let isMagnitude = ending == PEFTMagnitudes.ending
                var (shape, values) = try adapter.exported(
                    isMagnitude ? PEFTMagnitudes.parameter : ending, at: point, for: "PEFT's \(method.name)")
                if isMagnitude { values = try PEFTMagnitudes.addOwn(to: values, at: point, of: session.backbone) }
                return PEFTFolder.Tensor(name: "\(root)\(path).\(ending)", shape: shape, values: values)
            }
            return ModuleTensors(point: point, path: path, tensors: tensors)
        }
        let common: JSON = [
            "auto_mapping": .null,
            "base_model_name_or_path": baseModel.map { .string($0) } ?? .null,
            "fan_in_fan_out": .bool(modules.contains { $0.point.isTransposed }),
            "inference_mode": true,
            "modules_to_save": .null,
            "peft_type": .string(method.rawValue),
            "revision": .null,
            "target_modules": .array(modules.map { .string($0.path) }),
            // PEFT's class for SEQ_2_SEQ_LM hands its model input_ids, of which a model of speech has none.
            "task_type": info.readsFeatures ? .null : .string(PEFTConfig.task(of: info)),
        ]
        let own = method == .ia3 ? PEFTIA3Config.members(of: modules) : try PEFTLoRAConfig.members(of: adapter)
        let members = (common.objectValue! + own.objectValue!).sorted { $0.key < $1.key }
        try PEFTFolder.write(.object(members), modules.flatMap(\.tensors), replaces: replaces, to: path)
    }
}
