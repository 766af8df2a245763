import SeamPlugin

/// The states of a whole text to the one vector that stands for it (Reimers and Gurevych 2019, section 3).
enum Pooling {
    /// The mean over the tokens.
    case mean
    /// The first token's state.
    case first
    /// Each coordinate's largest value over the tokens.
    case max
    /// BERT's tanh layer over the first token's state.
    case pooler(Linear)

    static var option: Option {
        .string(
            "pooling", default: "\"mean\"", choices: "mean|cls|max|pooler",
            """
            How an encoder-only model makes one vector of a text: the mean over its tokens, the first token (cls), the \
            maximum, or the model's own tanh layer over the first token (pooler).
            """
        )
    }

    init(_ name: Text, _ weights: Weights, _ family: Family) throws(PluginError) {
        guard family.architecture == .encoderOnly || name == "mean" else {
            throw PluginError(
                .invalidArgument,
                "the option 'pooling' is '\(name)', but '\(family.name)' is no encoder-only model, which alone pools")
        }
        switch name {
        case "cls": self = .first
        case "max": self = .max
        case "pooler":
            let dense = family.pooler.map { "\($0)" } ?? ""
            guard weights.has(dense + ".weight") else {
                throw PluginError(
                    .notFound, "the option 'pooling' is 'pooler', but the model has no tensor '\(dense).weight'")
            }
            self = .pooler(Linear(weights, dense, from: family.dModel, to: family.dModel, bias: true, family))
        default: self = .mean
        }
    }

    /// States [batch, n, d_model] with their mask [batch, n] to [batch, d_model].
    func callAsFunction(_ hidden: Tensor, mask: Tensor, in context: Context) -> Tensor {
        let (batch, length, width) = (hidden.size(0), hidden.size(1), hidden.size(2))
        switch self {
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
