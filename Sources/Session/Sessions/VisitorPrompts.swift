import CSeam
import Engine
import Support

// Visits at embedded tokens (the seam prompt.embedding): what adapters put before a text becomes part of what the backbone
// goes on with, and mask and positions grow along.
extension Visitor {
    /// Runs the adapters at a point of embedded tokens, in order; the vectors of each stand behind those of the adapters
    /// before it. Each reads the text's own tokens.
    func put(
        before text: Tensor, _ current: Call, _ given: seam_visit, _ pass: seam_pass,
        _ io: UnsafeMutablePointer<seam_visit>
    ) throws {
        let (point, context) = (backbone.info.points[given.point], current.context)
        guard text.dtype == .f32, text.shape.count == 3, text.shape[2] == point.outputWidth else {
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
        var (x, parts) = (text, [Tensor]())
        for route in routes[given.point] {
            let (vectors, changed) = try route.adapter.prompt(current, at: route.point, x: x, mask: known, pass: pass)
            x = changed
            let found = vectors?.shape[1] ?? 0
            guard found == route.promptLength else {
                throw SeamError(
                    .plugin,
                    "adapter \"\(route.adapter.factory.id)\" must put as many vectors before every text at the point \"\(point.path)\", \(route.promptLength) as when it was attached, found \(found)",
                    origin: route.adapter.origin)
            }
            guard current.beginsText, let vectors else { continue }
            parts.append(try context.expand(vectors, to: [tokens[0], found, point.outputWidth]))
        }
        guard !parts.isEmpty else {
            io.pointee.value = x.handle
            return
        }
        let length = parts.reduce(0) { $0 + $1.shape[1] }
        io.pointee.value = context.retain(try context.concat(parts + [x], axis: 1)).handle
        io.pointee.attention_mask = try mask.map { try longer($0, by: length, all: 1, context).handle }
        io.pointee.position_ids = try positions.map { try moved($0, by: length, context).handle }
        // At the points behind this one there are as many tokens more.
        self.current?.tokens = try current.tokens.map { try longer($0, by: length, all: 1, context) }
        self.current?.generated = try current.generated.map { try longer($0, by: length, all: 0, context) }
    }

    private func checked(_ handle: OpaquePointer, _ name: String, _ shape: Shape, _ point: Point) throws -> Tensor {
        let tensor = Tensor.from(handle)
        guard tensor.dtype == .i32, tensor.shape == shape else {
            throw failure(
                "\(name) \(tensor.dtype.name) \(tensor.shape) at \"\(point.path)\", which must be i32 \(shape)")
        }
        return tensor
    }

    /// Numbers of the tokens of every row, behind `length` others that are all the same.
    private func longer(_ rows: Tensor, by length: Int, all value: Double, _ context: Context) throws -> Tensor {
        let first = try context.full(value, .i32, [rows.shape[0], length])
        return context.retain(try context.concat([first, rows], axis: 1))
    }

    /// Positions of the tokens of every row behind `length` others, which have the first ones.
    private func moved(_ positions: Tensor, by length: Int, _ context: Context) throws -> Tensor {
        let (count, own) = (positions.shape[1], try context.contiguous(positions).integers)
        let all = (0..<positions.shape[0]).flatMap { row in
            (0..<Int32(length)) + own[row * count..<(row + 1) * count].map { $0 + Int32(length) }
        }
        return context.retain(try context.constant(all, [positions.shape[0], length + count]))
    }
}
