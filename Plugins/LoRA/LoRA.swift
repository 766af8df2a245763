import CSeam
import SeamPlugin

/// LoRA (Hu et al. 2021, arXiv 2106.09685): matrices of the layers stay as they are, and a product of two narrow ones
/// is learned beside each. A projection y = W x + b becomes, by the paper's equation 3,
///
///     h = W x + b + s B A x,     A [r, in],  B [out, r],  s = alpha / r
///
/// B starts as zeros, so that h is y at first. With `use_rslora` s = alpha / sqrt r, which keeps the size of the update
/// where r grows (Kalajdzievski 2023, arXiv 2312.03732). Names and values at the start are PEFT's.
///
/// With `lora_dropout` B A x has elements of x left out in training, as in PEFT.
///
/// The update is linear in x and can be added to the matrix: W + s B A.
///
/// With `use_dora` the sum's rows get lengths of their own (Liu et al. 2024, arXiv 2402.09353, equation 5),
///
///     h = m ⊙ (V / ||V||) x + b,     V = W + s B A,  ||V|| [out, 1] the lengths of its rows,  m = ||W|| + d,  d [out]
///
/// The paper learns m, which starts as ||W||. An adapter is made without the weights, so d is learned here, from zeros: its
/// gradient is that of m. ||V|| counts as a constant in the gradient (the paper's section 4.3), as in PEFT.
final class LoRA: Adapter {
    /// A, B and, of DoRA, d of one point.
    private typealias Update = (a: Parameter, b: Parameter, magnitude: Parameter?)

    private let updates: [Update]
    private let scale: Double
    private let dropout: Double

    var parameters: [Parameter] { updates.flatMap { [$0.a, $0.b] + ($0.magnitude.map { [$0] } ?? []) } }

    convenience init(options: Options, site: Site) throws(PluginError) {
        let (rank, alpha) = (try options.int("r"), try options.double("lora_alpha"))
        let divisor = try options.bool("use_rslora") ? Double(rank).squareRoot() : Double(rank)
        let dropout = try options.double("lora_dropout")
        guard dropout < 1 else {
            throw PluginError(
                .invalidArgument,
                "'lora_dropout' is 1, which leaves out everything, so nothing is learned: expected less")
        }
        self.init(
            site.points, rank: rank, scale: alpha / divisor, dropout: dropout,
            hasMagnitudes: try options.bool("use_dora"))
    }

    private init(_ points: [Point], rank: Int, scale: Double, dropout: Double, hasMagnitudes: Bool) {
        updates = points.enumerated().map { index, point in
            // As torch.nn.Linear starts: Kaiming uniform with a = sqrt 5.
            let bound = 1 / Double(point.inputWidth).squareRoot()
            let a = Parameter(
                "lora_A.weight", [rank, point.inputWidth], .uniform(from: -bound, to: bound), point: index)
            let b = Parameter("lora_B.weight", [point.outputWidth, rank], .zeros, point: index)
            let magnitude = Parameter("lora_magnitude_change", [point.outputWidth], .zeros, point: index)
            return (a, b, hasMagnitudes ? magnitude : nil)
        }
        (self.scale, self.dropout) = (scale, dropout)
    }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        let (y, update) = (inputs[3], updates[context.point])
        let drops = dropout > 0 && context.training
        let x = drops ? inputs[0].dropout(dropout) : inputs[0]
        guard let magnitude = update.magnitude else {
            return [y.linearLowRank(x, context[update.a], context[update.b], scale: scale)]
        }
        let factor = self.factor(magnitude, of: inputs[1], in: context)
        // Of a model in half precision it is no operand of a sum as it is.
        let bias = inputs[2].isNull ? inputs[2] : inputs[2].cast(to: .f32)
        guard !drops else {
            // What DoRA adds to W x + b is of the x that is left, as in PEFT: (m / ||V|| - 1) W x + m / ||V|| s B A x.
            let product = x.linear(inputs[1])
            let changed = product.linearLowRank(x, context[update.a], context[update.b], scale: scale) * factor
            return [y + (changed - product)]
        }
        let product = bias.isNull ? y : y - bias
        let changed = product.linearLowRank(x, context[update.a], context[update.b], scale: scale) * factor
        return [bias.isNull ? changed : changed + bias]
    }

    /// W + s B A at the context's point, a constant of the gradient.
    private func sum(_ weight: Tensor, in context: Context) -> Tensor {
        let update = updates[context.point]
        let product = context[update.b].stopGradient().matmul(context[update.a].stopGradient())
        return weight.cast(to: .f32).stopGradient() + product * scale
    }

    /// m / ||V||, [out].
    private func factor(_ magnitude: Parameter, of weight: Tensor, in context: Context) -> Tensor {
        let own = context.scope { weight.cast(to: .f32).stopGradient().square().sum(-1).sqrt() }
        let changed = context.scope { sum(weight, in: context).square().sum(-1).sqrt() }
        // A row of zeros has no direction, and stays one.
        return (own + context[magnitude]) / changed.maximum(context.full(1e-30, [1]))
    }

    func foldWeight(_ weight: Tensor, bias: Tensor?, in context: Context) -> (weight: Tensor, bias: Tensor?) {
        let sum = sum(weight, in: context)
        guard let magnitude = updates[context.point].magnitude else { return (sum, nil) }
        let factor = factor(magnitude, of: weight, in: context)
        return (sum * factor.reshape([factor.size(0), 1]), nil)
    }
}

extension LoRA {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "lora",
            summary: "LoRA: low-rank updates of the matrices of the layers (Hu et al. 2021).",
            seams: [Seam.projection],
            options: [
                .int("r", default: "8", in: 1...65536, "Rank of each update."),
                .double(
                    "lora_alpha", default: "8.0", in: 0...1_000_000,
                    "Weight of the updates: they are multiplied by lora_alpha / r."),
                .double(
                    "lora_dropout", default: "0.0", in: 0...1,
                    "Probability of leaving out an element of what enters an update, in training."),
                .bool("use_rslora", default: false, "Multiply by lora_alpha / sqrt(r) instead."),
                .bool("use_dora", default: false, "Rows of the changed matrix get lengths of their own (DoRA)."),
            ],
            defaultTargets: "q|v|qkv", foldsWeight: true)
    }
}

private let plugin = Plugin(
    id: "org.seamkit.lora", version: "1.0.0", license: "Apache-2.0",
    summary: "LoRA, low-rank updates of the matrices of the layers.",
    adapters: [AdapterFactory(LoRA.self) { LoRA.create($0, $1, $2, $3, $4) }],
    requirements: Requirements(operations: ["linear_low_rank", "dropout"]))

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
