import CSeam
import SeamPlugin

/// Batch calibration (Zhou et al. 2023, arXiv 2309.17249): a model that is asked for one of a few words prefers some of
/// them whatever the text. That preference is its mean over texts x_1 ... x_m, and it is taken off,
///
///     score_k = log p(k | x) - gamma log q_k,     q_k = (p(k | x_1) + ... + p(k | x_m)) / m
///
/// Nothing is trained: p are the scores that enter, made to sum to 1 over the classes, and the texts are the examples
/// that it is fitted to. gamma is 1 (section 3.3) or, with `search_gamma`, what gets most of the labelled examples
/// right (the paper's BCL).
///
/// The paper's texts are those that are asked about, so that an answer depends on what else is asked. Here it does not.
final class BatchCalibration: Adapter {
    /// What is searched for gamma, in tenths.
    private static let candidates = -50...50
    /// The least positive number that f32 holds with all its digits.
    private static let smallest = 0x1p-126

    private let isProbability, searches: Bool
    private let classes: Int
    private let strength: Double
    /// log q [classes]; zeros, which take nothing off, until it is fitted.
    private let prior: Parameter
    /// gamma [1].
    private let gamma: Parameter

    var parameters: [Parameter] { [prior, gamma] }

    convenience init(options: Options, site: Site) throws(PluginError) {
        guard site.classes > 0 else {
            throw PluginError(.invalidArgument, "it calibrates a classification and needs the number of classes")
        }
        guard site.scoreKind != .similarities else {
            throw PluginError(.unsupported, "it calibrates probabilities, and the scores here are similarities")
        }
        self.init(
            classes: site.classes, isProbability: site.scoreKind == .probabilities,
            strength: try options.double("gamma"), searches: try options.bool("search_gamma"))
    }

    private init(classes: Int, isProbability: Bool, strength: Double, searches: Bool) {
        (self.classes, self.isProbability) = (classes, isProbability)
        (self.strength, self.searches) = (strength, searches)
        prior = Parameter("log_prior", [classes], .zeros, frozen: true)
        gamma = Parameter("gamma", [1], .constant(strength), frozen: true)
    }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        [logarithms(inputs[0], in: context) - context[prior] * context[gamma]]
    }

    func prepare(_ examples: Examples, in context: Context) -> [(parameter: Parameter, value: Tensor)] {
        let given = logarithms(examples.inputs[0], in: context)
        // A mean of 0 is one that f32 cannot tell from it.
        let mean = given.exp().mean(0).maximum(context.full(Self.smallest, [1])).log()
        let fitted: [(parameter: Parameter, value: Tensor)] = [(prior, mean)]
        guard searches else { return fitted }
        guard let labels = examples.labels else {
            _ = context.fail(.invalidArgument, "gamma is searched on labelled examples, and there are no labels")
            return []
        }
        guard let scores = given.floats(), let q = mean.floats(), let classes = labels.cast(to: .f32).floats()
        else { return [] }
        return fitted + [(gamma, context.full(best(scores, q, classes.map { Int($0) }), [1]))]
    }

    /// log p [n, classes].
    private func logarithms(_ scores: Tensor, in context: Context) -> Tensor {
        (isProbability ? scores.maximum(context.full(Self.smallest, [1])).log() : scores).logSoftmax()
    }

    /// The candidate that gets most examples right; of several the one nearest to `gamma`.
    private func best(_ scores: [Float], _ prior: [Float], _ labels: [Int]) -> Double {
        func right(_ gamma: Double) -> Int {
            var count = 0
            for (index, label) in labels.enumerated() {
                let row = index * classes
                var (answer, highest) = (0, -Double.infinity)
                for k in 0..<classes {
                    let score = Double(scores[row + k]) - gamma * Double(prior[k])
                    if score > highest { (answer, highest) = (k, score) }
                }
                if answer == label { count += 1 }
            }
            return count
        }
        var (chosen, most) = (strength, right(strength))
        for tenths in Self.candidates {
            let candidate = Double(tenths) / 10
            let count = right(candidate)
            let isNearer = abs(candidate - strength) < abs(chosen - strength)
            if count > most || count == most && isNearer { (chosen, most) = (candidate, count) }
        }
        return chosen
    }
}

extension BatchCalibration {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "batch-calibration",
            summary: "Batch calibration: takes the mean answer off every text's, nothing trained (Zhou et al. 2023).",
            seams: [Seam.decoderOutput],
            options: [
                .double("gamma", default: "1.0", in: -1000...1000, "How much of the mean answer is taken off."),
                .bool("search_gamma", default: false, "Choose gamma among -5 ... 5 by the labelled examples."),
            ],
            prepares: true)
    }
}

private let plugin = Plugin(
    id: "org.seamkit.batch-calibration", version: "1.0.0", license: "Apache-2.0",
    summary: "Batch calibration of a classifier's scores.",
    adapters: [AdapterFactory(BatchCalibration.self) { BatchCalibration.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
