import CSeam
import SeamPlugin

/// Adapters with a bottleneck (Houlsby et al. 2019, section 2.1) on the encoder's output: h + relu(h D) U. U starts as
/// zeros, so that the untrained adapter changes nothing.
final class Bottleneck: Adapter {
    private let down, up: Parameter

    var parameters: [Parameter] { [down, up] }

    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "bottleneck", summary: "A bottleneck with a residual (Houlsby et al. 2019).",
            seams: [Seam.encoderOutput],
            options: [.int("rank", default: "8", in: 1...65536, "Width of the bottleneck.")])
    }

    convenience init(options: Options, site: Site) throws(PluginError) {
        self.init(width: site.dModel, rank: try options.int("rank"))
    }

    private init(width: Int, rank: Int) {
        down = Parameter("down.weight", [width, rank], .xavierUniform(gain: 1))
        up = Parameter("up.weight", [rank, width], .zeros)
    }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        let hidden = inputs[0]
        return [hidden + hidden.matmul(context[down]).relu().matmul(context[up])]
    }
}

private let plugin = Plugin(
    id: "org.example.bottleneck", version: "1.0.0", license: "Apache-2.0", summary: "Adapters with a bottleneck.",
    adapters: [AdapterFactory(Bottleneck.self) { Bottleneck.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
