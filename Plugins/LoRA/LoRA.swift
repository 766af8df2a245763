import CSeam
import SeamPlugin

/// LoRA (Hu et al. 2021, arXiv 2106.09685): matrices of the layers stay as they are, and a product of two narrow ones
/// is learned beside each. A projection y = W x + b becomes, by the paper's equation 3,
///
///     h = W x + b + s B A x,     A [r, in],  B [out, r],  s = alpha / r
///
/// B starts as zeros, so that h is y at first. With `use_rslora` s = alpha / sqrt r, which keeps the size of the update
/// where r grows (Kalajdzievski 2023, arXiv 2312.03732). Names and values at the start are PEFT's.
///
/// The update is linear in x and can be added to the matrix: W + s B A.
final class LoRA: Adapter {
    /// A and B of one point.
    private typealias Update = (a: Parameter, b: Parameter)

    private let updates: [Update]
    private let scale: Double

    var parameters: [Parameter] { updates.flatMap { [$0.a, $0.b] } }

    convenience init(options: Options, site: Site) throws(PluginError) {
        let (rank, alpha) = (try options.int("r"), try options.double("lora_alpha"))
        let divisor = try options.bool("use_rslora") ? Double(rank).squareRoot() : Double(rank)
        self.init(site.points, rank: rank, scale: alpha / divisor)
    }

    private init(_ points: [Point], rank: Int, scale: Double) {
        updates = points.enumerated().map { index, point in
            // As torch.nn.Linear starts: Kaiming uniform with a = sqrt 5.
            let bound = 1 / Double(point.inputWidth).squareRoot()
            let a = Parameter(
                "lora_A.weight", [rank, point.inputWidth], .uniform(from: -bound, to: bound), point: index)
            return (a, Parameter("lora_B.weight", [point.outputWidth, rank], .zeros, point: index))
        }
        self.scale = scale
    }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        let (x, y, update) = (inputs[0], inputs[3], updates[context.point])
        return [y.linearLowRank(x, context[update.a], context[update.b], scale: scale)]
    }

    func foldWeight(_ weight: Tensor, bias: Tensor?, in context: Context) -> (weight: Tensor, bias: Tensor?) {
        let update = updates[context.point]
        return (weight.cast(to: .f32) + context[update.b].matmul(context[update.a]) * scale, nil)
    }
}

extension LoRA {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "lora",
            summary: "LoRA: low-rank updates of the matrices of the layers (Hu et al. 2021).",
            seams: [Seam.projection],
            options: [
                .int("r", default: "8", in: 1...65536, "Rank of each update."),
                .double(
                    "lora_alpha", default: "8.0", in: 0...1_000_000,
                    "Weight of the updates: they are multiplied by lora_alpha / r."),
                .bool("use_rslora", default: false, "Multiply by lora_alpha / sqrt(r) instead."),
            ],
            defaultTargets: "q|v", foldsWeight: true)
    }
}

private let plugin = Plugin(
    id: "org.seamkit.lora", version: "1.0.0", license: "Apache-2.0",
    summary: "LoRA, low-rank updates of the matrices of the layers.",
    adapters: [AdapterFactory(LoRA.self) { LoRA.create($0, $1, $2, $3, $4) }],
    requirements: Requirements(operations: ["linear_low_rank"]))

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
