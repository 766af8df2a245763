import CSeam
import SeamPlugin

/// Bias terms alone, as BitFit trains them (Ben Zaken et al. 2022, arXiv 2106.10199): behind a projection,
///
///     h = W x + c + b,     b [out]
///
/// where c is the model's own bias, if it has one. b starts as zeros, so that nothing changes at first, and stands
/// beside c instead of changing it: the model stays as it is, and b is what was learned.
///
/// It can be added to c. A projection without a bias has nothing that it could be added to.
final class Bias: Adapter {
    private let biases: [Parameter]
    /// Of each point, for messages.
    private let places: [String]

    var parameters: [Parameter] { biases }

    init(options: Options, site: Site) throws(PluginError) {
        biases = site.points.enumerated().map { Parameter("bias", [$1.outputWidth], .zeros, point: $0) }
        places = site.points.map { "\($0.name) of layer \($0.layer)" }
    }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] { [inputs[3] + context[biases[context.point]]] }

    func foldWeight(_ weight: Tensor, bias: Tensor?, in context: Context) -> (weight: Tensor, bias: Tensor?) {
        guard let bias else {
            let reason = "the projection \(places[context.point]) has no bias that this one could be added to"
            return (context.fail(.unsupported, reason), nil)
        }
        return (weight.cast(to: .f32), bias.cast(to: .f32) + context[biases[context.point]])
    }
}

extension Bias {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "bias",
            summary: "Bias terms of the projections, as BitFit trains them (Ben Zaken et al. 2022).",
            seams: [Seam.projection], foldsWeight: true)
    }
}

private let plugin = Plugin(
    id: "org.seamkit.bias", version: "1.0.0", license: "Apache-2.0",
    summary: "Bias terms of the projections inside the layers.",
    adapters: [AdapterFactory(Bias.self) { Bias.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
