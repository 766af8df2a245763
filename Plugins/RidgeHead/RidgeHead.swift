import CSeam
import SeamPlugin

/// A head for few examples: what the model itself says of each class, plus a linear map of its hidden state h,
///
///     score_k = tau (alpha s_k / c_k + w_k . (h - mean))
///
/// s are the model's scores and c those of an empty text over their mean, or 1. W is a ridge regression on what the scores
/// leave open of the right answers (`RidgeChoice`), in closed form. Its penalty, alpha, tau and whether c is used are what
/// gives the right classes the greatest probability where each example is left out in turn: with examples that teach
/// nothing the model's scores alone remain, and without scores that help the linear map alone.
final class RidgeHead: Adapter {
    private let classes, dModel: Int
    private let usesHidden, usesScores, usesCalibration: Bool
    /// tau W [classes, d_model], and -tau W mean [classes].
    private let weight, bias: Parameter
    /// c [1, classes].
    private let calibration: Parameter
    /// tau alpha, in the units of the scores [1].
    private let scoreWeight: Parameter

    var parameters: [Parameter] { [weight, bias, calibration, scoreWeight] }

    convenience init(options: Options, site: Site) throws(PluginError) {
        let head = try site.head()
        let (usesHidden, usesScores) = (try options.bool("hidden"), try options.bool("model_scores"))
        guard usesHidden || usesScores else {
            throw PluginError(.invalidArgument, "one of hidden and model_scores must be true, found false for both")
        }
        self.init(
            classes: head.classes, dModel: head.dModel, usesHidden: usesHidden, usesScores: usesScores,
            usesCalibration: try options.bool("calibration"))
    }

    private init(classes: Int, dModel: Int, usesHidden: Bool, usesScores: Bool, usesCalibration: Bool) {
        (self.classes, self.dModel) = (classes, dModel)
        (self.usesHidden, self.usesScores, self.usesCalibration) = (usesHidden, usesScores, usesCalibration)
        weight = Parameter("weight", [classes, dModel], .zeros, frozen: true)
        bias = Parameter("bias", [classes], .zeros, frozen: true)
        calibration = Parameter("calibration", [1, classes], .ones, frozen: true)
        scoreWeight = Parameter("score_weight", [1], .constant(usesScores ? 1 : 0), frozen: true)
    }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        let own = inputs[0] / context[calibration] * context[scoreWeight]
        return [usesHidden ? own + inputs[1].linear(context[weight], context[bias]) : own]
    }

    func prepare(_ examples: Examples, in context: Context) -> [(parameter: Parameter, value: Tensor)] {
        guard let labels = examples.labels?.cast(to: .f32).floats(), examples.inputs.count == 2 else {
            _ = context.fail(.invalidArgument, "the ridge head starts from labelled examples, and there are no labels")
            return []
        }
        if labels.isEmpty {
            _ = context.fail(.invalidArgument, "the ridge head starts from labelled examples, and there are none")
            return []
        }
        if let wrong = labels.firstIndex(where: { $0 < 0 || $0 >= Float(classes) }) {
            _ = context.fail(
                .invalidArgument,
                "the label of example \(wrong) must be 0 ... \(classes - 1), found \(Int(labels[wrong]))")
            return []
        }
        guard let scores = examples.inputs[0].floats(), let hidden = examples.inputs[1].floats() else { return [] }
        guard scores.count == labels.count * classes, hidden.count == labels.count * dModel else {
            _ = context.fail(
                .shape,
                "the ridge head needs scores, hidden states and a label of each example, found \(labels.count) labels")
            return []
        }
        guard
            let choice = RidgeChoice(
                scores: usesScores ? scores : nil, hidden: usesHidden ? hidden : nil, labels: labels.map { Int($0) },
                classes: classes, width: dModel, calibrations: calibrations(examples.emptyScores))
        else {
            _ = context.fail(
                .numeric, "the ridge head finds no weights for these hidden states: they are too large for f64")
            return []
        }
        return [
            (weight, context.constant(choice.weight, [classes, dModel])),
            (bias, context.constant(choice.bias, [classes])),
            (calibration, context.constant(choice.calibration, [1, classes])),
            (scoreWeight, context.constant([choice.scoreWeight], [1])),
        ]
    }

    /// What the scores may be divided by: those of an empty text over their mean, where they are known and nothing would
    /// be divided by 0, and 1.
    private func calibrations(_ emptyScores: Tensor?) -> [[Double]] {
        let ones = [Double](repeating: 1, count: classes)
        guard usesScores, usesCalibration, let scores = emptyScores?.floats() else { return [ones] }
        let mean = scores.reduce(0) { $0 + Double($1) } / Double(classes)
        guard mean != 0, scores.allSatisfy({ $0 != 0 && $0.isFinite }) else { return [ones] }
        // As the saved parameter has it.
        return [scores.map { Double(Float(Double($0) / mean)) }, ones]
    }
}

extension RidgeHead {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "ridge-head",
            summary:
                "Ridge head: the model's scores plus a linear map of the hidden state, weighed by leaving out each example in turn.",
            seams: [Seam.decoderOutput],
            options: [
                .bool("hidden", default: true, "Whether the hidden state counts; false: the model's scores alone."),
                .bool(
                    "model_scores", default: true, "Whether the model's scores count; false: the hidden state alone."),
                .bool(
                    "calibration", default: true,
                    "Whether the model's scores may be divided by those of an empty text, where that helps."),
            ],
            prepares: true)
    }
}

private let plugin = Plugin(
    id: "org.seamkit.ridge-head", version: "1.0.0", license: "Apache-2.0",
    summary: "Ridge head, a classifier for few examples.",
    adapters: [AdapterFactory(RidgeHead.self) { RidgeHead.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
