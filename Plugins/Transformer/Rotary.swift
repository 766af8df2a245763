import CMath
import SeamPlugin

/// The rotation of one pass (Su et al. 2021): cosine and sine [batch or 1, positions, head_dim / 2].
struct Rotation {
    let cosine, sine: Tensor

    /// Queries or keys [batch, heads, positions, head_dim], rotated.
    func callAsFunction(_ x: Tensor) -> Tensor { x.rotary(cosine: cosine, sine: sine) }
}

/// Gives the angles of positions, position times frequency, as cosines and sines.
struct Rotary {
    private let frequencies: [Float]

    /// Nil for a family that rotates nothing.
    init?(_ family: Family) {
        guard case .rotary(_, let frequencies) = family.positions else { return nil }
        self.frequencies = frequencies
    }

    /// `angles`: those of a decoding state, which grow with it.
    func callAsFunction(_ places: Places, _ angles: Angles, in context: Context) -> Rotation {
        let (end, width) = (places.start + places.count, frequencies.count)
        angles.extend(to: end, frequencies)
        // Positions that are given count tokens, so they lie below the number of all tokens.
        let rows = (places.given == nil ? places.start : 0)..<end
        func table(_ values: [Float]) -> Tensor {
            let values = Array(values[rows.lowerBound * width..<rows.upperBound * width])
            guard let given = places.given else { return context.constant(values, [1, rows.count, width]) }
            return context.constant(values, [rows.count, width]).embedding(given)
        }
        return Rotation(cosine: table(angles.cosines), sine: table(angles.sines))
    }
}

/// Cosines and sines of the positions that were asked for, row by row. They belong to a decoding state, or to one pass
/// without a state, and not to the model, whose passes may run at the same time.
final class Angles {
    fileprivate private(set) var cosines: [Float] = []
    fileprivate private(set) var sines: [Float] = []

    fileprivate func extend(to count: Int, _ frequencies: [Float]) {
        // In f32, as the models were trained.
        for position in cosines.count / frequencies.count..<max(count, cosines.count / frequencies.count) {
            for frequency in frequencies {
                let angle = Float(position) * frequency
                cosines.append(cosf(angle))
                sines.append(sinf(angle))
            }
        }
    }
}

extension Family {
    /// The frequencies that config.json asks for, in the layout of transformers 5 (`rope_parameters`) or of 4
    /// (`rope_theta`, `rope_scaling`): base^(-2i / head_dim), scaled for longer texts.
    static func rotary(_ config: Options, limit: Int, headDim: Int) throws(PluginError) -> Positions {
        let older = try config.double("rope_theta", default: 10_000)
        let base = try config.double("rope_parameters.rope_theta", default: older)
        guard base > 1, headDim % 2 == 0, try part(config, "rope_parameters.") == 1, try part(config, "") == 1 else {
            throw PluginError(
                .unsupported,
                "config.json: rotary positions need 'rope_theta' above 1, an even head_dim and no "
                    + "'partial_rotary_factor'")
        }
        let plain = (0..<headDim / 2).map { 1 / powf(Float(base), Float(2 * $0) / Float(headDim)) }
        var (group, kind) = ("rope_parameters.", try config.string("rope_parameters.rope_type", default: ""))
        if kind == "" { (group, kind) = ("rope_scaling.", try config.string("rope_scaling.rope_type", default: "")) }
        if kind == "" { kind = try config.string("rope_scaling.type", default: "default") }
        switch kind {
        case "default": return .rotary(limit: limit, frequencies: plain)
        case "linear":
            let factor = Float(try factor(config, group + "factor"))
            return .rotary(limit: limit, frequencies: plain.map { $0 / factor })
        case "llama3":
            let scaling = try LlamaScaling(config, group, limit: limit)
            return .rotary(limit: limit, frequencies: plain.map { scaling($0) })
        case let other:
            throw PluginError(
                .unsupported,
                "config.json: the rotary positions are of the type '\(other)'; expected default, linear or llama3")
        }
    }

    /// How much of each head is rotated.
    private static func part(_ config: Options, _ group: String) throws(PluginError) -> Double {
        try config.double(group + "partial_rotary_factor", default: 1)
    }

    fileprivate static func factor(_ config: Options, _ key: String) throws(PluginError) -> Double {
        let factor = try config.double(key)
        guard factor > 0, factor < 1e6 else {
            throw PluginError(.invalidArgument, "config.json: '\(key)' must be a positive number")
        }
        return factor
    }
}

/// Llama 3.1's scaling: slow frequencies are divided by a factor, fast ones stay, those between are blended.
private struct LlamaScaling {
    private let factor, low, high, length: Float

    init(_ config: Options, _ group: String, limit: Int) throws(PluginError) {
        factor = Float(try Family.factor(config, group + "factor"))
        low = Float(try Family.factor(config, group + "low_freq_factor"))
        high = Float(try Family.factor(config, group + "high_freq_factor"))
        length = Float(try config.size(group + "original_max_position_embeddings", default: limit, most: 1 << 24))
        guard high > low else {
            throw PluginError(
                .invalidArgument, "config.json: '\(group)high_freq_factor' must be above '\(group)low_freq_factor'")
        }
    }

    func callAsFunction(_ frequency: Float) -> Float {
        let wavelength = 2 * Float.pi / frequency
        if wavelength > length / low { return frequency / factor }
        if wavelength < length / high { return frequency }
        let smooth = (length / wavelength - low) / (high - low)
        return (1 - smooth) * frequency / factor + smooth * frequency
    }
}
