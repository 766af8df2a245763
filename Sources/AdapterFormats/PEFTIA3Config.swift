import Files
import SeamHost
import Support

/// What the `adapter_config.json` of PEFT's IA3 says beside what the tensors show.
enum PEFTIA3Config {
    /// Which modules have factors, and of which the input is scaled, is seen in the tensors.
    static let known = [
        "exclude_modules", "fan_in_fan_out", "feedforward_modules", "init_ia3_weights", "modules_to_save", "peft_type",
        "target_modules", "task_type",
    ]

    /// The options of an adapter `ia3`: the names of those projections whose input is scaled.
    /// - Throws: `.shape` for factors of another width than the module's, `.unsupported` for a projection that is scaled
    ///   in some layers before and in others behind.
    static func options(of modules: [ModuleTensors], in folder: PEFTFolder) throws -> JSON {
        let file = folder.weightsPath
        var isBefore: [String: Bool] = [:]
        for module in modules {
            let (shape, point) = (module.tensors[0].shape, module.point)
            let (before, behind) = ([1, point.inputWidth], [point.outputWidth, 1])
            guard shape == before || shape == behind else {
                throw SeamError(
                    .shape,
                    "\(file): ia3_l of \"\(module.path)\" must be \(behind), or \(before) in a feed-forward module, found \(shape)"
                )
            }
            guard isBefore.updateValue(shape == before, forKey: point.name) ?? (shape == before) == (shape == before)
            else {
                throw SeamError(
                    .unsupported,
                    "\(file): ia3_l scales what enters \"\(module.path)\" and what leaves the same projection of another layer, or the reverse: one of both is followed"
                )
            }
        }
        let names = isBefore.filter(\.value).map(\.key).sorted()
        return ["feedforward_targets": .string(names.joined(separator: ","))]
    }

    /// The members of a config that are IA3's own.
    static func members(of modules: [ModuleTensors]) -> JSON {
        let isBefore = { (module: ModuleTensors) in module.tensors[0].shape == [1, module.point.inputWidth] }
        return [
            "feedforward_modules": .array(modules.filter(isBefore).map { .string($0.path) }),
            "init_ia3_weights": true,
        ]
    }
}
