import Engine
import Glibc
import Kernels
import Support

/// Multinomial logistic regression with an L2 penalty: scikit-learn's `LogisticRegression(solver="lbfgs")`.
///
/// Minimises C sum_i -log softmax(W x_i + b)[y_i] + |W|^2 / 2; the intercepts b are free. For two classes scikit-learn
/// fits one vector w with the penalty |w|^2 / 2, which is the same as twice the penalty on W = (-w / 2, w / 2); that is
/// what is done here.
///
/// Products are f32 on the engine, softmax and loss f64. Features are centred and scaled for the search
/// alone, with the penalty scaled along: the minimum is the same, and is found in tens of steps even where single
/// features are a thousand times larger than others, as in hidden states of language models.
public struct LogisticRegression: Sendable {
    /// What is fitted.
    public struct Options: Sendable {
        /// The weight of the data against the penalty, above 0.
        public var c = 1.0
        /// Scales each feature to mean 0 and deviation 1 first, as scikit-learn's `StandardScaler` does, so that the
        /// penalty treats them alike. Coefficients are those for the features as given nevertheless.
        public var standardize = false
        /// The search ends when the gradient's largest component is so small against that of the penalty alone, which
        /// the gradient of the data balances at the minimum.
        public var tolerance = 1e-4
        /// The greatest number of steps.
        public var maximumIterations = 1000

        /// scikit-learn's, but converged further.
        public init() {}
    }

    /// classes x width, row by row. The one row of scikit-learn's `coef_` for two classes is the second minus the
    /// first.
    public let coefficients: [Float]
    /// One a class; they sum to 0.
    public let intercepts: [Float]
    /// Steps taken.
    public let iterations: Int
    /// Whether every component of the gradient of the mean loss, in the scaled features of the search, ended within
    /// 1e-4, where scikit-learn stops by default. The search itself goes on to `tolerance` or to what f32 can tell.
    public let converged: Bool
    private let linear: LinearClassifier

    /// Fits the coefficients.
    ///
    /// - Parameters:
    ///   - features: one row of `width` for each label.
    ///   - labels: in `0..<classes`, each class one or more times.
    /// - Throws: `SeamError`: `.shape` for sizes that do not fit, `.numeric` for NaN or infinity, `.invalidArgument`
    ///   for options or labels outside their range, fewer than two classes or a class without examples, `.notFound`
    ///   when there is no BLAS.
    public init(
        features: [Float], labels: [Int], classes: Int, width: Int, options: Options = Options()
    ) throws {
        guard options.c > 0, options.c.isFinite, options.tolerance >= 0, options.maximumIterations >= 0 else {
            throw SeamError(
                .invalidArgument,
                "argument options: expected c above 0 and tolerance and maximumIterations of 0 or more, found"
                    + " \(options.c), \(options.tolerance) and \(options.maximumIterations)")
        }
        let data = try TrainingSet(features: features, labels: labels, classes: classes, width: width)
        try NativeEngine.start()
        // Any centre will do, as the intercepts are free; one that f32 holds serves predictions as well.
        let means = data.means.map { Double(Float($0)) }
        let variances = data.variances(around: means)
        let deviations = options.standardize ? variances.map { $0 > 0 ? $0.squareRoot() : 1 } : variances.map { _ in 1 }
        var problem = Problem(data, means: means, variances: variances, deviations: deviations, c: options.c)
        var x = [Double](repeating: 0, count: classes * (width + 1))
        let search = LBFGS(maximumIterations: options.maximumIterations, valueRounding: 1e-6)
        let penalties = problem.penalties
        let outcome = try search.minimise(&x) { x, gradient in
            let largest = (0..<classes * width).reduce(0) { max($0, abs(penalties[$1 % width] * x[$1])) }
            return Self.largest(gradient) <= max(options.tolerance * largest, 1e-9)
        } _: { x, gradient in
            problem.evaluate(x, gradient: &gradient)
        }
        iterations = outcome.iterations
        converged = Self.largest(outcome.gradient) <= 1e-4
        let weights = (0..<classes * width).map { x[$0] / problem.scales[$0 % width] }
        let bias = (0..<classes).map { x[classes * width + $0] / problem.biasScale }
        coefficients = weights.map { Float($0) }
        intercepts = (0..<classes).map { label in
            Float(bias[label] - (0..<width).reduce(0) { $0 + weights[label * width + $1] * means[$1] })
        }
        linear = LinearClassifier(
            width: width, centre: means.map { Float($0) }, weights: coefficients, bias: bias.map { Float($0) })
    }

    private static func largest(_ x: [Double]) -> Double { x.reduce(0) { max($0, abs($1)) } }

    /// Rows of features -> rows of class scores (logits).
    ///
    /// Throws `SeamError`: `.shape` for parts of a row, `.numeric` for NaN or infinity.
    public func scores(_ features: [Float]) throws -> [Float] { try linear.scores(features) }

    /// The class of the greatest score in each row. Throws as `scores`.
    public func predictions(_ features: [Float]) throws -> [Int] {
        try predictedClasses(scores(features), classes: intercepts.count)
    }
}

/// The mean loss as a function of scaled coefficients.
///
/// With v = s w for each feature, the features divided by s and the penalty by s^2, the minimum stays where it was. s^2
/// is the diagonal of the second derivative at W = 0, so that all directions bend about alike.
private struct Problem {
    private let features: [Float]
    private let targets: [Int]
    private let classes: Int
    private let width: Int
    /// The penalty on half of v^2, for each feature.
    let penalties: [Double]
    private var logits: [Float]
    private var slopes: [Float]
    private var weightGradient: [Float]
    /// What the coefficients of each feature are multiplied by.
    let scales: [Double]
    /// What the intercepts are multiplied by.
    let biasScale: Double

    private var count: Int { targets.count }

    init(_ data: TrainingSet, means: [Double], variances: [Double], deviations: [Double], c: Double) {
        let (count, width, classes) = (data.count, data.width, data.classes)
        let share = 1 / Double(classes)
        let bend = share * (1 - share)
        let penalty = (classes == 2 ? 2 : 1) / (c * Double(count))
        let curvatures = zip(variances, deviations).map { penalty + bend * $0 / ($1 * $1) }
        let scales = zip(curvatures, deviations).map { $0.squareRoot() * $1 }
        var features = data.features
        for row in 0..<count {
            for column in 0..<width {
                let place = row * width + column
                features[place] = Float((Double(features[place]) - means[column]) / scales[column])
            }
        }
        self.features = features
        self.scales = scales
        biasScale = bend.squareRoot()
        penalties = curvatures.map { penalty / $0 }
        targets = data.labels
        self.classes = classes
        self.width = width
        logits = [Float](repeating: 0, count: count * classes)
        slopes = logits
        weightGradient = [Float](repeating: 0, count: classes * width)
    }

    /// `x` is classes x width coefficients, then the intercepts.
    mutating func evaluate(_ x: [Double], gradient: inout [Double]) -> Double {
        let (n, k, d) = (Int64(count), Int64(classes), Int64(width))
        let split = classes * width
        let weights = x[..<split].map { Float($0) }
        let bias = x[split...].map { Float($0 / biasScale) }
        sk_gemm(0, 1, n, k, d, 1, features, d, weights, d, 0, &logits, k)
        sk_add_bias(&logits, bias, n, k)
        let (loss, biasGradient) = crossEntropy()
        sk_gemm(1, 0, k, d, n, 1, slopes, k, features, d, 0, &weightGradient, d)

        let share = 1 / Double(count)
        var value = loss * share
        for label in 0..<classes {
            for column in 0..<width {
                let place = label * width + column
                value += penalties[column] * x[place] * x[place] / 2
                gradient[place] = Double(weightGradient[place]) * share + penalties[column] * x[place]
            }
            gradient[split + label] = biasGradient[label] * share / biasScale
        }
        return value
    }

    /// From `logits` the summed loss, `slopes` (its derivatives), and the sums of these for each class.
    ///
    /// In f64, with the slope of the right class as minus the sum of the others: where it is almost certain, as in
    /// separable data, 1 - p would leave of the slope only its rounding.
    private mutating func crossEntropy() -> (loss: Double, biasGradient: [Double]) {
        var loss = 0.0
        var biasGradient = [Double](repeating: 0, count: classes)
        var powers = [Double](repeating: 0, count: classes)
        for row in 0..<count {
            let start = row * classes
            let target = targets[row]
            var largest = logits[start]
            for place in start..<start + classes { largest = max(largest, logits[place]) }
            var others = 0.0
            for label in 0..<classes {
                powers[label] = exp(Double(logits[start + label]) - Double(largest))
                if label != target { others += powers[label] }
            }
            let total = others + powers[target]
            let isLikely = powers[target] > 0.5 * total
            loss +=
                isLikely
                ? log1p(others / powers[target]) : log(total) + Double(largest) - Double(logits[start + target])
            for label in 0..<classes {
                let slope = (label == target ? -others : powers[label]) / total
                slopes[start + label] = Float(slope)
                biasGradient[label] += slope
            }
        }
        return (loss, biasGradient)
    }
}
