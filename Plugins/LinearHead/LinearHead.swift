import CSeam
import SeamPlugin

/// A linear classifier over the backbone's hidden state h, its own scores ignored:
///
///     score = W h + b
///
/// Trained by gradient together with adapters inside the backbone, such as prefixes, h is the text's pooled vector.
final class LinearHead: Adapter {
    /// W [classes, d_model] and b [classes].
    private let weight, bias: Parameter

    var parameters: [Parameter] { [weight, bias] }

    convenience init(options: Options, site: Site) throws(PluginError) {
        let (classes, dModel) = try site.head()
        self.init(classes: classes, dModel: dModel, deviation: try options.double("deviation"))
    }

    private init(classes: Int, dModel: Int, deviation: Double) {
        weight = Parameter("weight", [classes, dModel], .normal(mean: 0, deviation: deviation))
        bias = Parameter("bias", [classes], .zeros)
    }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        [inputs[1].linear(context[weight], context[bias])]
    }
}

extension LinearHead {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "linear-head",
            summary: "Linear head: class scores from the hidden state, trained alone or with other adapters.",
            seams: [Seam.decoderOutput],
            options: [
                .double(
                    "deviation", default: "0.02", in: 0...1000,
                    "Standard deviation of the weight at the start, as of the heads of BERT; the bias starts at 0.")
            ])
    }
}

private let plugin = Plugin(
    id: "org.seamkit.linear-head", version: "1.0.0", license: "Apache-2.0",
    summary: "Linear head, a classifier over hidden states.",
    adapters: [AdapterFactory(LinearHead.self) { LinearHead.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
