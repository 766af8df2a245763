import CSeam
import Engine
import Support

// Adapters that are linear in the weights, computed into them for one session. The backbone keeps its own weights; what
// changes is what the session's passes are given in their place.
extension Session {
    /// Computes an attached adapter on projections into the backbone's weights, for this session alone: its passes then
    /// cost what the backbone's cost. The weights that it changes are copied as f32.
    ///
    /// What is merged stays in `adapters`, at its position.
    /// - Throws: `.unsupported` for an adapter that is not linear in the weights, or whose points name no parameter, or
    ///   one that several points share; `.invalidArgument` for one that is merged already or in training, and where
    ///   another adapter on the same points runs before it, or reads an input that this one changes, or the session has
    ///   routes with a name; and what the plugin failed with. Nothing has changed then.
    public func merge(_ adapter: Adapter) throws {
        _ = try index(of: adapter, in: chains[0])
        guard !isMerged(adapter) else {
            throw SeamError(.invalidArgument, "adapter \"\(adapter.factory.id)\" is merged already")
        }
        guard adapter.table.fold_weight != nil, adapter.seam == SEAM_PROJECTION else {
            throw SeamError(
                .unsupported,
                "adapter \"\(adapter.factory.id)\" is not linear in the weights of projections: it cannot be merged",
                origin: adapter.origin)
        }
        if let route = routes.first {
            throw SeamError(
                .invalidArgument,
                "adapter \"\(adapter.factory.id)\" cannot be merged into the weights, which all routes have, while the session has route \"\(route)\": remove its routes first"
            )
        }
        try setMerged(merged.union([ObjectIdentifier(adapter)]))
    }

    /// Takes a merged adapter out of the weights: with none merged they are the backbone's own again, bit for bit.
    /// - Throws: `.invalidArgument` for one that is not merged, and where another that is merged runs behind it on the
    ///   same points.
    public func unmerge(_ adapter: Adapter) throws {
        _ = try index(of: adapter, in: chains[0])
        guard isMerged(adapter) else {
            throw SeamError(.invalidArgument, "adapter \"\(adapter.factory.id)\" is not merged")
        }
        try setMerged(merged.subtracting([ObjectIdentifier(adapter)]))
    }

    /// Whether an adapter is computed into the weights of this session.
    public func isMerged(_ adapter: Adapter) -> Bool { merged.contains(ObjectIdentifier(adapter)) }

    /// Writes the model with the merged adapters in its weights, a folder in the Hugging Face layout that needs neither
    /// them nor SeamKit: the matrices that they change in f32, all else as it was (`BackboneFolder.save`).
    /// - Parameters:
    ///   - dequantizes: whether weights that are stored as quantised blocks may be written in f32, all of them; else such a
    ///     model is refused.
    ///   - replaces: whether a model of SeamKit's that is at `path` is replaced; else it is refused.
    /// - Throws: `.invalidArgument` while an adapter is not merged, or none is; `.unsupported` for a model opened without a
    ///   folder or file, and one of quantised weights; `.numeric` for a matrix that is not finite; `.alreadyExists`; `.io`.
    public func saveMergedModel(dequantizes: Bool = false, replaces: Bool = true, to path: String) throws {
        if let adapter = adapters.first(where: { !isMerged($0) }) {
            throw SeamError(
                .invalidArgument,
                "adapter \"\(adapter.factory.id)\" is not merged: the model cannot be written with it in its weights")
        }
        guard !adapters.isEmpty else {
            throw SeamError(.invalidArgument, "no adapter is merged: the model would be written as it is")
        }
        if !dequantizes, let files = backbone.model?.files,
            let tensor = try files.tensorNames.map(files.requireTensor).first(where: \.encoding.isQuantised)
        {
            throw SeamError(
                .unsupported,
                "\(files.path): tensor \"\(tensor.name)\" is stored as \(tensor.encoding.name): the merged model would be written in f32, several times as large; ask for that (dequantize), or merge into the model that was quantised"
            )
        }
        try BackboneFolder.save(backbone, replacements: replaced, replaces: replaces, to: path)
    }

    /// Throws `.invalidArgument` while an adapter is merged.
    /// - Parameter action: "trained", for the sentence.
    public func requireUnmerged(toBe action: String) throws {
        guard let adapter = adapters.first(where: isMerged) else { return }
        throw SeamError(
            .invalidArgument,
            "adapter \"\(adapter.factory.id)\" is merged into the weights: unmerge it before it is \(action)")
    }

    /// Throws `.invalidArgument` where merging some of the adapters gives something else than running all of them.
    static func checkOrder(of adapters: [Adapter], merged: Set<ObjectIdentifier>) throws {
        for (position, adapter) in adapters.enumerated() where merged.contains(ObjectIdentifier(adapter)) {
            let own = Set(adapter.points.map(\.path))
            // A later adapter reads the input that this one made, which merged weights do not show.
            let changesInput = adapter.phases.contains { $0 & Phase.before != 0 }
            for (other, rival) in adapters.enumerated() where !merged.contains(ObjectIdentifier(rival)) {
                guard other < position || changesInput,
                    let shared = rival.points.first(where: { own.contains($0.path) })
                else { continue }
                let place = other < position ? "runs before it" : "would read its input unchanged"
                throw SeamError(
                    .invalidArgument,
                    "adapter \"\(adapter.factory.id)\" cannot be merged while \"\(rival.factory.id)\" \(place) at \"\(shared.path)\" unmerged"
                )
            }
        }
    }

    /// The weights that take the place of the backbone's own, by their index.
    /// - Parameter others: adapters that run on these weights unmerged.
    func replacements(by adapters: [Adapter], besides others: [Adapter]) throws -> [Int: Tensor] {
        let points = backbone.info.points
        let parameters = points.flatMap { [$0.weightParameter, $0.biasParameter] }.compactMap(\.self)
        let users = Dictionary(parameters.map { ($0, 1) }, uniquingKeysWith: +)
        var result: [Int: Tensor] = [:]
        func current(_ index: Int) -> Tensor { result[index] ?? backbone.parameters.entries[index].tensor.detached }
        /// The matrix [out, in] and the bias at a point, as what is merged so far has made them.
        func operands(_ place: Point, weight: Int, in context: Context) throws -> (matrix: Tensor, bias: Tensor?) {
            let matrix = place.isTransposed ? try context.permute(current(weight), [1, 0]) : current(weight)
            return (matrix, place.biasParameter.flatMap(backbone.parameters.index).map(current))
        }
        for adapter in adapters {
            guard adapter.parameters.variables.isEmpty, backbone.isFrozen else {
                throw SeamError(
                    .invalidArgument, "adapter \"\(adapter.factory.id)\" or the backbone is in training: end that first"
                )
            }
            for (own, index) in try adapter.pointIndices(in: backbone.info).enumerated() {
                let place = points[index]
                guard let name = place.weightParameter, users[name] == 1,
                    let weight = backbone.parameters.index(of: name)
                else {
                    throw SeamError(
                        .unsupported,
                        "adapter \"\(adapter.factory.id)\" cannot be merged: the matrix of \"\(place.path)\" is \(place.weightParameter == nil ? "no parameter of the backbone" : "also that of other points")"
                    )
                }
                let context = makeContext(recordsGradients: false)
                let given = try operands(place, weight: weight, in: context)
                if result[weight] != nil {
                    try adapter.requireLinear(context, point: own, weight: given.matrix, bias: given.bias)
                }
                let (folded, bias) = try adapter.fold(context, point: own, weight: given.matrix, bias: given.bias)
                result[weight] = place.isTransposed ? try context.copied(try context.permute(folded, [1, 0])) : folded
                if let bias, let biasIndex = place.biasParameter.flatMap(backbone.parameters.index) {
                    guard users[backbone.parameters.entries[biasIndex].name] == 1 else {
                        throw SeamError(
                            .unsupported,
                            "adapter \"\(adapter.factory.id)\" cannot be merged: the bias of \"\(place.path)\" is also that of other points"
                        )
                    }
                    result[biasIndex] = bias
                }
            }
        }
        for adapter in others where adapter.table.fold_weight != nil {
            for (own, index) in try adapter.pointIndices(in: backbone.info).enumerated() {
                let place = points[index]
                guard let weight = place.weightParameter.flatMap(backbone.parameters.index), result[weight] != nil
                else { continue }
                let context = makeContext(recordsGradients: false)
                let given = try operands(place, weight: weight, in: context)
                try adapter.requireLinear(context, point: own, weight: given.matrix, bias: given.bias)
            }
        }
        return result
    }
}

extension Adapter {
    /// Checks an adapter that runs behind others at a matrix into which these are merged: with all of them unmerged it changes
    /// what they gave, and reads the model's own matrix. The two are the same where what it makes of a matrix is linear in it, up to a
    /// constant: f(W + 2 E) = 2 f(W + E) - f(W), for any E, of which one is tried.
    /// - Throws: `.unsupported` where it is not, to 1e-3 of the largest number.
    fileprivate func requireLinear(_ context: Context, point: Int, weight: Tensor, bias: Tensor?) throws {
        let numbers = try context.contiguous(weight).floats
        let size = (numbers.reduce(0) { $0 + Double($1) * Double($1) } / Double(max(numbers.count, 1))).squareRoot()
        let folded = try (0...2).map { times in
            let moved = try context.constant(numbers.map { $0 + Float(Double(times) * size) }, weight.shape)
            return try fold(context, point: point, weight: moved, bias: bias).0.floats
        }
        let largest = folded.joined().reduce(0) { max($0, abs($1)) }
        let off = folded[0].indices.reduce(Float(0)) {
            max($0, abs(folded[2][$1] - 2 * folded[1][$1] + folded[0][$1]))
        }
        guard off <= 1e-3 * largest else {
            throw SeamError(
                .unsupported,
                "adapter \"\(factory.id)\" runs behind a merged one at \"\(points[point].path)\": what it makes of a matrix is not linear in it, so that it would give something else than with both unmerged; attach it before the other"
            )
        }
    }

    /// What a projection's matrix [out, in] and bias [out] become, checked; copies that outlive the context.
    fileprivate func fold(_ context: Context, point: Int, weight: Tensor, bias: Tensor?) throws -> (Tensor, Tensor?) {
        guard let function = table.fold_weight else {
            throw SeamError(.unsupported, "adapter \"\(factory.id)\" is not linear in the weights", origin: origin)
        }
        var io = seam_fold_weight()
        io.struct_size = UInt32(MemoryLayout<seam_fold_weight>.size)
        io.point = Int64(point)
        io.weight = weight.handle
        io.bias = bias?.handle
        context.withPass(parameters.handles(ofPoint: point)) { function(instance, $0, &io) }
        try withExtendedLifetime((weight, bias)) { try context.check(origin: origin) }
        func checked(_ handle: OpaquePointer, _ shape: Shape, _ name: String) throws -> Tensor {
            try copied(Tensor.from(handle), as: shape, "\(name) of \"\(points[point].path)\"", in: context)
        }
        guard let handle = io.folded_weight else {
            throw SeamError(
                .plugin, "adapter \"\(factory.id)\" returned NULL for folded_weight of \"\(points[point].path)\"",
                origin: origin)
        }
        guard bias != nil || io.folded_bias == nil else {
            throw SeamError(
                .plugin, "adapter \"\(factory.id)\" gives a bias to \"\(points[point].path)\", which has none",
                origin: origin)
        }
        return (
            try checked(handle, weight.shape, "folded_weight"),
            try io.folded_bias.map { try checked($0, bias!.shape, "folded_bias") }
        )
    }
}
