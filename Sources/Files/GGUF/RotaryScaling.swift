import Glibc
import Support

/// The stretching of rotary position embeddings for longer contexts: as GGUF files tell it, and as config.json does.
enum RotaryScaling {
    /// The tensor of factors by which the frequencies are divided; no weight of the model.
    static let factorsName = "rope_freqs.weight"

    /// The value of "rope_scaling" in config.json; nil where there is no stretching.
    ///
    /// Throws `SeamError(.unsupported)` for stretching that config.json cannot tell in this reader's terms: other than
    /// linear and that of Llama 3.
    static func config(_ file: GGUFFile, base: Double, headDim: Int) throws -> JSON? {
        let type = try file.string("llama.rope.scaling.type") ?? "linear"
        let factor = try file.double("llama.rope.scaling.factor") ?? file.double("llama.rope.scale_linear") ?? 0
        let isStretched = type != "none" && factor != 0 && factor != 1
        let factors = try factors(file, headDim)
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
        guard type == "linear", factor > 0 else {
            throw SeamError(
                .unsupported,
                "\(file.path): rotary scaling of type \"\(type)\" by \(factor) is not supported; linear"
                    + " scaling and that of Llama 3 are")
        }
        return ["rope_type": "linear", "factor": .double(factor)]
    }

    private static func factors(_ file: GGUFFile, _ headDim: Int) throws -> [Float]? {
        guard let tensor = file.tensors.first(where: { $0.name == factorsName }) else { return nil }
        guard tensor.type == .f32, tensor.shape == [headDim / 2] else {
            throw SeamError(
                .format,
                "\(file.path): tensor \"\(factorsName)\" must be F32 [\(headDim / 2)], found"
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
