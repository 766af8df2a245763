import SeamHost
import Support

/// The projections of a backbone as modules of transformers, which PEFT calls by their paths
/// ("model.layers.0.self_attn.q_proj").
///
/// A file of weights names its matrices after these modules, but a model saved without its head, or loaded with one, has
/// the name of its body in front or not: paths are compared without it.
struct PEFTModules {
    /// What transformers' classes with a head call the body.
    private static let bodies = ["model.", "transformer."] + bodiesOfEncoders
    /// Those of encoders alone, some of which have a "transformer." inside.
    private static let bodiesOfEncoders = [
        "model.", "bert.", "roberta.", "distilbert.", "electra.", "mpnet.", "deberta.", "nomic_bert.",
    ]
    /// Of those classes, in a family whose files may lack it.
    private static let bodyOfFamilies = ["gpt2": "transformer.", "t5": ""]

    private let info: BackboneInfo
    private let points: [TextKey: Point]

    init(_ info: BackboneInfo) {
        self.info = info
        let named = info.points.compactMap { point in Self.path(of: point).map { (TextKey(Self.bare($0)), point) } }
        points = Dictionary(named, uniquingKeysWith: { first, _ in first })
    }

    /// The point of a module; nil where none is the module's matrix.
    func point(of path: String) -> Point? { points[TextKey(Self.bare(path))] }

    /// The module of a point, in the class that PEFT is given for the backbone's task.
    /// - Throws: `.unsupported` for a point whose matrix has no name of such a module.
    func path(of point: Point) throws -> String {
        guard let path = Self.path(of: point) else {
            throw SeamError(
                .unsupported,
                "the matrix of \"\(point.path)\" is no parameter that ends in \".weight\": PEFT has no name for its module"
            )
        }
        // Folders for an encoder are for the bare model, as those of prefixes are.
        if info.architecture == .encoderOnly { return Self.without(Self.bodiesOfEncoders, path) }
        let bare = Self.bare(path)
        return bare == path ? (Self.bodyOfFamilies[info.family] ?? "model.") + bare : path
    }

    private static func path(of point: Point) -> String? {
        guard let name = point.weightParameter, name.hasSuffix(".weight") else { return nil }
        return String(name.dropLast(".weight".count))
    }

    /// Without what stands before it in one class or another: "transformer." too, inside of "distilbert.".
    private static func bare(_ path: String) -> String { without(bodies, without(bodies, path)) }

    private static func without(_ bodies: [String], _ path: String) -> String {
        guard let body = bodies.first(where: path.hasPrefix) else { return path }
        return String(path.dropFirst(body.count))
    }
}
