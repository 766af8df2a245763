import CSeam
import Engine
import Support

// An adapter on seams inside the layers: where it sits, and how it is run there.
extension Adapter {
    /// The indices of its points in a backbone, in its own order.
    /// - Throws: `.incompatible` for points that the backbone does not have, all of them in one sentence.
    func pointIndices(in info: BackboneInfo) throws -> [Int] {
        let known = Dictionary(info.points.enumerated().map { ($1.path, $0) }, uniquingKeysWith: { first, _ in first })
        let missing = points.filter { own in
            guard let place = known[own.path] else { return true }
            let other = info.points[place]
            return (other.seam, other.inputWidth, other.outputWidth) != (own.seam, own.inputWidth, own.outputWidth)
        }
        guard missing.isEmpty else {
            let names = missing.map { "\"\($0.path)\" of \($0.inputWidth) to \($0.outputWidth)" }
            throw SeamError(
                .incompatible,
                "adapter \"\(factory.id)\" is made for the point\(names.count > 1 ? "s" : "") \(listed(names, ", ")), which this backbone does not have"
            )
        }
        return points.map { known[$0.path]! }
    }

    /// Asks the plugin when it wants each of the points.
    static func phases(
        of instance: UnsafeMutableRawPointer?, _ factory: AdapterFactory, at points: [Point]
    ) throws -> [seam_phases] {
        try points.enumerated().map { index, point in
            guard point.isProjection, let phases = factory.table.phases else { return Phase.after }
            let found = phases(instance, index)
            guard found != 0, found & ~(Phase.before | Phase.after) == 0 else {
                throw SeamError(
                    .plugin,
                    "adapter \"\(factory.id)\" must want the point \"\(point.path)\" before (1), after (2) or both (3), found \(found)",
                    origin: factory.plugin.id)
            }
            return found
        }
    }

    /// One call at a point.
    struct Visit {
        /// Index in the adapter's own points.
        let point: Int
        let phase: seam_phases
        /// What the output takes the place of.
        let value: OpaquePointer
    }

    /// Runs the adapter at one of its points.
    /// - Parameter pass: what the backbone says of the tokens there.
    /// - Returns: what goes on, of the shape of the visit's value; alive as long as the context.
    func visit(
        _ call: Visitor.Call, _ visit: Visit, inputs: UnsafeBufferPointer<OpaquePointer?>, pass: seam_pass
    ) throws -> OpaquePointer {
        var output: OpaquePointer?
        try withUnsafeMutablePointer(to: &output) {
            try run(call, visit, inputs: inputs, outputs: UnsafeMutableBufferPointer(start: $0, count: 1), pass: pass)
        }
        let expected = Tensor.from(visit.value).shape
        return try checkedOutput(output.map { Tensor.from($0) }, as: expected, at: visit.point).handle
    }

    /// Calls the plugin at one of the points, with outputs that are not checked.
    /// - Parameter pass: what the backbone says of the tokens there.
    func run(
        _ call: Visitor.Call, _ visit: Visit, inputs: UnsafeBufferPointer<OpaquePointer?>,
        outputs: UnsafeMutableBufferPointer<OpaquePointer?>, pass: seam_pass
    ) throws {
        var io = seam_forward()
        io.struct_size = UInt32(MemoryLayout<seam_forward>.size)
        io.phase = visit.phase
        io.point = Int64(visit.point)
        io.inputs = inputs.baseAddress
        io.input_count = inputs.count
        io.outputs = outputs.baseAddress
        io.output_count = outputs.count
        call.context.withPass(parameters.handles(ofPoint: visit.point), training: call.training) { own in
            var given = own.pointee
            (given.attention_mask, given.generated_mask) = call.marks(at: points[visit.point], pass)
            given.position_ids = pass.position_ids
            table.forward(instance, &given, &io)
        }
        try call.context.check(origin: origin)
    }
}

extension Visitor.Call {
    /// Which tokens are tokens, and which the model generated itself, [batch, n] i32 each, as far as is known.
    /// - Parameter pass: what the backbone says of the tokens there.
    func marks(at point: Point, _ pass: seam_pass) -> (tokens: OpaquePointer?, generated: OpaquePointer?) {
        // What the session knows is about the call's own tokens.
        let isOfSource = point.isOfSource
        return (
            (isOfSource ? nil : tokens?.handle) ?? pass.attention_mask,
            pass.generated_mask ?? (isOfSource ? nil : generated?.handle)
        )
    }
}
