import SeamPlugin

/// The states of a whole text to the one vector that stands for it (Reimers and Gurevych 2019, section 3).
struct Pooling {
    private enum Kind {
        /// The mean over the tokens.
        case mean
        /// The first token's state.
        case first
        /// Each coordinate's largest value over the tokens.
        case max
        /// BERT's tanh layer over the first token's state.
        case pooler(Linear)
    }

    private let kind: Kind
    private let normalizes: Bool

    static var options: [Option] {
        [
            .string(
                "pooling", default: "\"auto\"", choices: "auto|mean|cls|max|pooler",
                """
                How an encoder-only model makes one vector of a text: the mean over its tokens, the first token (cls), \
                the maximum, or the model's own tanh layer over the first token (pooler); auto: as modules.json in its \
                folder says, or else the mean.
                """),
            .bool("normalize", default: false, "Scale that vector to unit length."),
        ]
    }

    /// Reads the options, and what the folder says where they leave it to that; `auto` is resolved.
    init(_ options: Options, _ config: Options, _ weights: Weights, _ family: Family) throws(PluginError) {
        normalizes = try options.bool("normalize")
        let name = try Self.name(options, config, family)
        kind = try Self.kind(name, weights, family)
    }

    private static func name(_ options: Options, _ config: Options, _ family: Family) throws(PluginError) -> Text {
        let name = try options.string("pooling")
        guard name == "auto" else { return name }
        var found = Text("mean")
        if family.architecture == .encoderOnly {
            let refusal = try config.string("modules.json.refusal", default: "")
            guard refusal == "" else { throw PluginError(.unsupported, "\(refusal)") }
            found = try config.string("modules.json.pooling", default: family.pooling)
        }
        try options.resolve("pooling", to: "\(found)")
        return found
    }

    private static func kind(_ name: Text, _ weights: Weights, _ family: Family) throws(PluginError) -> Kind {
        guard family.architecture == .encoderOnly || name == "mean" else {
            throw PluginError(
                .invalidArgument,
                "the option 'pooling' is '\(name)', but '\(family.name)' is no encoder-only model, which alone pools")
        }
        switch name {
        case "cls": return .first
        case "max": return .max
        case "pooler":
            guard let pooler = family.pooler else {
                throw PluginError(
                    .invalidArgument,
                    "the option 'pooling' is 'pooler', but '\(family.name)' has no tanh layer over the first token; "
                        + "expected auto, mean, cls or max")
            }
            let dense = "\(pooler)"
            guard weights.has(dense + ".weight") else {
                throw PluginError(
                    .notFound, "the option 'pooling' is 'pooler', but the model has no tensor '\(dense).weight'")
            }
            return .pooler(Linear(weights, dense, from: family.dModel, to: family.dModel, bias: true, family))
        default: return .mean
        }
    }

    /// States [batch, n, d_model] with their mask [batch, n] to [batch, d_model].
    func callAsFunction(_ hidden: Tensor, mask: Tensor, in context: Context) -> Tensor {
        let vector = pooled(hidden, mask: mask, in: context)
        return normalizes ? vector.l2Normalized() : vector
    }

    private func pooled(_ hidden: Tensor, mask: Tensor, in context: Context) -> Tensor {
        let (batch, length, width) = (hidden.size(0), hidden.size(1), hidden.size(2))
        switch kind {
        case .mean:
            let weights = mask.cast(to: .f32)
            let sum = weights.reshape([batch, 1, length]).matmul(hidden).reshape([batch, width])
            return sum / weights.sum(1, keep: true)
        case .max:
            return mask.reshape([batch, length, 1]).select(hidden, else: context.full(-1e30, [])).max(1)
        case .first:
            return first(hidden, mask)
        case .pooler(let dense):
            return dense(first(hidden, mask), in: context).tanh()
        }
    }

    /// The state of the first position that the mask shows.
    private func first(_ hidden: Tensor, _ mask: Tensor) -> Tensor {
        let (batch, width) = (hidden.size(0), hidden.size(2))
        let place = mask.cast(to: .f32).argmax(1).reshape([batch, 1, 1]).expand([batch, 1, width])
        return hidden.gather(1, place).reshape([batch, width])
    }
}
