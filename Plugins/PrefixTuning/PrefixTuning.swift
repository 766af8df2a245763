import CSeam
import SeamPlugin

/// Prefix tuning (Li and Liang 2021): keys and values of tokens that no text has stand before those of the text, in
/// every layer, and they alone are trained. With w = kv heads x head_dim and e [tokens, w] learned, the network of the
/// paper's section 4.3 gives those of all layers l at once,
///
///     P = W2 tanh(W1 e + b1) + b2,     P_l = (K_l, V_l), each [tokens, w]
///
/// with an e and a network for each attention. Without reparameterization K and V themselves are the parameters, which
/// the paper found harder to train. A finished training saves the prefix without the network.
final class PrefixTuning: Adapter {
    private let prefixes: Prefixes

    var parameters: [Parameter] { prefixes.parameters }

    convenience init(options: Options, site: Site) throws(PluginError) {
        let isPlain = try options.string("reparameterization") == "none"
        let hiddenSize = try options.int("mlp_hidden_size")
        self.init(
            try Prefixes(options: options, site: site) { shape throws(PluginError) in
                if isPlain { return try PlainPrefix(shape, options: options) }
                return ReparameterizedPrefix(try PrefixNetwork(shape, hiddenSize: hiddenSize, options: options))
            })
    }

    private init(_ prefixes: Prefixes) { self.prefixes = prefixes }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] { prefixes.appended(to: inputs, in: context) }

    func fold(in context: Context) -> [Tensor] { prefixes.folded(in: context) }
}

/// The prefix of one attention, out of the network.
final class ReparameterizedPrefix: PrefixSource {
    private let network: PrefixNetwork

    var shape: PrefixShape { network.shape }
    var parameters: [Parameter] { network.parameters }

    init(_ network: PrefixNetwork) { self.network = network }

    func keysAndValues(in context: Context) -> Tensor {
        let hidden = network.hidden(context[network.embedding], in: context)
        return shape.keysAndValues(from: network.output(hidden, in: context))
    }
}

extension PrefixTuning {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "prefix-tuning",
            summary: "Prefix tuning: learned keys and values before those of the text (Li and Liang 2021).",
            seams: [Seam.attentionPrefix],
            options: Prefixes.options + [
                .string(
                    "reparameterization", default: "\"mlp\"", choices: "mlp|none",
                    """
                    mlp: an embedding and a network of two layers give the prefix while it is trained; none: its \
                    numbers are trained themselves.
                    """),
                .int(
                    "mlp_hidden_size", default: "512", in: 1...65536,
                    "Width between the network's two layers, with reparameterization mlp."),
            ],
            folds: true)
    }
}

private let plugin = Plugin(
    id: "org.seamkit.prefix-tuning", version: "1.0.0", license: "Apache-2.0",
    summary: "Prefix tuning, learned keys and values for every layer.",
    adapters: [AdapterFactory(PrefixTuning.self) { PrefixTuning.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
