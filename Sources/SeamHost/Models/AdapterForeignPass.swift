import CSeam
import Engine
import Support

/// A tensor of an engine of the caller's, as its compute table describes it.
private struct ForeignTensor: Measured {
    let shape: Shape
    let dtype: DType

    init(_ handle: OpaquePointer, _ pass: seam_pass, _ ops: seam_ops, _ what: String) throws {
        let rank = ops.rank(pass.ctx, handle)
        guard rank >= 0, rank <= Int32(maxRank), let dtype = DType(rawValue: ops.dtype(pass.ctx, handle)) else {
            throw SeamError(.invalidArgument, "the compute table does not know the rank and the dtype of \(what)")
        }
        self.dtype = dtype
        shape = Shape((0..<rank).map { Int(ops.size(pass.ctx, handle, $0)) })
    }
}

// An adapter on an engine of the caller's: its compute table, and tensors that only it can read.
extension Adapter {
    /// Runs the adapter's forward on tensors of the caller's.
    /// - Parameters:
    ///   - pass: the caller's context and compute table, and its handles of the parameters: all or, at a point, the shared
    ///     ones and then the point's own.
    ///   - io: as the plugin is given it; its outputs are filled.
    /// - Throws: `.shape` for inputs that are not those of the seam, `.plugin` for outputs that are not, `.invalidArgument`
    ///   for what else the caller gives wrongly, `.unsupported` for a table that lacks operations, and the code of the first
    ///   operation that failed.
    public func forward(pass: seam_pass, _ io: inout seam_forward) throws {
        guard let table = pass.ops, pass.ctx != nil else {
            throw SeamError(.invalidArgument, "a pass needs its context and its compute table, found NULL")
        }
        let ops = try bounded(table, atLeast: SEAM_OPS_SIZE_1_0, "seam_ops", code: .invalidArgument)
        guard ops.rank != nil, ops.size != nil, ops.dtype != nil, ops.status != nil else {
            throw SeamError(.invalidArgument, "the compute table must have rank, size, dtype and status, found NULL")
        }
        let missing = OpsTable.missing(in: ops, required: factory.plugin.requiredOperations)
        guard missing.isEmpty else {
            throw SeamError(
                .unsupported,
                "adapter \"\(factory.id)\" needs operations that the compute table does not have: \(missing.joined(separator: ", "))",
                origin: origin)
        }
        let point = try point(of: io)
        let expected = (point.map { parameters.handles(ofPoint: $0) } ?? parameters.handles).count
        try require(
            UnsafeRawPointer(pass.parameters), pass.parameter_count == expected, "parameters", expected,
            found: pass.parameter_count)
        let inputs = try inputs(of: io, pass, ops)
        try checkInputs(inputs, at: point, phase: io.phase)
        let count = isPrefix ? inputs.count : isPrompt ? 2 : 1
        try require(
            UnsafeRawPointer(io.outputs), io.output_count == count, "outputs", count, found: io.output_count)
        for index in 0..<count { io.outputs[index] = nil }
        // A pass of the native engine knows by itself whether dropout drops.
        let native = table == OpsTable.native ? Context.from(pass.ctx) : nil
        let outer = native?.isTraining ?? false
        native?.isTraining = pass.training == 1
        withUnsafePointer(to: pass) { self.table.forward(instance, $0, &io) }
        native?.isTraining = outer
        let status = ops.status(pass.ctx)
        guard status == 0 else {
            throw SeamError(
                ErrorCode(rawValue: status) ?? .plugin,
                "an operation of adapter \"\(factory.id)\" failed with status \(status)", origin: origin)
        }
        let outputs = try (0..<count).map { index in
            try io.outputs[index].map { try ForeignTensor($0, pass, ops, "output \(index)") }
        }
        try checkOutputs(outputs, inputs, at: point, phase: io.phase)
    }

    /// - Throws: `.invalidArgument` for a point that the adapter is not on, and for a phase that the point does not have.
    private func point(of io: seam_forward) throws -> Int? {
        guard let index = try index(ofPoint: io.point) else { return nil }
        guard io.phase == Phase.after || (io.phase == Phase.before && points[index].isProjection) else {
            throw SeamError(.invalidArgument, "the point \"\(points[index].path)\" has no phase \(io.phase)")
        }
        return index
    }

    /// The index of one of the adapter's points; nil at a seam that has none.
    /// - Throws: `.invalidArgument` for a point that the adapter is not on.
    func index(ofPoint given: Int64) throws -> Int? {
        guard !points.isEmpty else {
            guard given < 0 else {
                throw SeamError(
                    .invalidArgument, "adapter \"\(factory.id)\" is on \(seam), which has no points, found \(given)")
            }
            return nil
        }
        guard let index = Int(exactly: given), points.indices.contains(index) else {
            throw SeamError(
                .invalidArgument,
                "adapter \"\(factory.id)\" is on \(seam), at several points: point must be 0 ... \(points.count - 1), found \(given)"
            )
        }
        return index
    }

    private func inputs(of io: seam_forward, _ pass: seam_pass, _ ops: seam_ops) throws -> [ForeignTensor?] {
        // No seam has more; a plugin reads as many as its seam defines.
        let most = 1 << 20
        try require(
            UnsafeRawPointer(io.inputs), (0...most).contains(io.input_count), "inputs", most, found: io.input_count)
        return try (0..<io.input_count).map { index in
            try io.inputs[index].map { try ForeignTensor($0, pass, ops, "input \(index)") }
        }
    }

    private func require(_ array: UnsafeRawPointer?, _ fits: Bool, _ name: String, _ count: Int, found: Int) throws {
        guard fits, array != nil || found == 0 else {
            throw SeamError(
                .invalidArgument,
                "adapter \"\(factory.id)\" takes \(count) \(name), found \(fits ? "NULL" : "\(UInt(bitPattern: found))")"
            )
        }
    }

    /// - Throws: `.shape` for inputs that are not those of the seam.
    func checkInputs(_ inputs: [(some Measured)?], at point: Int? = nil, phase: seam_phases = 0) throws {
        let shapes = inputs.map { $0?.shape }
        let (wanted, fits) = expectation(shapes, at: point, phase: phase)
        guard !fits else { return }
        let place = point.map { "at the point \"\(points[$0].path)\"" } ?? "on \(seam)"
        let found = shapes.map { $0.map { "\($0)" } ?? "None" }.joined(separator: ", ")
        throw SeamError(
            .shape, "adapter \"\(factory.id)\" \(place) takes \(wanted), found \(found.isEmpty ? "nothing" : found)",
            origin: origin)
    }

    /// What the seam takes, in words, and whether these are of such shapes.
    private func expectation(_ shapes: [Shape?], at point: Int?, phase: seam_phases) -> (String, Bool) {
        let first = shapes.first ?? nil
        if let point {
            let (wide, out) = (points[point].inputWidth, points[point].outputWidth)
            if points[point].isEmbedding {
                let fits = shapes.count == 2 && first?.count == 3 && first?[2] == out
                return (
                    "x [batch, n, \(out)] and mask [batch, n]", fits && shapes[1] == first.map { Shape($0.prefix(2)) }
                )
            }
            guard points[point].isProjection else {
                return ("hidden [batch, n, \(out)]", shapes.count == 1 && first?.count == 3 && first?[2] == out)
            }
            let operands = "x [batch, n, \(wide)], weight [\(out), \(wide)] and bias [\(out)] or None"
            let isBefore = phase == Phase.before
            guard shapes.count == (isBefore ? 3 : 4), let first, first.count == 3, first[2] == wide,
                shapes[1] == [out, wide], shapes[2] == nil || shapes[2] == [out]
            else { return (isBefore ? operands : "\(operands), and y [batch, n, \(out)]", false) }
            return ("\(operands), and y [batch, n, \(out)]", isBefore || shapes[3] == [first[0], first[1], out])
        }
        switch seam {
        case SEAM_ENCODER_OUTPUT:
            return (
                "hidden [batch, source, \(site.dModel)] and mask [batch, source]",
                shapes.count == 2 && first?.count == 3 && first?[2] == site.dModel
                    && shapes[1] == first.map { Shape($0.prefix(2)) }
            )
        case SEAM_DECODER_OUTPUT:
            let words = promptAxis.map { "\($0), " }.joined()
            let fits = first.map { $0.elementsEqual([$0.first ?? 0] + promptAxis + [classes]) } ?? false
            return (
                "scores [batch, \(words)\(classes)] and hidden [batch, \(words)\(site.dModel)]",
                shapes.count == 2 && fits && shapes[1] == first.map { Shape([$0[0]] + promptAxis + [site.dModel]) }
            )
        default:
            let count = site.prefixLayers.reduce(0, +)
            return (
                "\(count) prefixes, for each layer of each attention [2, kv_heads, prefix, head_dim] or None",
                shapes.count == count && shapes.allSatisfy { $0 == nil || $0!.count == 4 }
            )
        }
    }

    /// - Throws: `.plugin` for outputs that are not those of the seam.
    private func checkOutputs(
        _ outputs: [ForeignTensor?], _ inputs: [ForeignTensor?], at point: Int?, phase: seam_phases
    ) throws {
        if isPrefix { return try checkPrefixes(outputs[...], inputs[...]) }
        if let point, isPrompt, let x = inputs[0]?.shape {
            return try checkPrompt(outputs[0], outputs[1], x: x, at: point)
        }
        let isProjected = point.map { points[$0].isProjection && phase == Phase.after } ?? false
        guard var expected = inputs[isProjected ? 3 : 0]?.shape else { return }
        // The answers to several prompts become one.
        if !promptAxis.isEmpty { expected = [expected[0], classes] }
        _ = try checkedOutput(outputs[0], as: expected, at: point)
    }

    /// Of all layers of each attention.
    private func checkPrefixes(_ outputs: ArraySlice<ForeignTensor?>, _ inputs: ArraySlice<ForeignTensor?>) throws {
        var (outputs, inputs) = (outputs, inputs)
        for (attention, count) in zip(PrefixAttention.allCases, site.prefixLayers) {
            let (made, before) = (Array(outputs.prefix(count)), Array(inputs.prefix(count)))
            (outputs, inputs) = (outputs.dropFirst(count), inputs.dropFirst(count))
            for layer in made.indices {
                try RoutePrefix.check(made, layer, on: attention, after: before[layer], from: self)
            }
        }
    }
}
