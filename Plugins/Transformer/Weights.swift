import SeamPlugin

/// The parameters of a model, collected as its parts declare them.
final class Weights {
    private let model: Model
    /// What stands before every name but the head's: "model." in a file saved with its head, nothing in
    /// one saved without.
    private let prefix: String
    private(set) var parameters: [Parameter] = []

    /// `probe`: the name of a vector as wide as the model that every file of the family has.
    init(_ model: Model, probe: String, _ family: Family) throws(PluginError) {
        self.model = model
        let found = ["", "model.", "transformer."].first { model.shape(of: $0 + probe) != nil }
        guard let found, let shape = model.shape(of: found + probe) else {
            throw PluginError(.notFound, "the model has no tensor '\(probe)', which every \(family.name) model has")
        }
        guard shape == [family.dModel] else {
            throw PluginError(
                .shape,
                "config.json: 'd_model' is \(family.dModel), but the tensor '\(probe)' is \(shape.last ?? 1) wide")
        }
        prefix = found
    }

    /// A tensor of the file. The host reports those that it lacks or has in another shape, all at once.
    /// Parts that share a tensor share its parameter: each name is asked for once.
    func parameter(_ name: String, _ shape: [Int], frozen: Bool = false) -> Parameter {
        add(Parameter(prefix + name, shape, .model, frozen: frozen))
    }

    /// A tensor outside the model's body.
    func headParameter(_ name: String, _ shape: [Int], frozen: Bool = false) -> Parameter {
        add(Parameter(name, shape, .model, frozen: frozen))
    }

    /// A constant that is computed here, with the name it would have in a file.
    func constant(_ name: String, _ shape: [Int], _ values: [Float]) -> Parameter {
        add(Parameter(prefix + name, shape, .data(values), frozen: true))
    }

    /// Whether the file has a tensor of the model's body.
    func has(_ name: String) -> Bool { model.shape(of: prefix + name) != nil }
    func hasHead(_ name: String) -> Bool { model.shape(of: name) != nil }

    private func add(_ parameter: Parameter) -> Parameter {
        parameters.append(parameter)
        return parameter
    }
}

/// x W^T + b.
struct Linear {
    private let weight: Parameter
    private let bias: Parameter?

    init(_ weights: Weights, _ name: String, from input: Int, to output: Int, bias: Bool) {
        weight = weights.parameter(name + ".weight", [output, input])
        self.bias = bias ? weights.parameter(name + ".bias", [output]) : nil
    }

    func callAsFunction(_ x: Tensor, in context: Context) -> Tensor {
        x.linear(context[weight], bias.map { context[$0] })
    }
}

/// Layer norm with weight and bias, or RMS norm with a weight.
struct Norm {
    private let weight: Parameter
    private let bias: Parameter?
    private let epsilon: Double

    init(_ weights: Weights, _ name: String, _ family: Family) {
        weight = weights.parameter(name + ".weight", [family.dModel])
        bias = family.norm == .layer ? weights.parameter(name + ".bias", [family.dModel]) : nil
        epsilon = family.epsilon
    }

    func callAsFunction(_ x: Tensor, in context: Context) -> Tensor {
        guard let bias else { return x.rmsNorm(context[weight], epsilon: epsilon) }
        return x.layerNorm(context[weight], context[bias], epsilon: epsilon)
    }
}

/// A sub-layer with its norm and the path around it.
struct Residual {
    private let norm: Norm
    private let first: Bool

    init(_ weights: Weights, _ name: String, _ family: Family) {
        norm = Norm(weights, name, family)
        first = family.normFirst
    }

    func callAsFunction(_ x: Tensor, in context: Context, _ sublayer: (Tensor) -> Tensor) -> Tensor {
        first ? x + sublayer(norm(x, in: context)) : norm(x + sublayer(x), in: context)
    }
}
