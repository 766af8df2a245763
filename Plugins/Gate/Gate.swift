import CMath
import CSeam
import SeamPlugin

/// The gate of the residual prefix (Jung, Hwang and Lee, IEEE Access 2025): a learned weight for each token of a
/// prefix, whichever adapters gave it,
///
///     g = sigmoid(a),     K'_t = g_t K_t,     V'_t = g_t V_t
///
/// with one a per token, or one per layer and token. It starts at g = 0.5, a = 0, where the sigmoid is steepest and as
/// far from one end as from the other: a weight near 1 would leave a prefix as it is but hardly move, its slope being
/// g (1 - g).
final class Gate: Adapter {
    /// a for the prefix of one attention.
    private struct Weights {
        let attention: PrefixAttention
        let layers, tokens: Int
        /// [tokens] or [layers, tokens].
        let logits: Parameter
    }

    private let weights: [Weights]
    /// Which inputs and outputs of the seam are the layers of each attention.
    private let places: [Range<Int>]
    private let perLayer, valuesOnly: Bool

    var parameters: [Parameter] { weights.map { $0.logits } }

    convenience init(options: Options, site: Site) throws(PluginError) {
        let perLayer = try options.string("scope") == "token-layer"
        let initial = try options.double("initial_weight")
        let logit = log(initial / (1 - initial))
        var weights: [Weights] = []
        for attention in PrefixAttention.allCases {
            let (layers, tokens) = (site.prefixLayers[attention.rawValue], site.prefixLength[attention.rawValue])
            guard layers > 0, tokens > 0 else { continue }
            weights.append(
                Weights(
                    attention: attention, layers: layers, tokens: tokens,
                    logits: Parameter(
                        "\(attention.name).gate", perLayer ? [layers, tokens] : [tokens], .constant(logit))))
        }
        guard !weights.isEmpty else {
            throw PluginError(
                .invalidArgument,
                "it weighs the tokens of prefixes, and there are none here: attach a prefix adapter before it")
        }
        self.init(
            weights, PrefixAttention.allCases.map { site.prefixPlaces(of: $0) }, perLayer: perLayer,
            valuesOnly: try options.string("applied_to") == "v")
    }

    private init(_ weights: [Weights], _ places: [Range<Int>], perLayer: Bool, valuesOnly: Bool) {
        (self.weights, self.places, self.perLayer, self.valuesOnly) = (weights, places, perLayer, valuesOnly)
    }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        var outputs = inputs
        for attention in PrefixAttention.allCases {
            let own = weights.first { $0.attention == attention }
            let all = own.map { context[$0.logits].sigmoid() }
            for (layer, place) in places[attention.rawValue].enumerated() {
                let prefix = inputs[place]
                let (expected, found) = (own?.tokens ?? 0, prefix.isNull ? 0 : prefix.size(2))
                guard expected == found else {
                    outputs[place] = context.fail(
                        .shape,
                        "it was made for \(expected) prefix tokens of the \(attention.name) attention, found \(found)")
                    return outputs
                }
                guard let all else { continue }
                let g = perLayer ? all.slice(0, from: layer, length: 1) : all
                outputs[place] = weigh(prefix, g.reshape([1, 1, expected, 1]))
            }
        }
        return outputs
    }

    /// `g`: [1, 1, tokens, 1].
    private func weigh(_ prefix: Tensor, _ g: Tensor) -> Tensor {
        if !valuesOnly { return prefix * g }
        let (keys, values) = (prefix.slice(0, from: 0, length: 1), prefix.slice(0, from: 1, length: 1))
        return keys.concat([values * g], axis: 0)
    }

    /// g of all prefixes side by side: [1 or layers, tokens]; 0 in layers that a shallower stack has not.
    func weights(in context: Context) -> Tensor {
        let rows = perLayer ? weights.map { $0.layers }.max() ?? 1 : 1
        let parts = weights.map { own in
            let g = context[own.logits].sigmoid().reshape([-1, own.tokens])
            let missing = perLayer ? rows - own.layers : 0
            return missing == 0 ? g : g.concat([context.full(0, [missing, own.tokens])], axis: 0)
        }
        return parts[0].concat(Array(parts.dropFirst()), axis: 1)
    }
}

extension Gate {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "gate",
            summary: "Gate: a learned weight for each token of a prefix (Jung, Hwang and Lee 2025).",
            seams: [Seam.prefixTokens],
            options: [
                .string(
                    "scope", default: "\"token\"", choices: "token|token-layer",
                    "token: one weight for a token in all layers; token-layer: one in each layer."),
                .string(
                    "applied_to", default: "\"kv\"", choices: "kv|v",
                    "What is weighted: kv: keys and values; v: values, so that attention finds the token as before."),
                .double(
                    "initial_weight", default: "0.5", in: 0.000001...0.999999,
                    "The weights at the start; at 0.5 they move most easily, near 1 a prefix starts as it is."),
            ],
            methods: [
                .tensor(
                    "weights",
                    """
                    The weights, [1, tokens] or with scope token-layer [layers, tokens]: those of the encoder's \
                    prefix, the decoder's and that of cross-attention side by side, 0 where a stack has no such layer.
                    """, recorded: true
                ) { Gate.call($0, $1) { $0.weights(in: $1) } }
            ])
    }
}

private let plugin = Plugin(
    id: "org.seamkit.gate", version: "1.0.0", license: "Apache-2.0",
    summary: "Gate, learned weights of prefix tokens.",
    adapters: [AdapterFactory(Gate.self) { Gate.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
