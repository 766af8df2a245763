import CSeam
import SeamPlugin

/// DecT, decoder tuning (Cui et al., ACL 2023): a small decoder over what a frozen backbone says of each example,
/// which is asked once. Of the hidden state h at the answer it keeps a direction,
///
///     v = W h / ||W h||
///
/// and scores class k by how far v lies from the class's prototype z_k, outside a learned radius r_k, together with
/// the backbone's own calibrated score of the class:
///
///     score_k = -(||v - z_k|| - lambda s_k / c_k - r_k),     c = s_empty / mean(s_empty)
///
/// Only W and r are trained, by cross-entropy over the classes. The prototypes stay what they were drawn as, and the
/// radii start at the mean distance of a class's projected examples from their mean (see `prepare`).
///
/// ||v - z||^2 is computed as ||z||^2 - 2 v.z + ||v||^2, a matrix product, and not from v - z, which would be a tensor
/// [examples, classes, width] of several gigabytes for a large data set.
final class DecT: Adapter {
    /// This number below the square root of a distance keeps its gradient finite where two vectors coincide. It is
    /// less than f32 resolves of a squared distance of about 1, the usual size.
    private static let smallestSquare = 1e-12

    private let classes: Int
    private let usesCalibration: Bool
    private let usesScores: Bool
    /// nil: from the number of examples.
    private let lambda: Double?
    /// W [width, d_model].
    private let projection: Parameter
    /// z [classes, width].
    private let prototypes: Parameter
    /// r [classes]; nil: no radii.
    private let radii: Parameter?
    /// c [1, classes].
    private let calibration: Parameter
    /// lambda [1].
    private let modelWeight: Parameter

    var parameters: [Parameter] { [projection, prototypes] + (radii.map { [$0] } ?? []) + [calibration, modelWeight] }

    init(options: Options, site: Site) throws(PluginError) {
        let (classes, dModel) = try site.head()
        self.classes = classes
        usesCalibration = try options.bool("calibration")
        usesScores = try options.bool("model_scores")
        let weight = try options.double("lambda")
        lambda = weight == 0 ? nil : weight
        let width = try options.int("projection_width")
        // As torch.nn.Linear starts: Kaiming uniform with a = sqrt 5.
        let bound = 1 / Double(dModel).squareRoot()
        projection = Parameter("projection", [width, dModel], .uniform(from: -bound, to: bound))
        prototypes = Parameter(
            "prototypes", [classes, width], .xavierUniform(gain: 1), frozen: !(try options.bool("train_prototypes")))
        radii = try options.bool("radii") ? Parameter("radii", [classes], .zeros) : nil
        calibration = Parameter("calibration", [1, classes], .ones, frozen: true)
        modelWeight = Parameter("model_weight", [1], .constant(usesScores ? weight == 0 ? 1 : weight : 0), frozen: true)
    }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        let (scores, hidden) = (inputs[0], inputs[1])
        let apart = distances(hidden, in: context)
        let near = if let radii { context[radii] - apart } else { -apart }
        return [usesScores ? near + scores * (context[modelWeight] / context[calibration]) : near]
    }

    /// v, of length 1: [n, d_model] to [n, width].
    func project(_ hidden: Tensor, in context: Context) -> Tensor { hidden.linear(context[projection]).l2Normalized() }

    /// ||v - z_k|| of every example and class: [n, classes].
    private func distances(_ hidden: Tensor, in context: Context) -> Tensor {
        let (v, z) = (project(hidden, in: context), context[prototypes])
        let apart = v.linear(z * -2, z.square().sum(-1))
        // The length of v is 1, but 0 for a state that W maps to 0; it does not change with W, so it has no gradient.
        let squares = apart + v.stopGradient().square().sum(-1, keep: true)
        return (squares.relu() + Self.smallestSquare).sqrt()
    }

    /// The learned radii, zeros where there are none: [classes].
    func radii(in context: Context) -> Tensor { radii.map { context[$0] } ?? context.full(0, [classes]) }

    func prototypes(in context: Context) -> Tensor { context[prototypes] }
}

// MARK: - What starts from the examples

extension DecT {
    func prepare(_ examples: Examples, in context: Context) -> [(parameter: Parameter, value: Tensor)] {
        guard let labels = examples.labels, examples.inputs.count == 2 else {
            _ = context.fail(.invalidArgument, "DecT starts from labelled examples, and there are no labels")
            return []
        }
        let hidden = examples.inputs[1]
        var values: [(parameter: Parameter, value: Tensor)] = []
        // [n, classes]: 1 where an example is of a class.
        let membership = context.constant(identity(classes), [classes, classes]).embedding(labels)
        let counts = membership.sum(0)
        guard let sizes = counts.floats() else { return [] }
        if let empty = sizes.firstIndex(of: 0) {
            _ = context.fail(.invalidArgument, "DecT needs an example of every class, and class \(empty) has none")
            return []
        }
        if let radii {
            // Before W h is scaled to length 1, as the authors' code has it.
            let projected = hidden.linear(context[projection])
            let sums = membership.matmul(projected, transposed: true)
            let means = sums / counts.reshape([classes, 1])
            let away = context.scope { (projected - means.embedding(labels)).square().sum(-1, keep: true).sqrt() }
            values.append((radii, membership.matmul(away, transposed: true).reshape([classes]) / counts))
        }
        if usesScores && lambda == nil {
            values.append((modelWeight, context.full(Double(classes) / Double(hidden.size(0)), [1])))
        }
        if usesScores && usesCalibration,
            let scale = context.calibration(examples.emptyScores, prompts: 1, classes: classes, of: "DecT")
        {
            values.append((calibration, scale))
        }
        return values
    }

    private func identity(_ size: Int) -> [Float] {
        var values = [Float](repeating: 0, count: size * size)
        for index in 0..<size { values[index * size + index] = 1 }
        return values
    }
}
