import CSeam
import SeamPlugin

/// The multi-prompting decoder (Cheng et al. 2024, arXiv 2406.06279): DecT's idea for the answers to several prompts about
/// each text. What of it was read in the paper and what is inferred, docs/methods/multi-prompting-decoder.md says.
///
/// The hidden states h_1 ... h_P at the answers become directions, v_p = W h_p / ||W h_p||. A class k has prototypes
/// z_k1 ... z_kQ, and its score is how well the P directions can be matched with the Q prototypes, each of which takes an
/// equal share: by the plan of optimal transport,
///
///     score_k = sum_pq T_pq cos(v_p, z_kq),
///     T = argmin sum_pq T_pq (1 - cos(v_p, z_kq)) + epsilon T_pq (log T_pq - 1),   T 1 = 1/P,  T^T 1 = 1/Q
///
/// to which beta times the model's own score is added, calibrated and averaged over the prompts:
///
///     s_k = (s_1k / c_1k + ... + s_Pk / c_Pk) / P,   c_p = s_p,empty / mean(s_p,empty)
///
/// W and z are trained by cross-entropy over the first of the two alone.
final class MultiPromptingDecoder: Adapter {
    private let prompts, classes, count, width: Int
    private let epsilon: Double
    private let iterations: Int
    private let usesScores, usesCalibration: Bool
    /// nil: from the number of examples.
    private let beta: Double?
    /// W [width, d_model].
    private let projection: Parameter
    /// z [classes, prototypes, width].
    private let prototypes: Parameter
    /// c [prompts, classes].
    private let calibration: Parameter
    /// beta [1].
    private let scoreWeight: Parameter

    var parameters: [Parameter] { [projection, prototypes, calibration, scoreWeight] }

    init(options: Options, site: Site) throws(PluginError) {
        let (classes, dModel) = try site.head()
        (prompts, self.classes) = (site.prompts, classes)
        width = try options.int("projection_width")
        count = try options.int("prototypes")
        epsilon = try options.double("epsilon")
        iterations = try options.int("iterations")
        usesScores = try options.bool("model_scores")
        usesCalibration = try options.bool("calibration")
        let weight = try options.double("beta")
        beta = weight == 0 ? nil : weight
        // As torch.nn.Linear starts: Kaiming uniform with a = sqrt 5.
        let bound = 1 / Double(dModel).squareRoot()
        projection = Parameter("projection", [width, dModel], .uniform(from: -bound, to: bound))
        // Of length about 1; the length has no part in the score.
        let deviation = 1 / Double(width).squareRoot()
        prototypes = Parameter("prototypes", [classes, count, width], .normal(mean: 0, deviation: deviation))
        calibration = Parameter("calibration", [prompts, classes], .ones, frozen: true)
        scoreWeight = Parameter("score_weight", [1], .constant(usesScores ? weight == 0 ? 1 : weight : 0), frozen: true)
    }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        let matched = matched(inputs[1], in: context)
        guard usesScores, !context.training else { return [matched] }
        return [matched + (inputs[0] / context[calibration]).mean(1) * context[scoreWeight]]
    }

    /// The transport score of each class [n, classes], for hidden [n, prompts, d_model].
    private func matched(_ hidden: Tensor, in context: Context) -> Tensor {
        let alike = similarities(hidden, in: context)
        return (alike * plan(alike, in: context)).sum(-1).sum(1)
    }

    /// v, of length 1: [n, prompts, d_model] to [n, prompts, width].
    func project(_ hidden: Tensor, in context: Context) -> Tensor { hidden.linear(context[projection]).l2Normalized() }

    /// cos(v_p, z_kq): [n, prompts, classes, prototypes].
    private func similarities(_ hidden: Tensor, in context: Context) -> Tensor {
        let v = project(hidden, in: context)
        let z = context[prototypes].l2Normalized().reshape([classes * count, width])
        return v.linear(z).reshape([hidden.size(0), prompts, classes, count])
    }

    /// T of every text and class, of the shape of the similarities, by Sinkhorn's iterations on its logarithm: adding a
    /// number to a row or a column until it sums to its share is a log-softmax along it.
    ///
    /// It is a constant to the gradient: it is a minimum, so that the derivative of the regularised cost is T times that of
    /// the cost, whatever T's own is (the envelope theorem).
    private func plan(_ alike: Tensor, in context: Context) -> Tensor {
        context.scope {
            // The constants 1 of the cost and 1/P of the shares are the same for all, which a log-softmax does not see.
            var logarithm = alike.stopGradient() * (1 / epsilon)
            for _ in 0..<iterations { logarithm = logarithm.logSoftmax(3).logSoftmax(1) }
            return logarithm.exp() * (1 / Double(count))
        }
    }

    /// T of hidden [n, prompts, d_model]: [n, classes, prompts, prototypes].
    func plan(of hidden: Tensor, in context: Context) -> Tensor {
        guard hidden.shape.count == 3, hidden.size(1) == prompts, hidden.size(2) == projection.shape[1] else {
            return context.fail(
                .shape,
                "plan takes hidden [n, \(prompts), \(projection.shape[1])], found a tensor of rank \(hidden.shape.count)"
            )
        }
        return plan(similarities(hidden, in: context), in: context).permute([0, 2, 1, 3])
    }

    func prototypes(in context: Context) -> Tensor { context[prototypes] }

    // MARK: What starts from the examples

    func prepare(_ examples: Examples, in context: Context) -> [(parameter: Parameter, value: Tensor)] {
        guard usesScores, examples.inputs.count == 2 else { return [] }
        var values: [(parameter: Parameter, value: Tensor)] = []
        if beta == nil {
            values.append((scoreWeight, context.full(Double(classes) / Double(examples.inputs[1].size(0)), [1])))
        }
        if usesCalibration,
            let scale = context.calibration(
                examples.emptyScores, prompts: prompts, classes: classes, of: "the multi-prompting decoder")
        {
            values.append((calibration, scale))
        }
        return values
    }
}

extension MultiPromptingDecoder {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "multi-prompting-decoder",
            summary:
                "Multi-prompting decoder: prototypes matched with the answers to several prompts by optimal transport (Cheng et al. 2024).",
            seams: [Seam.decoderOutput],
            options: [
                .int("projection_width", default: "128", in: 1...65536, "Width of the space of the prototypes."),
                .int("prototypes", default: "3", in: 1...1024, "Prototypes of each class."),
                .double(
                    "epsilon", default: "0.1", in: 0.001...1000,
                    "How even the plan is: 0.001 nearly the cheapest one, 1000 nearly an equal share for each pair."),
                .int("iterations", default: "20", in: 1...10000, "Sinkhorn's iterations."),
                .double(
                    "beta", default: "0", in: 0...1_000_000,
                    "Weight of the model's calibrated scores; 0: one over the examples per class."),
                .bool("model_scores", default: true, "Whether the model's scores count beside the prototypes."),
                .bool(
                    "calibration", default: true,
                    "Whether the model's scores are divided by those of an empty text, where those are known."),
            ],
            methods: [
                .tensor("prototypes", "The prototypes of each class: [classes, prototypes, projection_width].") {
                    MultiPromptingDecoder.call($0, $1) { $0.prototypes(in: $1) }
                },
                .map(
                    "plan",
                    "For hidden states [n, prompts, d_model] the plan of each class: [n, classes, prompts, prototypes]."
                ) { MultiPromptingDecoder.call($0, $1, $2) { $0.plan(of: $1, in: $2) } },
            ],
            prepares: true, readsPrompts: true)
    }
}

private let plugin = Plugin(
    id: "org.seamkit.multi-prompting-decoder", version: "1.0.0", license: "Apache-2.0",
    summary: "Multi-prompting decoder, few-shot classification from several prompts.",
    adapters: [
        AdapterFactory(MultiPromptingDecoder.self) { MultiPromptingDecoder.create($0, $1, $2, $3, $4) }
    ])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
