import Glibc
import Support

/// The stretching of rotary position embeddings for longer contexts: as GGUF files tell it, and as config.json does.
enum RotaryScaling {
    /// The tensor of factors by which the frequencies are divided; no weight of the model.
    private static let factorsName = "rope_freqs.weight"
    private static let longName = "rope_factors_long.weight"
    private static let shortName = "rope_factors_short.weight"
    static let factorNames = [factorsName, longName, shortName]

    /// The value of "rope_scaling" in config.json; nil where there is no stretching.
    ///
    /// Throws `SeamError(.unsupported)` for stretching that config.json cannot tell in this reader's terms: other than
    /// linear, YaRN and that of Llama 3.
    static func config(_ settings: GGUFSettings, base: Double) throws -> JSON? {
        let (file, headDim) = (settings.file, settings.headDim)
        try refuse([longName, shortName], in: settings)
        let type = try file.string(settings.key("rope.scaling.type")) ?? "linear"
        let factor = try settings.double("rope.scaling.factor") ?? settings.double("rope.scale_linear") ?? 0
        let isStretched = type != "none" && factor != 0 && factor != 1
        let factors = try factors(file, factorsName, headDim / 2)
        if let factors, factors.contains(where: { $0 != 1 }) {
            guard !isStretched, let config = llama3(factors, base: base, headDim: headDim) else {
                throw SeamError(
                    .unsupported,
                    "\(file.path): the factors in \"\(factorsName)\" are not those of Llama 3, the only"
                        + " ones that are supported")
            }
            return config
        }
        guard isStretched else { return nil }
        guard ["linear", "yarn"].contains(type), factor > 0 else {
            throw SeamError(
                .unsupported,
                "\(file.path): rotary scaling of type \"\(type)\" by \(factor) is not supported; linear"
                    + " scaling, YaRN and that of Llama 3 are")
        }
        return .object(
            [("rope_type", .string(type)), ("factor", .double(factor))] + (type == "yarn" ? try yarn(settings) : []))
    }

    /// What llama.cpp and transformers take where they are not told is the same.
    private static func yarn(_ settings: GGUFSettings) throws -> [(key: String, value: JSON)] {
        var members: [(key: String, value: JSON)] = []
        if let length = try settings.integer("rope.scaling.original_context_length") {
            members.append(("original_max_position_embeddings", .int(Int64(length))))
        }
        for name in ["beta_fast", "beta_slow"] {
            if let value = try settings.double("rope.scaling.yarn_\(name)") { members.append((name, .double(value))) }
        }
        return members
    }

    /// "rope_scaling" of two lists of factors, for texts up to the length of the training and for longer ones (LongRoPE);
    /// nil where the file has none.
    /// - Parameter count: of the factors in each.
    static func long(_ settings: GGUFSettings, count: Int) throws -> JSON? {
        let file = settings.file
        try refuse([factorsName], in: settings)
        let lists = try [("short_factor", shortName), ("long_factor", longName)].map { key, name in
            (key: key, value: try factors(file, name, count))
        }
        let type = try file.string(settings.key("rope.scaling.type")) ?? "longrope"
        guard ["none", "longrope"].contains(type), try settings.double("rope.scaling.factor") ?? 1 == 1 else {
            throw SeamError(
                .unsupported,
                "\(file.path): rotary scaling of type \"\(type)\" is not supported; longrope is")
        }
        guard lists.contains(where: { $0.value != nil }) else {
            guard try settings.double("rope.scaling.attn_factor") ?? 1 == 1 else {
                throw SeamError(
                    .unsupported,
                    "\(file.path): \"\(settings.key("rope.scaling.attn_factor"))\" goes with \"\(shortName)\" and"
                        + " \"\(longName)\", which the file has not")
            }
            return nil
        }
        var members: [(key: String, value: JSON)] = [("rope_type", "longrope")]
        for (key, list) in lists {
            guard let list else {
                throw SeamError(
                    .format, "\(file.path) must have both \"\(shortName)\" and \"\(longName)\", or neither")
            }
            members.append((key, .array(list.map { .double(Double("\($0)") ?? Double($0)) })))
        }
        if let factor = try settings.double("rope.scaling.attn_factor") {
            members.append(("attention_factor", .double(factor)))
        }
        return .object(members)
    }

    /// Factors that the architecture does not use would be left out in silence.
    private static func refuse(_ names: [String], in settings: GGUFSettings) throws {
        guard let name = names.first(where: settings.has) else { return }
        throw SeamError(.unsupported, "\(settings.file.path): tensor \"\(name)\" is not supported for such models")
    }

    private static func factors(_ file: GGUFFile, _ name: String, _ count: Int) throws -> [Float]? {
        guard let tensor = file.tensors.first(where: { $0.name == name }) else { return nil }
        guard tensor.type == .f32, tensor.shape == [count] else {
            throw SeamError(
                .format,
                "\(file.path): tensor \"\(name)\" must be F32 [\(count)], found"
                    + " \(tensor.type.name) \(tensor.shape)")
        }
        return file.file.withBytes { bytes in
            stride(from: tensor.range.lowerBound, to: tensor.range.upperBound, by: 4).map {
                bytes.loadUnaligned(fromByteOffset: $0, as: Float.self)
            }
        }
    }

    /// The settings of Llama 3 that give these factors; nil if none do. The file tells the factors only. All published
    /// models have the two frequency factors and the original context that transformers' documentation gives, so that
    /// only the largest factor is to be found; f32 rounding bounds the agreement.
    private static func llama3(_ factors: [Float], base: Double, headDim: Int) -> JSON? {
        let (low, high, context) = (1.0, 4.0, 8192.0)
        guard let largest = factors.max(), largest > 1, largest.isFinite else { return nil }
        let factor = Double(largest)
        for (index, found) in factors.enumerated() {
            let wavelength = 2 * Double.pi * pow(base, 2 * Double(index) / Double(headDim))
            let smooth = min(1, max(0, (context / wavelength - low) / (high - low)))
            let expected = 1 / ((1 - smooth) / factor + smooth)
            guard abs(Double(found) - expected) <= 1e-4 * expected else { return nil }
        }
        return [
            "rope_type": "llama3", "factor": .double(factor), "low_freq_factor": .double(low),
            "high_freq_factor": .double(high), "original_max_position_embeddings": .int(Int64(context)),
        ]
    }
}
