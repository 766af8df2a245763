import CSeam
import Engine
import Support

/// What flows into the lowest layer that is trained, kept for every example: with a frozen backbone it is a constant of the
/// example, so the layers before it run once for each instead of once an epoch. One thread per session.
///
/// Of an encoder-decoder in whose decoder alone something is trained, both the encoder's output and what flows into a layer
/// of the decoder are kept. Of a backbone that cannot begin at a layer the encoder's output is all that is kept.
public final class SeamCache {
    private let session: Session
    private let routes: [String?]?
    private let store: StateStore
    private var start = TrainingStart()
    /// What is kept of each example, one for each of `parts`.
    private var kept: [Int: [StateStore.Place]] = [:]
    /// The number of each example that is known by its content.
    private var numbers: [RowContent: Int] = [:]
    /// Examples that are kept.
    public var keptCount: Int { kept.count }
    /// Examples that something was computed of so far, repeats included.
    public private(set) var encodedCount = 0

    /// One of the states that are kept of an example.
    fileprivate enum Part { case encoderOutput, encoderLayer, decoderLayer }

    private var parts: [Part] {
        var parts: [Part] = start.hasConstantEncoder ? [.encoderOutput] : []
        if start.layer(.encoder) > 0 { parts.append(.encoderLayer) }
        if start.layer(.decoder) > 0 { parts.append(.decoderLayer) }
        return parts
    }

    /// - Parameters:
    ///   - routes: those that are trained, which decides what is a constant; nil: those of each batch's rows.
    ///   - store: several caches may share one.
    public init(session: Session, routes: [String?]? = nil, store: StateStore = StateStore()) {
        (self.session, self.routes, self.store) = (session, routes, store)
    }

    deinit { forget() }

    /// Whether something is a constant of the examples while these routes are trained.
    /// - Throws: `.notFound` for a route that the session does not have.
    public static func isUseful(for session: Session, routes: [String?]) throws -> Bool {
        try session.trainingStart(ofRoutes: routes) != TrainingStart()
    }

    /// What a pass need not compute of a batch, 0 at padding; what is not kept yet is computed first. Nil where nothing is a
    /// constant of its rows, and what was kept before adapters made it so is let go.
    /// - Parameter examples: which example each row is; an example is always the same and takes the same route. Nil: rows are
    ///   known by their content.
    public func states(of batch: Batch, examples: [Int]? = nil) throws -> KeptStates? {
        precondition(examples?.count ?? batch.count == batch.count)
        let now = try session.trainingStart(ofRoutes: routes ?? (batch.routes.isEmpty ? [nil] : batch.routes))
        if now != start {
            forget()
            start = now
        }
        // A batch without targets is refused where they are missed.
        let (parts, isWhole) = (self.parts, batch.info.architecture != .encoderDecoder || batch.targetLength > 0)
        guard !parts.isEmpty, isWhole else { return nil }
        let examples = examples ?? numbers(of: batch)
        // The row of each example that is not kept, and its place among those that are computed.
        var (missing, places) = ([Int](), [Int: Int]())
        for (row, example) in examples.enumerated() where kept[example] == nil && places[example] == nil {
            places[example] = missing.count
            missing.append(row)
        }
        let context = session.makeContext(recordsGradients: false)
        let computed = missing.isEmpty ? [] : try compute(parts, batch.taking(rows: missing), in: context)
        encodedCount += missing.count

        let sizes = parts.map { Sizes(batch, isTarget: $0 == .decoderLayer, width: session.backbone.info.dModel) }
        let states = try zip(parts.indices, sizes).map { part, sizes in
            let state = try context.full(0, .f32, sizes.shape)
            for (row, example) in examples.enumerated() {
                if let place = places[example] {
                    _ = sizes.row(row, of: state).update(
                        fromContentsOf: sizes.row(place, of: computed[part], as: row))
                } else {
                    try store.read(kept[example]![part], into: sizes.row(row, of: state))
                }
            }
            return state
        }
        for (place, row) in missing.enumerated() {
            try keep(examples[row], zip(computed, sizes).map { $1.row(place, of: $0, as: row) }, in: context)
        }
        return KeptStates(parts, states, start)
    }

    /// What is to be kept of the rows of a batch, in their order: [rows, n, d_model] each.
    private func compute(_ parts: [Part], _ batch: Batch, in context: Context) throws -> [Tensor] {
        let own = try RoutedBatch(batch, in: session)
        var encoded: Tensor?
        return try parts.map { part in
            let states: Tensor
            if part == .decoderLayer {
                guard
                    var input = try session.decoderInput(
                        context, own, kept: encoded.map { KeptStates(encoded: $0) })
                else { throw SeamError(.internal, "a seam cache of a decoder's layer without a decoder") }
                input.layers.stop = start.layer(.decoder)
                states = try session.backbone.decodeHidden(session.pass(context, rows: own.rows), input)
            } else {
                states = try session.encode(
                    context, own, prefix: try session.prefix(context, own.rows), training: false,
                    layers: LayerRange(stop: start.layer(.encoder)))
                encoded = states
            }
            return try context.contiguous(try own.rows.restored(states, in: context))
        }
    }

    /// Keeps all parts of an example, or none where there is no room for one.
    private func keep(_ example: Int, _ states: [UnsafeMutableBufferPointer<Float>], in context: Context) throws {
        var places: [StateStore.Place] = []
        for state in states {
            guard let place = try store.keep(UnsafeBufferPointer(state), in: context) else {
                for place in places { store.release(place) }
                return
            }
            places.append(place)
        }
        kept[example] = places
    }

    private func forget() {
        for place in kept.values.joined() { store.release(place) }
        kept = [:]
    }

    private func numbers(of batch: Batch) -> [Int] {
        batch.contents.map { content in
            if let number = numbers[content] { return number }
            numbers[content] = numbers.count
            return numbers.count - 1
        }
    }
}

/// How large the states of a batch's rows are.
private struct Sizes {
    /// [rows, the positions of the longest, d_model].
    let shape: Shape
    /// The positions of each row that are not padding behind it.
    private let counts: [Int]

    /// - Parameter isTarget: of what a decoder reads.
    init(_ batch: Batch, isTarget: Bool, width: Int) {
        let ofTargets = isTarget && batch.info.architecture == .encoderDecoder
        counts = ofTargets ? batch.targetCounts : (0..<batch.count).map(batch.positionCount(row:))
        shape = [batch.count, ofTargets ? batch.targetLength : batch.positionCount, width]
    }

    /// The values of a row without the padding behind it, of a tensor of rows of the batch; alive as long as that.
    /// - Parameter counted: the row of the batch that it is; nil: the same.
    func row(_ row: Int, of x: Tensor, as counted: Int? = nil) -> UnsafeMutableBufferPointer<Float> {
        let (length, width) = (shape[1], shape[2])
        return UnsafeMutableBufferPointer(
            start: x.baseAddress.assumingMemoryBound(to: Float.self) + row * length * width,
            count: counts[counted ?? row] * width)
    }
}

extension KeptStates {
    fileprivate init(_ parts: [SeamCache.Part], _ states: [Tensor], _ start: TrainingStart) {
        for (part, state) in zip(parts, states) {
            switch part {
            case .encoderOutput: encoded = state
            case .encoderLayer: encoder = LayerStart(layer: start.layer(.encoder), state: state)
            case .decoderLayer: decoder = LayerStart(layer: start.layer(.decoder), state: state)
            }
        }
    }
}
