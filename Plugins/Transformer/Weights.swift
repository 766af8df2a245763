import SeamPlugin

/// The parameters and the points of a model, collected as its parts declare them.
final class Weights {
    private let model: Model
    /// What stands before every name but the head's: "model." in a file saved with its head, nothing in
    /// one saved without.
    private let prefix: String
    private(set) var parameters: [Parameter] = []
    /// Encoder, then decoder, by layer; in a layer the projections in the order in which they run, then its output.
    private(set) var points: [Point] = []

    convenience init(_ model: Model, _ family: Family) throws(PluginError) {
        // A vector as wide as the model that every file of the family has.
        let names = (family.encoder ?? family.decoder)?.names
        let probe = names.map { $0.layer(0) + ($0.firstNorm(family) ?? "") + ".weight" } ?? ""
        let bodies = [
            "", "model.", "transformer.", "bert.", "roberta.", "distilbert.", "electra.", "mpnet.", "deberta.",
            "gpt_neox.", "nomic_bert.",
        ]
        let found = bodies.first { model.shape(of: $0 + probe) != nil }
        guard let found, let shape = model.shape(of: found + probe) else {
            throw PluginError(.notFound, "the model has no tensor '\(probe)', which every \(family.name) model has")
        }
        guard shape == [family.dModel] else {
            throw PluginError(
                .shape,
                "config.json: '\(family.widthKey)' is \(family.dModel), but the tensor '\(probe)' is "
                    + "\(shape.last ?? 1) wide")
        }
        self.init(model, prefix: found)
    }

    private init(_ model: Model, prefix: String) { (self.model, self.prefix) = (model, prefix) }

    /// The part of a model that a tensor belongs to.
    enum Part { case body, head }

    /// A tensor of the file. The host reports those that it lacks or has in another shape, all at once.
    /// Parts that share a tensor share its parameter: each name is asked for once.
    func parameter(_ name: String, _ shape: [Int], _ part: Part = .body, frozen: Bool = false) -> Parameter {
        add(Parameter(full(name, part), shape, .model, frozen: frozen))
    }

    /// A constant that is computed here, with the name it would have in a file.
    func constant(_ name: String, _ shape: [Int], _ values: [Float]) -> Parameter {
        add(Parameter(full(name, .body), shape, .data(values), frozen: true))
    }

    /// A place where adapters can be attached: its index.
    func point(_ point: Point) -> Int {
        points.append(point)
        return points.count - 1
    }

    /// Whether the file has a tensor.
    func has(_ name: String, _ part: Part = .body) -> Bool { model.shape(of: full(name, part)) != nil }

    private func full(_ name: String, _ part: Part) -> String { part == .body ? prefix + name : name }

    private func add(_ parameter: Parameter) -> Parameter {
        parameters.append(parameter)
        return parameter
    }
}

/// x W^T + b.
struct Linear {
    private let weight: Parameter
    private let bias: Parameter?
    private let isTransposed: Bool
    /// -1: none.
    private let point: Int

    /// `place`: of a matrix that is a point.
    init(
        _ weights: Weights, _ name: String, from input: Int, to output: Int, bias: Bool, _ family: Family,
        _ part: Weights.Part = .body, at place: ProjectionPlace? = nil
    ) {
        isTransposed = family.transposedWeights
        weight = weights.parameter(name + ".weight", isTransposed ? [input, output] : [output, input], part)
        self.bias = bias ? weights.parameter(name + ".bias", [output], part) : nil
        guard let place else {
            point = -1
            return
        }
        point = weights.point(
            Point(
                projection: place.name, place.layer.stack, layer: place.layer.index, inputWidth: input,
                outputWidth: output,
                parts: place.parts, weight: weight, isTransposed: isTransposed, bias: self.bias))
    }

    /// Whether somebody wants what flows through it.
    func isVisited(in context: Context) -> Bool { context.visitor?.wants(point) ?? false }

    func callAsFunction(_ x: Tensor, in context: Context) -> Tensor {
        let (stored, bias) = (context[weight], bias.map { context[$0] })
        let weight = isTransposed ? stored.permute([1, 0]) : stored
        if let visitor = context.visitor, visitor.wants(point) { return visitor.projection(x, weight, bias, at: point) }
        return x.linear(weight, bias)
    }
}

/// Layer norm with a weight and, where the family has one, a bias, or RMS norm with a weight.
struct Norm {
    private let kind: Family.NormKind
    private let weight: Parameter
    private let bias: Parameter?
    private let epsilon: Double

    /// `width`: nil for that of the states.
    init(_ weights: Weights, _ name: String, _ family: Family, _ part: Weights.Part = .body, width: Int? = nil) {
        let shape = [width ?? family.dModel]
        kind = family.norm
        weight = weights.parameter(name + ".weight", shape, part)
        bias = kind == .layer && family.normBias ? weights.parameter(name + ".bias", shape, part) : nil
        epsilon = family.epsilon
    }

    func callAsFunction(_ x: Tensor, in context: Context) -> Tensor {
        switch kind {
        case .rms: x.rmsNorm(context[weight], epsilon: epsilon)
        case .rmsOfOnePlus: x.rmsNorm(context[weight].cast(to: .f32) + 1, epsilon: epsilon)
        case .layer: x.layerNorm(context[weight], bias.map { context[$0] }, epsilon: epsilon)
        }
    }
}

/// A sub-layer with its norms and the path around it.
struct Residual {
    private let norm, outputNorm: Norm?
    private let first: Bool

    /// `name`: nil for a sub-layer without a norm. `output`: of what it gives; nil: that has none.
    init(_ weights: Weights, _ name: String?, output: String? = nil, _ family: Family) {
        norm = name.map { Norm(weights, $0, family) }
        outputNorm = output.map { Norm(weights, $0, family) }
        first = family.normFirst
    }

    func callAsFunction(_ x: Tensor, in context: Context, _ sublayer: (Tensor) -> Tensor) -> Tensor {
        guard let norm, !first else { return x + added(x, in: context, sublayer) }
        return norm(x + sublayer(x), in: context)
    }

    /// What is added to x, where the norm does not stand behind the sum.
    func added(_ x: Tensor, in context: Context, _ sublayer: (Tensor) -> Tensor) -> Tensor {
        let y = sublayer(norm.map { $0(x, in: context) } ?? x)
        return outputNorm.map { $0(y, in: context) } ?? y
    }
}
