/// The network that prefix tuning trains in place of the prefix (Li and Liang 2021, section 4.3): an embedding e
/// [tokens, width] and two linear layers with tanh between them, from width to the keys and values of every layer.
///
/// Names are those of PEFT's PrefixEncoder behind the attention's ("decoder.embedding.weight",
/// "decoder.transform.0.weight" ...), and all start as torch's Embedding and Linear do.
public struct PrefixNetwork {
    public let shape: PrefixShape
    /// e [tokens, width].
    public let embedding: Parameter
    private let first, second: (weight: Parameter, bias: Parameter)

    public var parameters: [Parameter] { [embedding, first.weight, first.bias, second.weight, second.bias] }

    /// `hiddenSize`: between the two layers. Reads the option "deviation".
    public init(_ shape: PrefixShape, hiddenSize: Int, options: Options) throws(PluginError) {
        self.shape = shape
        embedding = Parameter(
            shape.name("embedding.weight"), [shape.tokens, shape.width],
            .normal(mean: 0, deviation: try options.double("deviation")))
        let output = shape.layers * 2 * shape.width
        first = Self.linear(shape.name("transform.0.weight"), shape.name("transform.0.bias"), shape.width, hiddenSize)
        second = Self.linear(shape.name("transform.2.weight"), shape.name("transform.2.bias"), hiddenSize, output)
    }

    /// tanh(W1 x + b1): [tokens, width] to [tokens, hidden size].
    public func hidden(_ x: Tensor, in context: Context) -> Tensor {
        x.linear(context[first.weight], context[first.bias]).tanh()
    }

    /// W2 h + b2: [tokens, hidden size] to [tokens, layers * 2 * width].
    public func output(_ hidden: Tensor, in context: Context) -> Tensor {
        hidden.linear(context[second.weight], context[second.bias])
    }

    /// A layer that starts as torch.nn.Linear does: weight and bias uniform within 1 / sqrt(inputs).
    private static func linear(
        _ weight: String, _ bias: String, _ inputs: Int, _ outputs: Int
    ) -> (weight: Parameter, bias: Parameter) {
        let bound = 1 / Double(inputs).squareRoot()
        return (
            Parameter(weight, [outputs, inputs], .uniform(from: -bound, to: bound)),
            Parameter(bias, [outputs], .uniform(from: -bound, to: bound))
        )
    }
}
