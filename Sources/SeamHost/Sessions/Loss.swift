import Engine
import Support

/// The loss of a batch.
///
/// Each route is trained by the mean over its own labels, whatever rows of others are beside it: a route's adapters have the
/// gradient that they have for its rows alone.
public struct Loss {
    /// The loss of the rows of one route.
    public struct Route: Sendable, Equatable {
        /// Empty: the default route.
        public let name: String
        /// The mean over its labels that count.
        public let loss: Double
        /// Labels that count.
        public let tokenCount: Int
    }

    /// A scalar, which is walked back: the sum over the routes of each one's mean.
    public let value: Tensor
    /// The routes of which a label counts, in the order of their first rows.
    public let routes: [Route]
    /// Labels that count.
    public var tokenCount: Int { routes.reduce(0) { $0 + $1.tokenCount } }
    /// The mean over all labels that count.
    public var mean: Double {
        guard routes.count > 1 else { return routes.first?.loss ?? 0 }
        return routes.reduce(0) { $0 + $1.loss * Double($1.tokenCount) } / Double(tokenCount)
    }
}

/// How the labels of a batch are shared out among its routes.
private struct LabelShares {
    /// Empty: the default route.
    private let names: [String]
    /// The place in `names` of the route of each label.
    private let places: [Int]
    private let counts: [Int]

    /// - Parameter examples: the row of each label in the batch.
    init(_ batch: Batch, examples: [Int]) {
        var (names, known, ofRow) = ([String](), [String: Int](), [Int]())
        for row in 0..<batch.count {
            let name = batch.routes.isEmpty ? "" : batch.routes[row] ?? ""
            let place = known[name] ?? names.count
            if place == names.count { names.append(name) }
            known[name] = place
            ofRow.append(place)
        }
        places = examples.map { ofRow[$0] }
        var counts = names.map { _ in 0 }
        for place in places { counts[place] += 1 }
        (self.names, self.counts) = (names, counts)
    }

    var areOfOneRoute: Bool { counts.count { $0 > 0 } == 1 }

    /// What a label counts in the mean of its route.
    var weights: [Float] { places.map { 1 / Float(counts[$0]) } }

    /// The mean over the labels of each route that has some.
    func means(of losses: [Float]) -> [Loss.Route] {
        var sums = names.map { _ in 0.0 }
        for (place, loss) in zip(places, losses) { sums[place] += Double(loss) }
        return names.indices.filter { counts[$0] > 0 }.map {
            Loss.Route(name: names[$0], loss: sums[$0] / Double(counts[$0]), tokenCount: counts[$0])
        }
    }

    /// The same where all labels are of one route, whose mean is known.
    func mean(_ loss: Double) -> [Loss.Route] {
        names.indices.filter { counts[$0] > 0 }.map {
            Loss.Route(name: names[$0], loss: loss, tokenCount: counts[$0])
        }
    }
}

extension Session {
    /// Rows whose scores are made at once, in pieces of nearly one size.
    package func headChunks(_ rows: Int) -> [Range<Int>] {
        let limit = max(1, scoresAtOnce / max(backbone.info.vocabSize, 1))
        let count = (rows + limit - 1) / limit
        return (0..<count).map { rows * $0 / count..<rows * ($0 + 1) / count }
    }

    /// The cross-entropy of what the session says where the batch has labels, or of the classes of its sources.
    ///
    /// Over a long text the scores of the whole vocabulary would be the largest tensor of a step, and their gradient
    /// another. They are made piece by piece then, and each piece is walked back at once, so that only its gradient with
    /// respect to the states is kept. The gradient of a trained head is gathered on the way: the loss is to be walked back
    /// as it is, from a gradient of 1.
    /// - Parameters:
    ///   - kept: what a cache has of these rows, which is not computed then.
    ///   - training: whether gradients are wanted.
    /// - Throws: `.invalidArgument` for a batch without labels, or whose classes are not the session's.
    public func loss(
        _ context: Context, _ batch: Batch, kept: KeptStates? = nil, labelSmoothing: Double, training: Bool = false
    ) throws -> Loss {
        if batch.classes.isEmpty,
            let states = try labelledStates(context, batch, kept: kept, training: training)
        {
            let shares = LabelShares(batch, examples: states.examples)
            let chunks = headChunks(states.targets.count)
            guard chunks.count == 1 else {
                return try loss(context, states, chunks, shares, labelSmoothing: labelSmoothing, training: training)
            }
            return try loss(
                context, scores: try backbone.head(pass(context, training: training), hidden: states.hidden),
                targets: try context.constant(states.targets, [states.targets.count]), shares,
                labelSmoothing: labelSmoothing)
        }
        let predictions = try predictions(context, batch, kept: kept, training: training)
        return try loss(
            context, scores: predictions.scores, targets: predictions.targets,
            LabelShares(batch, examples: predictions.examples), labelSmoothing: labelSmoothing)
    }

    private func loss(
        _ context: Context, scores: Tensor, targets: Tensor, _ shares: LabelShares, labelSmoothing: Double
    ) throws -> Loss {
        func crossEntropy(_ reduction: Reduction) throws -> Tensor {
            try context.crossEntropy(
                scores, targets: targets, ignoreIndex: Batch.ignoredLabel, labelSmoothing: labelSmoothing,
                reduction: reduction)
        }
        guard !shares.areOfOneRoute else {
            let value = try crossEntropy(.mean)
            return Loss(value: value, routes: shares.mean(Double(value.floats[0])))
        }
        let losses = try crossEntropy(.none)
        let weights = try context.constant(shares.weights, losses.shape)
        let value = try context.sum(try context.mul(losses, weights), axis: 0, keep: false)
        return Loss(value: value, routes: shares.means(of: losses.floats))
    }

    private func loss(
        _ context: Context, _ states: LabelledStates, _ chunks: [Range<Int>], _ shares: LabelShares,
        labelSmoothing: Double, training: Bool
    ) throws -> Loss {
        let wantsGradient = training && states.hidden.requiresGradient
        let weights = shares.weights
        var gradients: [Tensor] = []
        var losses: [Float] = []
        for rows in chunks {
            let part = makeContext(recordsGradients: training)
            // Each piece draws numbers of its own.
            part.random = context.random
            defer { context.random = part.random }
            let values = try part.slice(states.hidden.detached, axis: 0, start: rows.lowerBound, length: rows.count)
            let leaf = part.retain(wantsGradient ? values.asLeaf : values)
            let loss = try part.crossEntropy(
                try backbone.head(pass(part, training: training), hidden: leaf),
                targets: try part.constant(Array(states.targets[rows]), [rows.count]),
                ignoreIndex: Batch.ignoredLabel, labelSmoothing: labelSmoothing, reduction: .none)
            losses += loss.floats
            guard training, loss.requiresGradient else { continue }
            try part.backward(loss, seed: try part.constant(Array(weights[rows]), loss.shape))
            guard wantsGradient else { continue }
            gradients.append(try leaf.gradient?.value ?? part.full(0, .f32, leaf.shape))
        }
        let routes = shares.means(of: losses)
        let value = try context.full(routes.reduce(0) { $0 + $1.loss }, .f32, [])
        guard !gradients.isEmpty else { return Loss(value: value, routes: routes) }
        let gradient = try context.concat(gradients, axis: 0)
        return Loss(value: context.custom(result: value, operand: states.hidden) { _ in gradient }, routes: routes)
    }
}
