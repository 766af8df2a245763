import CSeam
import SeamPlugin

/// (IA)^3 (Liu et al. 2022, arXiv 2205.05638): what flows inside the layers is scaled, feature by feature, with learned
/// factors l. Behind a projection y = W x + b (keys and values, section 3.3),
///
///     h = l y = l (W x + b),     l [out]
///
/// and, where a target is one of `feedforward_targets`, before it, on what the feed-forward network's activation gave:
///
///     h = W (l x) + b,     l [in]
///
/// The factors start as ones, so that nothing changes at first. Names, shapes and values at the start are PEFT's.
///
/// Both forms are linear in the weight: l times its rows and the bias, or l times its columns.
final class IA3: Adapter {
    /// l of each point.
    private let factors: [Parameter]
    /// Of each point, whether it scales what enters.
    private let isBefore: [Bool]

    var parameters: [Parameter] { factors }

    convenience init(options: Options, site: Site) throws(PluginError) {
        let text = try options.string("feedforward_targets")
        let names = text.utf8.split(separator: UInt8(ascii: ","))
        // The default need not be there: a choice of targets may leave it out.
        let isKnown = names.allSatisfy { name in site.points.contains { $0.name.utf8.elementsEqual(name) } }
        guard isKnown || text == "down" else {
            throw PluginError(
                .invalidArgument,
                "the option 'feedforward_targets' must name targets of this adapter, joined by commas, found '\(text)'")
        }
        let isBefore = site.points.map { point in names.contains { point.name.utf8.elementsEqual($0) } }
        self.init(site.points, isBefore: isBefore)
    }

    private init(_ points: [Point], isBefore: [Bool]) {
        factors = points.enumerated().map { index, point in
            let shape = isBefore[index] ? [1, point.inputWidth] : [point.outputWidth, 1]
            return Parameter("ia3_l", shape, .ones, point: index)
        }
        self.isBefore = isBefore
    }

    func phases(at point: Int) -> Phases { isBefore[point] ? .before : .after }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        let factors = context[factors[context.point]].reshape([-1])
        return [(isBefore[context.point] ? inputs[0] : inputs[3]) * factors]
    }

    func foldWeight(_ weight: Tensor, bias: Tensor?, in context: Context) -> (weight: Tensor, bias: Tensor?) {
        let factors = context[factors[context.point]]
        let scaled = weight.cast(to: .f32) * factors
        return (scaled, isBefore[context.point] ? nil : bias.map { $0.cast(to: .f32) * factors.reshape([-1]) })
    }
}

extension IA3 {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "ia3",
            summary: "(IA)^3: learned factors on keys, values and the feed-forward's activation (Liu et al. 2022).",
            seams: [Seam.projection],
            options: [
                .string(
                    "feedforward_targets", default: "\"down\"",
                    "Targets, joined by commas, whose input is scaled; of the others the output is. Empty: none.")
            ],
            defaultTargets: "k|v|cross_k|cross_v|down|qkv", foldsWeight: true)
    }
}

private let plugin = Plugin(
    id: "org.seamkit.ia3", version: "1.0.0", license: "Apache-2.0",
    summary: "(IA)^3, learned factors inside the layers.",
    adapters: [AdapterFactory(IA3.self) { IA3.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
