import Engine
import Files
import SeamHost
import Support

/// What the `adapter_config.json` of PEFT's LoRA says of the product of each module's two matrices.
struct PEFTLoRAConfig {
    /// A rank or an alpha of its own, for the modules whose path ends in a name.
    private struct Pattern {
        let name: String
        let value: Double

        /// As `get_pattern_key` of PEFT 0.21 does it; "^" before a name: the whole path.
        func holds(_ path: String) -> Bool {
            guard !name.hasPrefix("^") else { return path == name.dropFirst() }
            return path == name || path.hasSuffix("." + name)
        }
    }

    private let rank: Int
    private let alpha: Double
    private let isRankStabilised: Bool
    private let dropout: Double
    /// Whether the rows have lengths of their own (`use_dora`).
    let hasMagnitudes: Bool
    private let ranks: [Pattern]
    private let alphas: [Pattern]

    /// Keys that do not change what the trained matrices do: which modules have some, which the tensors show; how they
    /// began and were trained; and settings of what is switched on by another key, which is refused.
    private static let harmless = [
        "ensure_weight_tying", "exclude_modules", "fan_in_fan_out", "init_lora_weights", "layers_pattern",
        "layers_to_transform", "megatron_core", "qalora_group_size", "target_modules",
    ]
    private static let followed = [
        "alpha_pattern", "bias", "lora_alpha", "lora_dropout", "modules_to_save", "peft_type", "r", "rank_pattern",
        "task_type", "use_dora", "use_rslora",
    ]
    /// Ways to start that change the weights of the model as well.
    private static let changesModel = ["corda", "loftq", "olora", "pissa"]

    /// Takes a config's members.
    /// - Throws: `.format` for a missing or wrong one, `.unsupported` for what is not followed.
    init(_ folder: PEFTFolder) throws {
        let (json, name) = (folder.config, folder.configPath)
        rank = try json.requireInt("r", in: name)
        alpha = try json.requireDouble("lora_alpha", in: name)
        guard rank > 0, alpha.isFinite else {
            throw SeamError(
                .format, "\(name): r must be positive and lora_alpha a number, found \(rank) and \(alpha)")
        }
        isRankStabilised = try json.optionalBool("use_rslora", in: name) ?? false
        dropout = try json.optionalDouble("lora_dropout", in: name) ?? 0
        guard (0...1).contains(dropout) else {
            throw SeamError(.format, "\(name): lora_dropout must be 0 ... 1, found \(dropout)")
        }
        hasMagnitudes = try json.optionalBool("use_dora", in: name) ?? false
        ranks = try Self.patterns("rank_pattern", folder)
        alphas = try Self.patterns("alpha_pattern", folder)
        let bias = try json.optionalString("bias", in: name) ?? "none"
        guard bias == "none" else {
            throw SeamError(
                .unsupported,
                "\(name): bias must be \"none\", found \"\(bias)\": biases of the model that were trained along are not read"
            )
        }
        if let start = json["init_lora_weights"]?.stringValue,
            let found = Self.changesModel.first(where: start.hasPrefix)
        {
            throw SeamError(
                .unsupported,
                "\(name): init_lora_weights is \"\(start)\": \(found) changes the weights of the model, which the folder does not hold; save it with PEFT's path_initial_model_for_weight_conversion"
            )
        }
        try folder.refuseUnknownKeys(besides: Self.harmless + Self.followed)
    }

    private static func patterns(_ key: String, _ folder: PEFTFolder) throws -> [Pattern] {
        let name = folder.configPath
        return try (folder.config.optionalObject(key, in: name) ?? []).map { pattern, value in
            let plain = pattern.hasPrefix("^") ? pattern.dropFirst() : pattern[...]
            guard !plain.isEmpty, plain.allSatisfy({ $0.isLetter || $0.isNumber || $0 == "_" || $0 == "." }) else {
                throw SeamError(
                    .unsupported,
                    "\(name): \(key) has the regular expression \"\(pattern)\": write the modules out, as ends of their paths"
                )
            }
            guard let number = value.doubleValue, number.isFinite, key == "alpha_pattern" || value.intValue ?? 0 > 0
            else {
                throw SeamError(
                    .format, "\(name): \(key) of \"\(pattern)\" must be a number, found \(try value.serialized())")
            }
            return Pattern(name: pattern, value: number)
        }
    }

    private func rank(of path: String) -> Int { ranks.first { $0.holds(path) }.map { Int($0.value) } ?? rank }

    private func scale(of path: String) -> Double {
        let (alpha, rank) = (alphas.first { $0.holds(path) }?.value ?? alpha, Double(rank(of: path)))
        return alpha / (isRankStabilised ? rank.squareRoot() : rank)
    }

    /// Gives all modules one rank and one scale, which an adapter `lora` has, where they have others.
    /// - Returns: the adapter's options.
    /// - Throws: `.shape` where a tensor is not as the config and the module say.
    func unify(_ modules: inout [ModuleTensors], in folder: PEFTFolder) throws -> JSON {
        let options = try matrixOptions(&modules, in: folder).objectValue!
        return .object(options + [(key: "use_dora", value: .bool(hasMagnitudes))])
    }

    /// The options of the two matrices.
    private func matrixOptions(_ modules: inout [ModuleTensors], in folder: PEFTFolder) throws -> JSON {
        for module in modules {
            let rank = rank(of: module.path)
            var expected = [[rank, module.point.inputWidth], [module.point.outputWidth, rank]]
            if hasMagnitudes { expected.append([module.point.outputWidth]) }
            for (tensor, shape) in zip(module.tensors, expected) where tensor.shape != shape {
                throw SeamError(
                    .shape,
                    "\(folder.weightsPath): \(tensor.name) of \"\(module.path)\" must be \(shape) as r and the model say, found \(tensor.shape)"
                )
            }
        }
        guard !ranks.isEmpty || !alphas.isEmpty else {
            return [
                "r": .int(Int64(rank)), "lora_alpha": .double(alpha), "use_rslora": .bool(isRankStabilised),
                "lora_dropout": .double(dropout),
            ]
        }
        let unified = ModuleTensors.unify(&modules, scales: modules.map { scale(of: $0.path) })
        return .object((unified.objectValue ?? []) + [("lora_dropout", .double(dropout))])
    }

    /// The members of a config that are LoRA's own.
    static func members(of adapter: Adapter) throws -> JSON {
        let options = adapter.options.json
        let name = "the options of adapter \"\(adapter.factory.id)\""
        let alpha = try options.requireDouble("lora_alpha", in: name)
        let common: JSON = [
            "bias": "none",
            "init_lora_weights": true,
            // PEFT declares an integer, and takes any number.
            "lora_alpha": Int64(exactly: alpha).map { .int($0) } ?? .double(alpha),
            "lora_dropout": .double(try options.requireDouble("lora_dropout", in: name)),
            "r": .int(Int64(try options.requireInt("r", in: name))),
            "use_rslora": .bool(try options.requireBool("use_rslora", in: name)),
        ]
        // A key that early releases of PEFT do not know.
        guard PEFTMagnitudes.has(adapter) else { return common }
        return .object(common.objectValue! + [(key: "use_dora", value: true)])
    }
}
