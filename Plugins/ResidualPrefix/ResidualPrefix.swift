import CSeam
import SeamPlugin

/// Residual prefix (Jung, Hwang and Lee, IEEE Access 2025): prefix tuning whose network has residual connections. With
/// w = kv heads x head_dim, e [tokens, w] learned for each attention and the network f(x) = tanh(W1 x + b1), a layer's
/// key or value P_l is, by the option `residual`,
///
///     output   P_l = (W2 f(e) + b2)_l + e             the paper's: P_l = MLP(e)_l + e
///     hidden   P_l = (W2 (f(e) + e) + b2)_l           f then gives w numbers
///     both     P_l = (W2 (f(e) + e) + b2)_l + e       likewise
///     none     P_l = (W2 f(e) + b2)_l                 prefix tuning (Li and Liang 2021)
///
/// where (...)_l are the w of the 2 x layers x w columns that belong to it. With `layer_norm` f reads N(e), a LayerNorm
/// with learned gain and bias; the residual connections go around it and add e itself, as in a Transformer that
/// normalises first. A finished training saves the prefix without all that.
final class ResidualPrefix: Adapter {
    private let prefixes: Prefixes

    var parameters: [Parameter] { prefixes.parameters }

    convenience init(options: Options, site: Site) throws(PluginError) {
        self.init(
            try Prefixes(options: options, site: site) { shape throws(PluginError) in
                try ResidualNetwork(shape, options: options)
            })
    }

    private init(_ prefixes: Prefixes) { self.prefixes = prefixes }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] { prefixes.appended(to: inputs, in: context) }

    func fold(in context: Context) -> [Tensor] { prefixes.folded(in: context) }
}

/// The prefix of one attention.
final class ResidualNetwork: PrefixSource {
    /// torch.nn.LayerNorm's.
    private static let epsilon = 1e-5

    private let network: PrefixNetwork
    private let aroundHidden, aroundAll: Bool
    /// N's gain and bias [w]; nil without layer_norm.
    private let norm: (gain: Parameter, bias: Parameter)?

    var shape: PrefixShape { network.shape }

    var parameters: [Parameter] {
        guard let norm else { return network.parameters }
        return network.parameters + [norm.gain, norm.bias]
    }

    convenience init(_ shape: PrefixShape, options: Options) throws(PluginError) {
        let residual = try options.string("residual")
        let aroundHidden = residual == "hidden" || residual == "both"
        let asked = try options.int("mlp_hidden_size")
        guard !aroundHidden || asked == 0 || asked == shape.width else {
            throw PluginError(
                .invalidArgument,
                "residual '\(residual)' adds the embedding to the hidden block, so mlp_hidden_size must be the width "
                    + "of the keys, \(shape.width), or 0, found \(asked)")
        }
        let hiddenSize = asked > 0 ? asked : aroundHidden ? shape.width : 512
        self.init(
            try PrefixNetwork(shape, hiddenSize: hiddenSize, options: options), aroundHidden: aroundHidden,
            aroundAll: residual == "output" || residual == "both", normalises: try options.bool("layer_norm"))
    }

    private init(_ network: PrefixNetwork, aroundHidden: Bool, aroundAll: Bool, normalises: Bool) {
        (self.network, self.aroundHidden, self.aroundAll) = (network, aroundHidden, aroundAll)
        let shape = network.shape
        norm =
            normalises
            ? (
                Parameter(shape.name("norm.weight"), [shape.width], .ones),
                Parameter(shape.name("norm.bias"), [shape.width], .zeros)
            ) : nil
    }

    func keysAndValues(in context: Context) -> Tensor {
        let e = context[network.embedding]
        let x = if let norm { e.layerNorm(context[norm.gain], context[norm.bias], epsilon: Self.epsilon) } else { e }
        let hidden = network.hidden(x, in: context)
        let output = network.output(aroundHidden ? hidden + e : hidden, in: context)
        if !aroundAll { return shape.keysAndValues(from: output) }
        let rows = output.reshape([shape.tokens, shape.layers * 2, shape.width])
        return shape.keysAndValues(from: rows + e.reshape([shape.tokens, 1, shape.width]))
    }
}

extension ResidualPrefix {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "residual-prefix",
            summary: "Residual prefix: prefix tuning with residual connections (Jung, Hwang and Lee 2025).",
            seams: [Seam.attentionPrefix],
            options: Prefixes.options + [
                .string(
                    "residual", default: "\"output\"", choices: "output|hidden|both|none",
                    """
                    What the embedding is added to: output: each layer's key and value, as in the paper; hidden: the \
                    network's hidden block; both; none: plain prefix tuning.
                    """),
                .bool("layer_norm", default: false, "Whether the embedding is normalised before the first layer."),
                .int(
                    "mlp_hidden_size", default: "0", in: 0...65536,
                    """
                    Width between the network's two layers; 0: 512, or the width of the keys where the residual needs \
                    that.
                    """),
            ],
            folds: true)
    }
}

private let plugin = Plugin(
    id: "org.seamkit.residual-prefix", version: "1.0.0", license: "Apache-2.0",
    summary: "Residual prefix, prefix tuning with residual connections.",
    adapters: [AdapterFactory(ResidualPrefix.self) { ResidualPrefix.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
