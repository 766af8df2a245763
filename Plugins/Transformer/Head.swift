import SeamPlugin

/// The last states to a score for every token.
struct Head {
    private let weight: Parameter
    private let bias: Parameter?
    private let transform: (dense: Linear, activation: Activation, norm: Norm)?
    private let projection: Linear?
    private let scale, cap: Double
    private let vocabulary: Int

    /// Nil when the file has none.
    init?(_ weights: Weights, tiedTo embedding: Parameter, _ family: Family) {
        let head = family.head
        let other = head.otherWeightName.map { "\($0)" } ?? ""
        let (name, biasName) = (weights.has(other, .head) ? other : "\(head.weightName)", "\(head.biasName)")
        guard !head.needsBias || weights.has(biasName, .head) else { return nil }
        let width = family.embeddingWidth
        if let names = head.transform {
            guard weights.has("\(names.dense).weight", .head) else { return nil }
            transform = (
                Linear(weights, "\(names.dense)", from: family.dModel, to: width, bias: names.bias, family, .head),
                names.activation, Norm(weights, "\(names.norm)", family, .head, width: width)
            )
        } else {
            transform = nil
        }
        let separate =
            switch head.weight {
            case .tied: false
            case .separate: true
            case .separateIfPresent: weights.has(name, .head)
            }
        vocabulary = family.targetVocabulary
        (scale, cap) = (head.scale, head.cap)
        projection = head.projection.map { Linear(weights, $0, from: family.dModel, to: width, bias: false, family) }
        weight = separate ? weights.parameter(name, [vocabulary, width], .head) : embedding
        let shape = head.biasIsConstant ? [1, vocabulary] : [vocabulary]
        bias =
            weights.has(biasName, .head)
            ? weights.parameter(biasName, shape, .head, frozen: head.biasIsConstant) : nil
    }

    /// What the head reads: the last states, scaled where the family does.
    func input(_ x: Tensor) -> Tensor { scale == 1 ? x : x * scale }

    func callAsFunction(_ x: Tensor, in context: Context) -> Tensor {
        var x = x
        if let transform { x = transform.norm(transform.activation(transform.dense(x, in: context)), in: context) }
        if let projection { x = projection(x, in: context) }
        let scores = x.linear(context[weight], bias.map { context[$0].reshape([vocabulary]) })
        return cap > 0 ? (scores * (1 / cap)).tanh() * cap : scores
    }
}
