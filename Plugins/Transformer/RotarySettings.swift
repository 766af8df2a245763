import CMath
import SeamPlugin

/// What config.json says of rotary positions, in the layout of transformers 5 (`rope_parameters`) or of 4 (`rope_theta`,
/// `rope_scaling`).
struct RotarySettings {
    let config: Options
    /// Longest sequence.
    let limit: Int
    let headDim: Int
    /// What the family takes where the file is silent, and how the layout of transformers 4 calls it.
    var base = 10_000.0
    var baseKey = "rope_theta"
    /// The part of each head that is rotated; nil: a family that rotates whole heads.
    var part: Double?
    var partKey = "partial_rotary_factor"
    /// Inside `rope_parameters`, for families whose layers have different ones: "full_attention.".
    var layers = ""
    /// Where the layout of transformers 4 has the scaling; nil: for layers that it is not about.
    var olderScaling: String? = "rope_scaling."
    /// The tokens that a model was trained with, where the file does not say it, in a family that reads them beside the
    /// scaling alone; nil: the longest sequence.
    var usualOriginalLength: Int?
    /// What else the family's files call the type longrope.
    var longropeNames: [StaticString] = []

    init(_ config: Options, limit: Int, headDim: Int) {
        (self.config, self.limit, self.headDim) = (config, limit, headDim)
    }

    private var own: String { "rope_parameters." + layers }

    /// base^(-2i / rotated numbers) for each pair i, scaled for longer texts as the file asks for.
    func positions() throws(PluginError) -> RotaryPositions {
        // transformers takes the older one whole, with its own defaults, and forgets the other.
        if let older = try config.count("rope_scaling"), let own = try config.count("rope_parameters"), older > 0,
            own > 0
        {
            throw PluginError(
                .unsupported,
                "config.json: there are both 'rope_scaling' and 'rope_parameters'; expected one of them: put what the first "
                    + "says into the second")
        }
        let (base, rotated) = (try givenBase(), try rotatedNumbers())
        guard base > 1, rotated > 0, rotated <= headDim, rotated % 2 == 0 else {
            throw PluginError(
                .unsupported,
                "config.json: rotary positions need '\(baseKey)' above 1, an even head_dim and "
                    + (part == nil
                        ? "no 'partial_rotary_factor'" : "an even part of it, by '\(partKey)', that is rotated"))
        }
        let plain = RotaryPositions.frequencies(base: Float(base), count: rotated / 2)
        let (group, kind) = try scaling()
        switch kind {
        case "default": return RotaryPositions(limit: limit, frequencies: plain)
        case "linear":
            let factor = Float(try factor(group + "factor"))
            return RotaryPositions(limit: limit, frequencies: plain.map { $0 / factor })
        case "llama3":
            let scaling = try LlamaScaling(self, group)
            return RotaryPositions(limit: limit, frequencies: plain.map { scaling($0) })
        case "dynamic":
            let factor = try factor(group + "factor")
            guard rotated > 2 else {
                throw PluginError(
                    .unsupported,
                    "config.json: rotary positions of the type 'dynamic' need heads of more than 2 numbers")
            }
            return RotaryPositions(
                limit: longest(factor, of: limit), frequencies: plain,
                longer: .growing(base: Float(base), factor: Float(factor), length: limit))
        case "yarn": return try yarn(group, plain, base: base)
        case "longrope": return try longrope(group, base: base, count: rotated / 2)
        case let other:
            throw PluginError(
                .unsupported,
                "config.json: the rotary positions are of the type '\(other)'; expected default, linear, llama3, "
                    + "dynamic, yarn or longrope")
        }
    }

    /// Those of layers with a window, which no length of a text changes.
    func localFrequencies() throws(PluginError) -> [Float] {
        let local = try positions()
        guard local.scale == 1, local.longer == nil else {
            throw PluginError(
                .unsupported,
                "config.json: the rotary positions of 'sliding_attention' depend on the text's length or scale its "
                    + "scores; expected the type default, linear or llama3")
        }
        return local.frequencies
    }

    private func givenBase() throws(PluginError) -> Double {
        let outer = try config.double(baseKey, default: base)
        return try config.double(own + "rope_theta", default: outer)
    }

    /// How many numbers of a head are rotated; 0 for a part that the family cannot rotate.
    private func rotatedNumbers() throws(PluginError) -> Int {
        let inner = own + "partial_rotary_factor"
        guard let part else {
            let parts = (try config.double(inner, default: 1), try config.double("partial_rotary_factor", default: 1))
            return parts == (1, 1) ? headDim : 0
        }
        let outer = try config.double(partKey, default: part)
        let share = try config.double(inner, default: outer)
        return share > 0 && share <= 1 ? Int(Double(headDim) * share) : 0
    }

    /// Where the scaling stands, and its type.
    private func scaling() throws(PluginError) -> (group: String, kind: Text) {
        for group in [own, olderScaling ?? own] {
            for key in ["rope_type", "type"] {
                let kind = try config.string(group + key, default: "")
                if kind == "" { continue }
                return (group, longropeNames.contains { kind == $0 } ? Text("longrope") : kind)
            }
        }
        return (own, Text("default"))
    }

    /// The tokens that a model was trained with.
    fileprivate func originalLength(_ group: String) throws(PluginError) -> Int {
        let key = "original_max_position_embeddings"
        if let usualOriginalLength { return try config.size(key, default: usualOriginalLength, most: 1 << 24) }
        let inner = try config.size(group + key, default: limit, most: 1 << 24)
        return try config.size(key, default: inner, most: 1 << 24)
    }

    fileprivate func factor(_ key: String) throws(PluginError) -> Double {
        let factor = try config.double(key)
        guard factor > 0, factor < 1e6 else {
            throw PluginError(.invalidArgument, "config.json: '\(key)' must be a positive number")
        }
        return factor
    }

    /// The longest text of a model whose `length` tokens a scaling stretches; a file that was made for that has it already.
    private func longest(_ factor: Double, of length: Int) -> Int {
        max(limit, Int(min(factor * Double(length), Double(1 << 24))))
    }

    // MARK: Types

    /// YaRN (Peng et al. 2023, section 3.2): fast pairs stay, slow ones are divided by the factor, and those between are
    /// blended along their index, as transformers does it.
    private func yarn(_ group: String, _ plain: [Float], base: Double) throws(PluginError) -> RotaryPositions {
        let factor = try factor(group + "factor")
        let (length, count) = (Double(try originalLength(group)), plain.count)
        let isTruncated = try config.bool(group + "truncate", default: true)
        func edge(_ key: String, _ value: Double) throws(PluginError) -> Double {
            let given = try config.double(group + key, default: value)
            let turns = given == 0 ? value : given
            guard turns > 0 else {
                throw PluginError(.invalidArgument, "config.json: '\(group)\(key)' must be a positive number")
            }
            return Double(2 * count) * log(length / (turns * 2 * Double.pi)) / (2 * log(base))
        }
        var (low, high) = (try edge("beta_fast", 32), try edge("beta_slow", 1))
        if isTruncated { (low, high) = (floor(low), ceil(high)) }
        (low, high) = (max(low, 0), min(high, Double(2 * count - 1)))
        if low == high { high += 0.001 }
        let frequencies = (0..<count).map { index in
            let ramp = Float(min(max((Double(index) - low) / (high - low), 0), 1))
            return plain[index] / Float(factor) * ramp + plain[index] * (1 - ramp)
        }
        return RotaryPositions(
            limit: longest(factor, of: Int(length)), frequencies: frequencies,
            scale: Float(try yarnScale(group, factor)))
    }

    /// 0.1 ln(factor) + 1 (Peng et al. 2023, equation 22), unless the file has another.
    private func yarnScale(_ group: String, _ factor: Double) throws(PluginError) -> Double {
        let given = try config.double(group + "attention_factor", default: -1)
        if given >= 0 { return given }
        func scale(_ weight: Double) -> Double { factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1 }
        let weights = (
            try config.double(group + "mscale", default: 0), try config.double(group + "mscale_all_dim", default: 0)
        )
        return weights.0 != 0 && weights.1 != 0 ? scale(weights.0) / scale(weights.1) : scale(1)
    }

    /// LongRoPE (Ding et al. 2024): a divisor for each pair, others for texts longer than those of the training.
    private func longrope(_ group: String, base: Double, count: Int) throws(PluginError) -> RotaryPositions {
        let length = try originalLength(group)
        func frequencies(_ key: String) throws(PluginError) -> [Float] {
            let found = try config.count(group + key) ?? 0
            guard found == count else {
                throw PluginError(
                    .invalidArgument,
                    "config.json: '\(group)\(key)' has \(found) numbers; expected \(count), one for each pair that is "
                        + "rotated")
            }
            var frequencies: [Float] = []
            for index in 0..<count {
                let divisor = Float(try factor("\(group)\(key).\(index)"))
                frequencies.append(1 / (divisor * powf(Float(base), Float(2 * index) / Float(2 * count))))
            }
            return frequencies
        }
        let ratio = try config.double(group + "factor", default: Double(limit) / Double(length))
        let inferred = ratio <= 1 ? 1 : sqrt(1 + log(ratio) / log(Double(length)))
        return RotaryPositions(
            limit: limit, frequencies: try frequencies("short_factor"),
            scale: Float(try config.double(group + "attention_factor", default: inferred)),
            longer: .other(frequencies: try frequencies("long_factor"), length: length))
    }
}

/// Llama 3.1's scaling: slow frequencies are divided by a factor, fast ones stay, those between are blended.
private struct LlamaScaling {
    private let factor, low, high, length: Float

    init(_ settings: RotarySettings, _ group: String) throws(PluginError) {
        factor = Float(try settings.factor(group + "factor"))
        low = Float(try settings.factor(group + "low_freq_factor"))
        high = Float(try settings.factor(group + "high_freq_factor"))
        length = Float(try settings.originalLength(group))
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
