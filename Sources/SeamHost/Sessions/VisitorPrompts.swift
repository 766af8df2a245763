import CSeam
import Engine
import Support

// Visits at embedded tokens (the seam prompt.embedding): what adapters put before a text becomes part of what the backbone
// goes on with, and mask and positions grow along. Rows of routes with fewer vectors than others have padding before
// theirs.
extension Visitor {
    /// What the adapters of a route made of its rows.
    private struct Prompted {
        let rows: Range<Int>
        /// Put before the text, [rows, n, d_model] each.
        var vectors: [Tensor] = []
        /// The text.
        var x: Tensor

        var length: Int { vectors.reduce(0) { $0 + $1.shape[1] } }
    }

    /// Runs the adapters at a point of embedded tokens, those of each route on its rows and in order; the vectors of each
    /// stand behind those of the adapters before it. Each reads the text's own tokens.
    func put(
        before text: Tensor, _ current: Call, _ given: seam_visit, _ pass: seam_pass,
        _ io: UnsafeMutablePointer<seam_visit>
    ) throws {
        let (point, context) = (backbone.info.points[given.point], current.context)
        guard text.dtype == .f32, text.shape.count == 3, text.shape[2] == point.outputWidth,
            text.shape[0] == current.slices.last?.rows.upperBound
        else {
            throw failure(
                "\(text.dtype.name) \(text.shape) at \"\(point.path)\", which is f32 [batch, n, \(point.outputWidth)]")
        }
        let tokens: Shape = [text.shape[0], text.shape[1]]
        let mask = try given.attention_mask.map { try checked($0, "attention_mask", tokens, point) }
        let positions = try given.position_ids.map { try checked($0, "position_ids", tokens, point) }
        let known = try mask ?? current.tokens ?? context.retain(context.full(1, .i32, tokens))
        guard known.shape == tokens else {
            throw failure("\(text.shape) at \"\(point.path)\", where \(known.shape) tokens are")
        }
        let parts = try current.slices.map { slice in
            try prompted(
                Prompted(
                    rows: slice.rows, x: try slice.rows(of: text, in: context, outOf: tokens[0])), slice.route,
                mask: try slice.rows(of: known, in: context, outOf: tokens[0]), current, given.point, pass)
        }
        if let recorder, recorder.wants(given.point) {
            try recorder.take(
                .init(
                    value: parts[0].x, tokens: known,
                    generated: current.generated ?? pass.generated_mask.map { Tensor.from($0) }),
                at: given.point, in: context)
        }
        let length = parts.reduce(0) { max($0, $1.length) }
        guard length > 0 || parts.count > 1 else {
            io.pointee.value = parts[0].x.handle
            return
        }
        io.pointee.value = context.retain(try joined(parts, length, context)).handle
        guard length > 0 else { return }
        // The number of vectors before each row; where it is not that of all, the others have padding to hide.
        let counts = parts.flatMap { part in part.rows.map { _ in part.length } }
        let isUniform = counts.allSatisfy { $0 == length }
        if mask != nil || !isUniform {
            let own = try mask ?? context.full(1, .i32, tokens)
            io.pointee.attention_mask = try longer(own, by: counts, length, context).handle
        }
        if positions != nil || !isUniform {
            io.pointee.position_ids = try moved(positions, tokens, by: counts, length, context).handle
        }
        // At the points behind this one there are as many tokens more.
        self.current?.tokens = try current.tokens.map { try longer($0, by: counts, length, context) }
        self.current?.generated = try current.generated.map {
            try longer($0, by: counts, length, value: 0, context)
        }
    }

    private func checked(_ handle: OpaquePointer, _ name: String, _ shape: Shape, _ point: Point) throws -> Tensor {
        let tensor = Tensor.from(handle)
        guard tensor.dtype == .i32, tensor.shape == shape else {
            throw failure(
                "\(name) \(tensor.dtype.name) \(tensor.shape) at \"\(point.path)\", which must be i32 \(shape)")
        }
        return tensor
    }

    private func prompted(
        _ start: Prompted, _ route: Int, mask: Tensor, _ current: Call, _ point: Int, _ pass: seam_pass
    ) throws -> Prompted {
        var result = start
        for stop in stops[route][point] {
            let (vectors, x) = try stop.adapter.prompt(current, at: stop.point, x: result.x, mask: mask, pass: pass)
            result.x = x
            let found = vectors?.shape[1] ?? 0
            guard found == stop.promptLength else {
                throw SeamError(
                    .plugin,
                    "adapter \"\(stop.adapter.factory.id)\" must put as many vectors before every text at the point \"\(backbone.info.points[point].path)\", \(stop.promptLength) as when it was attached, found \(found)",
                    origin: stop.adapter.origin)
            }
            guard current.beginsText, let vectors else { continue }
            result.vectors.append(
                try current.context.expand(vectors, to: [start.rows.count, found, vectors.shape[2]]))
        }
        return result
    }

    /// All rows, each with `length` vectors before its text: its own, behind zeros where it has fewer.
    private func joined(_ parts: [Prompted], _ length: Int, _ context: Context) throws -> Tensor {
        let rows = try parts.map { part in
            let missing = length - part.length
            let padding =
                missing > 0 ? [try context.full(0, .f32, [part.rows.count, missing, part.x.shape[2]])] : []
            return length > 0 ? try context.concat(padding + part.vectors + [part.x], axis: 1) : part.x
        }
        return rows.count == 1 ? rows[0] : try context.concat(rows, axis: 0)
    }

    /// Numbers of the tokens of every row behind those of what stands before them: `value`, and 0 for padding.
    private func longer(_ rows: Tensor, by counts: [Int], _ length: Int, value: Int32 = 1, _ context: Context) throws
        -> Tensor
    {
        let first = counts.flatMap { count in (0..<length).map { $0 < length - count ? 0 : value } }
        return context.retain(
            try context.concat([try context.constant(first, [counts.count, length]), rows], axis: 1))
    }

    /// Positions of the tokens of every row, behind the vectors before them, which have the first ones.
    private func moved(
        _ positions: Tensor?, _ tokens: Shape, by counts: [Int], _ length: Int, _ context: Context
    ) throws -> Tensor {
        let own = try positions.map { try context.contiguous($0).integers }
        let all = counts.enumerated().flatMap { row, count -> [Int32] in
            let text = (0..<tokens[1]).map { (own?[row * tokens[1] + $0] ?? Int32($0)) + Int32(count) }
            return (0..<length).map { Int32(max($0 - (length - count), 0)) } + text
        }
        return context.retain(try context.constant(all, [tokens[0], length + tokens[1]]))
    }
}
