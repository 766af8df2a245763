import CMath

/// The weights of a ridge head, chosen by leaving out each example in turn.
///
/// With Y the right answers (1 - 1/K for an example's class of K, else -1/K) and S the model's scores of each example, less
/// their mean over the classes and as large as Y on average, W minimises
///
///     ||Y - alpha S - (H - mean) W^T - b||^2 + penalty ||W||^2,     penalty = rho times the mean of ||h_i - mean||^2
///
/// b takes up the mean over the examples and is left out of the head: how often a class is among the examples says nothing of
/// a text. What the head fitted to the others says of example i follows from one system for all of them: the residual
/// left out is e_i / (1 - H_ii) with the hat matrix H (Allen 1974; Hastie, Tibshirani and Friedman, equation 7.64).
struct RidgeChoice {
    /// rho; infinity: no linear map. Of those that are level the first is taken, which learns least.
    static let penalties = [Double.infinity, 10, 1, 0.1, 0.01, 0.001]
    static let alphas = [0, 0.125, 0.25, 0.5, 1, 2, 4]
    /// How many values of tau are tried: half powers of 2, from 1/4.
    private static let scaleCount = 21
    /// Losses nearer to each other are one: where every example is told with certainty, the smallest scale that does so is
    /// taken.
    private static let margin = 1e-6
    /// Where no class has two examples, so that nothing can be left out.
    private static let penaltyWithoutOthers = 1.0, alphaWithoutOthers = 1.0

    /// Row-major [classes, width] and [classes].
    let weight, bias: [Float]
    /// [classes]
    let calibration: [Float]
    let scoreWeight: Float

    /// What is tried, and how well it does.
    private struct Candidate {
        var penalty = Double.infinity, alpha = 1.0, scale = 1.0
        var calibration = 0
        var loss = Double.infinity
    }

    /// - Parameters:
    ///   - scores: [n, classes]; nil: they do not count.
    ///   - hidden: [n, width]; nil: they do not count.
    ///   - labels: 0 ..< classes, of each of the n examples.
    ///   - calibrations: what the scores may be divided by; of two that do as well the first is taken.
    /// - Returns: nil where the sums leave f64.
    init?(
        scores: [Float]?, hidden: [Float]?, labels: [Int], classes: Int, width: Int, calibrations: [[Double]]
    ) {
        let n = labels.count
        let examples = LeftOut(labels: labels, classes: classes)
        let right = examples.targets
        let answers = calibrations.map { ScaledScores(scores, $0, n: n, classes: classes) }
        let states = hidden.map { CentredStates($0, n: n, width: width) }
        let unit = states?.products.meanSquare ?? 0
        guard unit.isFinite else { return nil }
        // States that are all alike teach nothing.
        let penalties = unit > 0 ? (scores == nil ? Self.penalties.dropFirst() : Self.penalties[...]) : [.infinity]
        let alphas = scores == nil ? [0] : Self.alphas

        var best = Candidate()
        func consider(_ penalty: Double, _ alpha: Double, _ calibration: Int, _ said: [Double], all: Bool = false) {
            for step in 0..<Self.scaleCount {
                let scale = pow(2, Double(step) / 2 - 2)
                let loss = examples.loss(said, scale: scale, all: all)
                if loss < best.loss - Self.margin {
                    best = Candidate(
                        penalty: penalty, alpha: alpha, scale: scale, calibration: calibration, loss: loss)
                }
            }
        }
        if examples.isEmpty {
            // The scores need no examples: all of these count.
            for (index, own) in answers.enumerated() { consider(.infinity, 1, index, own.values, all: true) }
            best.alpha = scores == nil ? 0 : Self.alphaWithoutOthers
            best.penalty = unit > 0 ? Self.penaltyWithoutOthers : .infinity
        } else {
            for penalty in penalties {
                guard penalty.isFinite else {
                    for (index, own) in answers.enumerated() { consider(penalty, 1, index, own.values) }
                    continue
                }
                // A penalty below the rounding of the products is no candidate.
                guard let states, let system = RidgeSystem(states.products, penalty: penalty * unit) else { continue }
                let ofRight = examples.predictions(right, system)
                for (index, own) in answers.enumerated() {
                    let ofScores = examples.predictions(own.values, system)
                    for alpha in alphas {
                        consider(
                            penalty, alpha, index,
                            right.indices.map { alpha * (own.values[$0] - ofScores[$0]) + ofRight[$0] })
                    }
                }
            }
        }
        let own = answers[best.calibration]
        calibration = calibrations[best.calibration].map { Float($0) }
        scoreWeight = Float(best.scale * best.alpha * own.unit)
        var (weight, bias) = ([Float](repeating: 0, count: classes * width), [Float](repeating: 0, count: classes))
        if best.penalty.isFinite, let states {
            guard let system = RidgeSystem(states.products, penalty: best.penalty * unit) else { return nil }
            let open = right.indices.map { right[$0] - best.alpha * own.values[$0] }
            let found = system.weights(examples.centred(open), columns: classes)
            for k in 0..<classes {
                var product = 0.0
                for j in 0..<width {
                    weight[k * width + j] = Float(best.scale * found[k * width + j])
                    product += found[k * width + j] * states.mean[j]
                }
                bias[k] = Float(-best.scale * product)
            }
        }
        (self.weight, self.bias) = (weight, bias)
        guard scoreWeight.isFinite, (weight + bias).allSatisfy({ $0.isFinite }) else { return nil }
    }
}

/// The model's scores, calibrated, less their mean over the classes and in the unit of the targets: [classes, n].
private struct ScaledScores {
    let values: [Double]
    /// What the calibrated scores are multiplied by; 1 where they are all alike.
    let unit: Double

    init(_ scores: [Float]?, _ calibration: [Double], n: Int, classes: Int) {
        var values = [Double](repeating: 0, count: classes * n)
        guard let scores else {
            (self.values, unit) = (values, 1)
            return
        }
        var squares = 0.0
        for i in 0..<n {
            var sum = 0.0
            for k in 0..<classes {
                values[k * n + i] = Double(scores[i * classes + k]) / calibration[k]
                sum += values[k * n + i]
            }
            for k in 0..<classes {
                values[k * n + i] -= sum / Double(classes)
                squares += values[k * n + i] * values[k * n + i]
            }
        }
        // The targets' sum of squares is 1 - 1/K for each example.
        let targets = Double(n) * (1 - 1 / Double(classes))
        let factor = squares > 0 ? (targets / squares).squareRoot() : 1
        unit = factor
        self.values = values.map { $0 * factor }
    }
}

/// Hidden states less their mean.
private struct CentredStates {
    let mean: [Double]
    let products: RidgeSystem.Products

    init(_ hidden: [Float], n: Int, width: Int) {
        var mean = [Double](repeating: 0, count: width)
        for i in 0..<n { for j in 0..<width { mean[j] += Double(hidden[i * width + j]) / Double(n) } }
        var x = [Double](repeating: 0, count: n * width)
        for i in 0..<n { for j in 0..<width { x[i * width + j] = Double(hidden[i * width + j]) - mean[j] } }
        self.mean = mean
        products = RidgeSystem.Products(x, n: n, d: width)
    }
}

/// Examples of which each is left out in turn; columns are [classes, n].
private struct LeftOut {
    private let labels: [Int]
    private let classes: Int
    /// Those whose class has another example: of the others nothing could be learned without them.
    private let counted: [Int]
    private var n: Int { labels.count }
    /// Whether there is none of them.
    var isEmpty: Bool { counted.isEmpty }

    init(labels: [Int], classes: Int) {
        (self.labels, self.classes) = (labels, classes)
        var sizes = [Int](repeating: 0, count: classes)
        for label in labels { sizes[label] += 1 }
        counted = labels.indices.filter { sizes[labels[$0]] > 1 }
    }

    /// Y.
    var targets: [Double] {
        var result = [Double](repeating: -1 / Double(classes), count: classes * n)
        for (i, label) in labels.enumerated() { result[label * n + i] += 1 }
        return result
    }

    /// Columns less their mean over the examples.
    func centred(_ columns: [Double]) -> [Double] {
        var result = columns
        for k in 0..<classes {
            var sum = 0.0
            for i in 0..<n { sum += columns[k * n + i] }
            for i in 0..<n { result[k * n + i] -= sum / Double(n) }
        }
        return result
    }

    /// What the linear map that is fitted to the other examples, whose mean it takes off, says of each.
    func predictions(_ columns: [Double], _ system: RidgeSystem) -> [Double] {
        let centred = centred(columns)
        var result = system.leftOutResiduals(centred, columns: classes)
        // The residual is from the others' mean, which is n/(n-1) of the own difference away, plus the prediction.
        let factor = Double(n) / Double(n - 1)
        for place in result.indices { result[place] = factor * centred[place] - result[place] }
        return result
    }

    /// The mean of -log p of the right class, p the softmax of the scores times the scale.
    /// - Parameter all: whether all examples count, or those whose class has another.
    func loss(_ scores: [Double], scale: Double, all: Bool) -> Double {
        let counted = all ? Array(labels.indices) : counted
        var total = 0.0
        for i in counted {
            var highest = -Double.infinity
            for k in 0..<classes { highest = max(highest, scores[k * n + i]) }
            var sum = 0.0
            for k in 0..<classes { sum += exp(scale * (scores[k * n + i] - highest)) }
            total += log(sum) - scale * (scores[labels[i] * n + i] - highest)
        }
        return total / Double(counted.count)
    }
}
