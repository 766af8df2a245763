import CSeam
import SeamPlugin

/// Representation finetuning (Wu et al. 2024, arXiv 2404.03592): the hidden states h that leave a layer are changed at
/// chosen positions, within a space of `rank` directions. This is LoReFT, equation 2 of the paper,
///
///     h + R^T (W h + b - R h),     R [rank, width] with orthonormal rows, W [rank, width]
///
/// W and b start as a linear layer does, R as random orthonormal rows. R stays orthonormal through training because it
/// is a base B, drawn once, behind reflections that are learned (Householder 1958),
///
///     R = B H_1 ... H_rank,     H_i = I - 2 v_i v_i^T / ||v_i||^2
///
/// Each H_i is orthogonal for any v_i, and `rank` of them lead from one set of orthonormal rows to every other. A
/// folded adapter, which a finished training saves, has R itself.
final class LoReFT: Adapter {
    private let interventions: Interventions
    /// v_i of each point, the rows of [rank, width]; empty when folded.
    private let reflections: [Parameter]

    var parameters: [Parameter] { interventions.parameters + reflections }

    convenience init(options: Options, site: Site) throws(PluginError) {
        let isFolded = try options.bool("folded")
        let rank = try Interventions.rank(options, site)
        let rotations = site.points.enumerated().map {
            Parameter(
                isFolded ? "rotate_layer.weight" : "rotate_layer.base", [rank, $1.outputWidth], .orthogonal(gain: 1),
                frozen: true, point: $0)
        }
        let reflections = rotations.enumerated().map {
            Parameter("rotate_layer.reflections", $1.shape, .orthogonal(gain: 1), point: $0)
        }
        self.init(
            Interventions(rotations, try Positions(options, site)), reflections: isFolded ? [] : reflections)
    }

    private init(_ interventions: Interventions, reflections: [Parameter]) {
        (self.interventions, self.reflections) = (interventions, reflections)
    }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        let rotation = context.scope { self.rotation(at: context.point, in: context) }
        return [interventions.changed(inputs[0], towards: rotation, subtracting: true, in: context)]
    }

    /// R of a point.
    private func rotation(at point: Int, in context: Context) -> Tensor {
        let base = context[interventions.directions[point]]
        if reflections.isEmpty { return base }
        let normals = context[reflections[point]].l2Normalized()
        return (0..<normals.size(0)).reduce(base) { rotated, index in
            let normal = normals.slice(0, from: index, length: 1)
            return rotated - rotated.matmul(normal, transposeOther: true) * (normal * 2)
        }
    }

    func fold(in context: Context) -> [Tensor] {
        let rotations = reflections.indices.map { rotation(at: $0, in: context) }
        return interventions.sources(in: context) + rotations
    }
}

/// NoReFT, as the paper's code has it: LoReFT without what keeps R orthonormal,
///
///     h + V^T (W h + b - V h),     V [rank, width], which starts as a linear layer does
final class NoReFT: Adapter {
    private let interventions: Interventions

    var parameters: [Parameter] { interventions.parameters }

    convenience init(options: Options, site: Site) throws(PluginError) {
        self.init(try Interventions(options, site))
    }

    private init(_ interventions: Interventions) { self.interventions = interventions }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        [interventions.changed(inputs[0], subtracting: true, in: context)]
    }
}

/// DiReFT, equation 3 of the paper: NoReFT without the difference,
///
///     h + V^T (W h + b)
final class DiReFT: Adapter {
    private let interventions: Interventions

    var parameters: [Parameter] { interventions.parameters }

    convenience init(options: Options, site: Site) throws(PluginError) {
        self.init(try Interventions(options, site))
    }

    private init(_ interventions: Interventions) { self.interventions = interventions }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        [interventions.changed(inputs[0], subtracting: false, in: context)]
    }
}

// MARK: - What users see

extension LoReFT {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "loreft",
            summary: "LoReFT: hidden states are moved within an orthonormal low-rank space (Wu et al. 2024).",
            seams: [Seam.layerOutput], options: Interventions.options, folds: true)
    }
}

extension NoReFT {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "noreft", summary: "NoReFT: LoReFT without orthonormal directions (Wu et al. 2024).",
            seams: [Seam.layerOutput], options: Interventions.options)
    }
}

extension DiReFT {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "direft", summary: "DiReFT: a low-rank map of the hidden states is added to them (Wu et al. 2024).",
            seams: [Seam.layerOutput], options: Interventions.options)
    }
}

private let plugin = Plugin(
    id: "org.seamkit.reft", version: "1.0.0", license: "Apache-2.0",
    summary: "Representation finetuning: LoReFT, NoReFT and DiReFT.",
    adapters: [
        AdapterFactory(LoReFT.self) { LoReFT.create($0, $1, $2, $3, $4) },
        AdapterFactory(NoReFT.self) { NoReFT.create($0, $1, $2, $3, $4) },
        AdapterFactory(DiReFT.self) { DiReFT.create($0, $1, $2, $3, $4) },
    ])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
