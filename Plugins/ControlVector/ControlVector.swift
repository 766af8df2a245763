import CSeam
import SeamPlugin

/// Control vectors (representation engineering, Zou et al. 2023, arXiv 2310.01405): to the states h that leave a layer a
/// vector of its own is added,
///
///     h + c v,     v [width]
///
/// or, with `keep_norm`, (h + c v) |h| / |h + c v|, the length that the state had, as in-context vectors do (Liu et al.
/// 2023, arXiv 2311.06668; that form is inferred from their published code, which has it inside a sum).
///
/// v starts as zeros and is set by `prepare`, without a gradient, from texts of class 1, those that are wanted, and of
/// class 0, their opposites: of each text the state of its last token. The options say how.
final class ControlVector: Adapter {
    private enum Kind { case pca, mean, difference, inContext }

    private let directions: [Parameter]
    private let kind: Kind
    private let strength: Double
    private let keepsNorm: Bool
    /// Of an in-context vector: the differences of all points so far.
    private var joint: JointDifferences?

    var parameters: [Parameter] { directions }

    init(options: Options, site: Site) throws(PluginError) {
        let name = try options.string("method")
        kind = name == "pca" ? .pca : name == "mean" ? .mean : name == "difference" ? .difference : .inContext
        strength = try options.double("strength")
        keepsNorm = try options.bool("keep_norm")
        directions = site.points.enumerated().map { Parameter("direction", [$1.outputWidth], .zeros, point: $0) }
    }

    func forward(_ inputs: [Tensor], in context: Context) -> [Tensor] {
        let h = inputs[0]
        let moved = h + context[directions[context.point]] * strength
        guard keepsNorm else { return [moved] }
        return [moved * (length(h) / length(moved))]
    }

    /// Of every state, [..., 1]; never zero.
    private func length(_ x: Tensor) -> Tensor { x.square().sum(-1, keep: true).affine(scale: 1, shift: 1e-12).sqrt() }

    func prepare(_ examples: Examples, in context: Context) -> [(parameter: Parameter, value: Tensor)] {
        guard let states = lastStates(examples, in: context) else { return [] }
        let width = states.width
        func value(_ numbers: [Double], of point: Int) -> (parameter: Parameter, value: Tensor) {
            (directions[point], context.constant(numbers.map { Float($0) }, [width]))
        }
        switch kind {
        case .difference: return [value(states.meanDifference, of: examples.point)]
        case .mean: return [value(normalised(states.meanDifference), of: examples.point)]
        case .pca, .inContext: break
        }
        guard let pairs = pairs(states, in: context) else { return [] }
        if kind == .pca { return [value(pairs.direction, of: examples.point)] }
        if examples.point == 0 { joint = JointDifferences() }
        joint?.add(pairs)
        guard examples.point == directions.count - 1, let vectors = joint?.vectors else { return [] }
        joint = nil
        return vectors.enumerated().map { value($1, of: $0) }
    }

    private func pairs(_ states: ClassStates, in context: Context) -> PairDifferences? {
        let (wanted, others) = (states.ofClass1.count, states.ofClass0.count)
        guard wanted == others, wanted >= 2 else {
            _ = context.fail(
                .invalidArgument,
                "a direction of differences needs 2 pairs or more, the texts of class 1 and their opposites of class 0 in "
                    + "the same order, found \(wanted) and \(others)")
            return nil
        }
        return PairDifferences(states)
    }

    /// The state of each text's last token, in its class. Nil, with the failure latched, without two classes.
    private func lastStates(_ examples: Examples, in context: Context) -> ClassStates? {
        guard let labels = examples.labels?.cast(to: .f32).floats() else {
            _ = context.fail(
                .invalidArgument, "it takes texts of class 1 and their opposites of class 0, and there are no classes")
            return nil
        }
        guard labels.allSatisfy({ $0 == 0 || $0 == 1 }), labels.contains(0), labels.contains(1) else {
            _ = context.fail(
                .invalidArgument, "it takes texts of the classes 0 and 1, and there are others or only one")
            return nil
        }
        let hidden = examples.inputs[0]
        let (rows, count, width) = (hidden.size(0), hidden.size(1), hidden.size(2))
        let mask = context.attentionMask?.cast(to: .f32).floats()
        let places = (0..<rows).map { row in
            Int32(row * count + ((0..<count).last { mask?[row * count + $0] ?? 1 != 0 } ?? count - 1))
        }
        let last = hidden.reshape([rows * count, width]).indexSelect(0, context.constant(places, [rows]))
        guard let numbers = last.floats(), labels.count == rows else { return nil }
        return ClassStates(numbers, labels, width: width)
    }
}

extension ControlVector {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "control-vector",
            summary: "A vector that is added to the states of each layer, from pairs of texts (Zou et al. 2023).",
            seams: [Seam.layerOutput],
            options: [
                .string(
                    "method", default: "\"pca\"", choices: "pca|mean|difference|in-context",
                    """
                    What prepare makes of the differences between texts of class 1 and of class 0: pca, their first \
                    principal direction, of length 1; mean, their mean, of length 1; difference, their mean; in-context, \
                    their mean and the first principal direction over all layers together.
                    """),
                .double("strength", default: "1", in: -1e6...1e6, "What the vector is multiplied by."),
                .bool("keep_norm", default: false, "Give every state the length back that it had."),
            ], prepares: true)
    }
}

private let plugin = Plugin(
    id: "org.seamkit.control-vector", version: "1.0.0", license: "Apache-2.0",
    summary: "Vectors from pairs of texts that steer a model.",
    adapters: [AdapterFactory(ControlVector.self) { ControlVector.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
