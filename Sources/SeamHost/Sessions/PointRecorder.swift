import Engine
import Support

/// What flows into an adapter at some of its points, batch after batch, for `Session.prepare`.
final class PointRecorder {
    /// What flows at a point in one batch.
    struct Flow {
        /// At a projection: what is projected, [rows, n, in], the matrix [out, in] and its bias.
        var x: Tensor?
        var weight, bias: Tensor?
        /// [rows, n, width]: what leaves the point.
        let value: Tensor
        /// [rows, n] i32, which are tokens; nil: all.
        let tokens: Tensor?
        /// [rows, n] i32, which the model generated itself; nil: not known.
        let generated: Tensor?
    }

    let adapter: Adapter
    /// The adapter's own index of each point of the backbone that is recorded.
    private let places: [Int: Int]
    /// By the adapter's own index, copies that outlive their batch.
    private var flows: [Int: [Flow]] = [:]

    /// - Parameter places: the indices of the points among the adapter's own, by those among the backbone's.
    init(_ adapter: Adapter, places: [Int: Int]) { (self.adapter, self.places) = (adapter, places) }

    /// Whether a point of the backbone is recorded.
    func wants(_ index: Int) -> Bool { places[index] != nil }

    /// Copies what flows at a point of the backbone in one batch.
    /// - Throws: `.plugin` for tensors that the seam does not have.
    func take(_ flow: Flow, at index: Int, in context: Context) throws {
        guard let place = places[index] else { return }
        let point = adapter.points[place]
        let shape = flow.value.shape
        let marks = [flow.tokens, flow.generated].compactMap(\.self)
        guard flow.value.dtype == .f32, shape.count == 3, shape[2] == point.outputWidth,
            marks.allSatisfy({ $0.dtype == .i32 && $0.shape == [shape[0], shape[1]] }),
            flow.x.map({ $0.dtype == .f32 && $0.shape == [shape[0], shape[1], point.inputWidth] }) ?? true
        else {
            throw SeamError(
                .plugin,
                "the backbone gives \(flow.value.dtype.name) \(shape) at the point \"\(point.path)\", which is f32 [batch, n, \(point.outputWidth)] with masks [batch, n]"
            )
        }
        flows[place, default: []].append(
            Flow(
                x: try flow.x.map { try context.copied($0) }, weight: flow.weight, bias: flow.bias,
                value: try context.copied(flow.value),
                tokens: try flow.tokens.map { try context.copied($0) }
                    ?? context.full(1, .i32, [shape[0], shape[1]]),
                generated: try flow.generated.map { try context.copied($0) }))
    }

    /// All that was recorded at one of the adapter's points, which is then forgotten here.
    /// - Parameter count: the rows that there must be.
    /// - Throws: `.plugin` for another number, of a backbone that visits a point twice or with part of its rows.
    func takeInput(at place: Int, rows count: Int, in context: Context) throws -> PreparationInput {
        let own = flows.removeValue(forKey: place) ?? []
        let rows = own.reduce(0) { $0 + $1.value.shape[0] }
        guard rows == count else {
            throw SeamError(
                .plugin,
                "the backbone gives \(rows) rows at the point \"\(adapter.points[place].path)\", of \(count) examples")
        }
        let value = try joinedRows(own.map(\.value), in: context)
        var input = PreparationInput(inputs: [value], point: place)
        input.tokens = try joinedRows(own.compactMap(\.tokens), in: context)
        let generated = own.compactMap(\.generated)
        if generated.count == own.count { input.generated = try joinedRows(generated, in: context) }
        let point = adapter.points[place]
        if point.isProjection {
            let x = try joinedRows(own.compactMap(\.x), in: context)
            input.inputs = [x, own.last?.weight, own.last?.bias, value]
        } else if point.isEmbedding {
            input.inputs = [value, input.tokens]
        }
        return input
    }
}

/// The rows of several batches behind each other, in memory of their own where there are several; of [rows, n, ...] with
/// different n, shorter ones are filled with 0 at their end. Elements of four bytes, row-major.
/// - Parameter parts: one or more.
func joinedRows(_ parts: [Tensor], in context: Context) throws -> Tensor {
    let first = parts[0]
    if parts.count == 1 { return first }
    var shape = first.shape
    shape[0] = parts.reduce(0) { $0 + $1.shape[0] }
    if shape.count > 1 { shape[1] = parts.reduce(0) { max($0, $1.shape[1]) } }
    let result = try context.full(0, first.dtype, shape)
    let stride = Shape(shape.dropFirst()).elementCount * 4
    var target = result.baseAddress
    for part in parts {
        let size = Shape(part.shape.dropFirst()).elementCount * 4
        for row in 0..<part.shape[0] {
            target.copyMemory(from: part.baseAddress + row * size, byteCount: size)
            target += stride
        }
    }
    return result
}
