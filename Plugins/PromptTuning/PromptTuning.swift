import CSeam
import SeamPlugin

/// Prompt tuning (Lester, Al-Rfou and Constant 2021, arXiv 2104.08691): p learned vectors P stand before the embedded tokens
/// X of a text, and they alone are trained,
///
///     [P; X],     P [p, d_model]
///
/// With reparameterization `mlp` a network of three layers gives them while they are trained, as in P-tuning (Liu et al.
/// 2021, arXiv 2103.10385) without its LSTM:
///
///     P = W3 relu(W2 relu(W1 e + b1) + b2) + b3,     e [p, d_model]
///
/// A finished training saves P without the network. Names and values at the start are PEFT's: its PromptEmbedding draws P
/// from a normal distribution of deviation 1, as its PromptEncoder draws e, and its layers start as torch.nn.Linear does.
final class PromptTuning: Adapter {
    /// One for each stack.
    private let prompts: [any Prompt]

    var parameters: [Parameter] { prompts.flatMap { $0.parameters } }

    convenience init(options: Options, site: Site) throws(PluginError) {
        let (length, deviation) = (try options.int("prompt_length"), try options.double("deviation"))
        let hiddenSize = try options.int("mlp_hidden_size")
        let folded = try options.bool("folded")
        let isPlain = try options.string("reparameterization") == "none" || folded
        var prompts: [any Prompt] = []
        for (index, point) in site.points.enumerated() {
            let start = Parameter.Initial.normal(mean: 0, deviation: deviation)
            let shape = [length, point.outputWidth]
            prompts.append(
                isPlain
                    ? PlainPrompt(shape, start, point: index)
                    : PromptNetwork(
                        shape, start, hiddenSize: hiddenSize == 0 ? point.outputWidth : hiddenSize, point: index))
        }
        self.init(prompts)
    }

    private init(_ prompts: [any Prompt]) { self.prompts = prompts }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        let vectors = prompts[context.point].vectors(in: context)
        return [vectors.reshape([1, vectors.size(0), vectors.size(1)]), context.none]
    }

    func fold(in context: Context) -> [Tensor] { prompts.map { $0.vectors(in: context) } }
}

/// How the vectors of one stack are made.
protocol Prompt: AnyObject {
    var parameters: [Parameter] { get }

    /// [prompt, d_model], from the parameters alone.
    func vectors(in context: Context) -> Tensor
}

/// The vectors are the parameter.
final class PlainPrompt: Prompt {
    private let embeddings: Parameter

    var parameters: [Parameter] { [embeddings] }

    init(_ shape: [Int], _ start: Parameter.Initial, point: Int) {
        embeddings = Parameter("prompt_embeddings", shape, start, point: point)
    }

    func vectors(in context: Context) -> Tensor { context[embeddings] }
}

/// The vectors come out of P-tuning's network.
final class PromptNetwork: Prompt {
    private let embedding: Parameter
    private let layers: [(weight: Parameter, bias: Parameter)]

    var parameters: [Parameter] { [embedding] + layers.flatMap { [$0.weight, $0.bias] } }

    init(_ shape: [Int], _ start: Parameter.Initial, hiddenSize: Int, point: Int) {
        embedding = Parameter("embedding.weight", shape, start, point: point)
        let widths = [shape[1], hiddenSize, hiddenSize, shape[1]]
        layers = (0..<3).map { index in
            let (inputs, outputs) = (widths[index], widths[index + 1])
            // As torch.nn.Linear starts: weight and bias uniform within 1 / sqrt(inputs).
            let bound = 1 / Double(inputs).squareRoot()
            let start = Parameter.Initial.uniform(from: -bound, to: bound)
            // In PEFT's list of layers a ReLU stands behind each.
            return (
                Parameter("mlp_head.\(2 * index).weight", [outputs, inputs], start, point: point),
                Parameter("mlp_head.\(2 * index).bias", [outputs], start, point: point)
            )
        }
    }

    func vectors(in context: Context) -> Tensor {
        var x = context[embedding]
        for (index, layer) in layers.enumerated() {
            x = (index == 0 ? x : x.relu()).linear(context[layer.weight], context[layer.bias])
        }
        return x
    }
}

extension PromptTuning {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "prompt-tuning",
            summary: """
                Prompt tuning: learned vectors before the embedded tokens of a text (Lester et al. 2021), also with the \
                network of P-tuning (Liu et al. 2021).
                """,
            seams: [Seam.promptEmbedding],
            options: [
                .int("prompt_length", default: "20", in: 1...4096, "Vectors before each text."),
                .double(
                    "deviation", default: "1.0", in: 0...1000,
                    "Standard deviation of the vectors at the start, or of the embedding that the network reads."),
                .string(
                    "reparameterization", default: "\"none\"", choices: "none|mlp",
                    """
                    none: the vectors are trained themselves; mlp: an embedding and P-tuning's network of three layers \
                    give them while they are trained.
                    """),
                .int(
                    "mlp_hidden_size", default: "0", in: 0...65536,
                    "Width inside the network, with reparameterization mlp; 0: as wide as the model."),
            ],
            folds: true)
    }
}

private let plugin = Plugin(
    id: "org.seamkit.prompt-tuning", version: "1.0.0", license: "Apache-2.0",
    summary: "Prompt tuning, learned vectors before the embedded tokens of a text.",
    adapters: [AdapterFactory(PromptTuning.self) { PromptTuning.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
