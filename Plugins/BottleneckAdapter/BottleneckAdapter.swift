import CSeam
import SeamPlugin

/// Adapters with a bottleneck: what flows is mapped to a few features, through an activation f, and back,
///
///     h + s (U f(D h + d) + u),     D [bottleneck, width],  U [width, bottleneck]
///
/// At `layer.output` that is one behind each layer, after its feed-forward network (Pfeiffer et al. 2021, arXiv
/// 2005.00247); at `projection`, with the targets `o` and `down`, one behind each of the two sub-layers, before its
/// residual is added (Houlsby et al. 2019, arXiv 1902.00751, figure 2); at `encoder.output` one in the whole model.
/// Names and values at the start are those of the library adapters of AdapterHub.
final class BottleneckAdapter: Adapter {
    private struct Block {
        let down, downBias, up, upBias: Parameter
    }

    private enum Activation { case relu, gelu, geluTanh, silu, tanh, sigmoid }

    /// One for each point; at `encoder.output` the only one.
    private let blocks: [Block]
    private let activation: Activation
    private let scaling: Double
    private let atProjections: Bool

    var parameters: [Parameter] { blocks.flatMap { [$0.down, $0.downBias, $0.up, $0.upBias] } }

    convenience init(options: Options, site: Site) throws(PluginError) {
        let size = try options.int("bottleneck_size")
        let factor = try options.double("reduction_factor")
        let startsAsIdentity = try options.string("init_weights") == "mam_adapter"
        let widths = site.points.isEmpty ? [site.dModel] : site.points.map { $0.outputWidth }
        let blocks = widths.enumerated().map { index, width in
            Self.block(
                width, size > 0 ? size : max(1, Int(Double(width) / factor)), startsAsIdentity: startsAsIdentity,
                point: site.points.isEmpty ? nil : index)
        }
        self.init(
            blocks, Self.activation(try options.string("non_linearity")), scaling: try options.double("scaling"),
            atProjections: site.seam == Seam.projection)
    }

    private init(_ blocks: [Block], _ activation: Activation, scaling: Double, atProjections: Bool) {
        (self.blocks, self.activation, self.scaling) = (blocks, activation, scaling)
        self.atProjections = atProjections
    }

    private static func block(_ width: Int, _ size: Int, startsAsIdentity: Bool, point: Int?) -> Block {
        // Kaiming uniform with a = sqrt 5.
        let bound = 1 / Double(width).squareRoot()
        let normal = Parameter.Initial.normal(mean: 0, deviation: 0.02)
        return Block(
            down: Parameter(
                "adapter_down.0.weight", [size, width], startsAsIdentity ? .uniform(from: -bound, to: bound) : normal,
                point: point),
            downBias: Parameter("adapter_down.0.bias", [size], .zeros, point: point),
            up: Parameter("adapter_up.weight", [width, size], startsAsIdentity ? .zeros : normal, point: point),
            upBias: Parameter("adapter_up.bias", [width], .zeros, point: point))
    }

    private static func activation(_ name: Text) -> Activation {
        switch name {
        case "gelu": .gelu
        case "gelu_new": .geluTanh
        case "silu": .silu
        case "tanh": .tanh
        case "sigmoid": .sigmoid
        default: .relu
        }
    }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        let (hidden, block) = (inputs[atProjections ? 3 : 0], blocks[max(context.point, 0)])
        let narrow = activated(hidden.linear(context[block.down], context[block.downBias]))
        let wide = narrow.linear(context[block.up], context[block.upBias])
        return [hidden + (scaling == 1 ? wide : wide * scaling)]
    }

    private func activated(_ x: Tensor) -> Tensor {
        switch activation {
        case .relu: x.relu()
        case .gelu: x.gelu()
        case .geluTanh: x.geluTanh()
        case .silu: x.silu()
        case .tanh: x.tanh()
        case .sigmoid: x.sigmoid()
        }
    }
}

extension BottleneckAdapter {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "bottleneck-adapter",
            summary: "Bottlenecks with a residual, behind layers or sub-layers (Houlsby et al. 2019).",
            seams: [Seam.layerOutput, Seam.projection, Seam.encoderOutput],
            options: [
                .int(
                    "bottleneck_size", default: "0", in: 0...65536, "Features between; 0: by reduction_factor."),
                .double(
                    "reduction_factor", default: "16.0", in: 0.01...65536,
                    "The width of what flows over that of the bottleneck, without bottleneck_size."),
                .string(
                    "non_linearity", default: "\"relu\"", choices: "relu|gelu|gelu_new|silu|tanh|sigmoid",
                    "The activation f."),
                .double("scaling", default: "1.0", "The factor s of what is added."),
                .string(
                    "init_weights", default: "\"mam_adapter\"", choices: "mam_adapter|bert",
                    """
                    mam_adapter: D as a linear layer and U as zeros, so that nothing changes at first; bert: both \
                    normal with deviation 0.02. Biases are zeros.
                    """),
            ],
            defaultTargets: "o|cross_o|down")
    }
}

private let plugin = Plugin(
    id: "org.seamkit.bottleneck-adapter", version: "1.0.0", license: "Apache-2.0",
    summary: "Adapters with a bottleneck, behind layers or sub-layers.",
    adapters: [AdapterFactory(BottleneckAdapter.self) { BottleneckAdapter.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
