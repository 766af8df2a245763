import CSeam
import Engine
import Support

/// When an adapter runs at a projection.
enum Phase {
    static let before = seam_phases(SEAM_PHASE_BEFORE)
    static let after = seam_phases(SEAM_PHASE_AFTER)
}

/// The adapters of a session that sit on points inside its backbone, and the host's side of their visits
/// (`seam_visitor`). Made once for each change of the attached adapters; one thread at a time.
final class Visitor {
    /// An adapter at a point.
    struct Stop {
        let adapter: Adapter
        /// Index in the adapter's own points.
        let point: Int
        let phases: seam_phases
        /// Vectors that it puts before a text, at a point of embedded tokens.
        let promptLength: Int
    }

    let backbone: Backbone
    /// Takes what flows through points behind the adapters there; nil: nobody wants it.
    let recorder: PointRecorder?
    /// The adapters by route and by point of the backbone, in the order in which they run.
    let stops: [[[Stop]]]
    /// Vectors that are put before a text, by route and `Stack`.
    let promptLength: [[Int]]
    /// The phases that the adapters want, by route and by point.
    private let phases: [[UInt8]]
    /// The stacks with a point that an adapter wants, by route.
    private let stacks: [[Stack]]
    /// What the routes of the call in progress want.
    private let wanted: UnsafeMutableBufferPointer<UInt8>
    private let record: UnsafeMutablePointer<seam_visitor>
    /// Phases of each point that were visited in this call.
    private var visited: [UInt8]
    var current: Call?
    /// What an adapter is given, filled anew at each point.
    private let inputs: UnsafeMutableBufferPointer<OpaquePointer?>

    /// The call of the backbone that is in progress.
    struct Call {
        let context: Context
        let training: Bool
        /// Which rows take which route.
        let slices: [RouteSlice]
        /// The layers that run.
        var layers = LayerRange()
        /// Which are tokens and which padding, [batch, n] i32; nil: as the backbone says.
        var tokens: Tensor?
        /// Which tokens the model generated itself, [batch, n] i32; nil: not known.
        var generated: Tensor?
        /// Whether the tokens are the first of their text, which vectors are put before; those of a decoding state's later
        /// steps are not.
        let beginsText: Bool
    }

    /// Nil where none of the adapters is on a point, and nothing is recorded.
    /// - Parameters:
    ///   - chains: the adapters of each route.
    ///   - recorder: of a session of the default route alone.
    /// - Throws: `.incompatible` for an adapter at a point that the backbone does not have, and what one fails with that
    ///   puts vectors before a text.
    init?(_ chains: [[Adapter]], recorder: PointRecorder? = nil, backbone: Backbone) throws {
        guard recorder != nil || chains.joined().contains(where: { !$0.points.isEmpty }) else { return nil }
        self.recorder = recorder
        let points = backbone.info.points
        stops = try chains.map { adapters in
            var stops = [[Stop]](repeating: [], count: points.count)
            for adapter in adapters where !adapter.points.isEmpty {
                for (own, index) in try adapter.pointIndices(in: backbone.info).enumerated() {
                    stops[index].append(
                        Stop(
                            adapter: adapter, point: own, phases: adapter.phases[own],
                            promptLength: points[index].isEmbedding ? try adapter.promptLength(at: own) : 0))
                }
            }
            return stops
        }
        self.backbone = backbone
        promptLength = stops.map { stops in
            Stack.allCases.map { stack in
                zip(points, stops).reduce(0) { sum, pair in
                    pair.0.stack == stack ? pair.1.reduce(sum) { $0 + $1.promptLength } : sum
                }
            }
        }
        phases = stops.map { stops in
            stops.enumerated().map { index, stops in
                stops.reduce(recorder?.wants(index) == true ? UInt8(Phase.after) : 0) { $0 | UInt8($1.phases) }
            }
        }
        stacks = phases.map { wanted in
            Stack.allCases.filter { stack in zip(points, wanted).contains { $0.stack == stack && $1 != 0 } }
        }
        visited = [UInt8](repeating: 0, count: points.count)
        wanted = .allocate(capacity: points.count)
        wanted.initialize(repeating: 0)
        inputs = .allocate(capacity: 4)
        inputs.initialize(repeating: nil)
        record = .allocate(capacity: 1)
        record.initialize(to: seam_visitor())
        record.pointee.struct_size = UInt32(MemoryLayout<seam_visitor>.size)
        record.pointee.wanted = UnsafePointer(wanted.baseAddress)
        record.pointee.point_count = points.count
        record.pointee.host = Unmanaged.passUnretained(self).toOpaque()
        record.pointee.visit = { visitor, pass, io in
            guard let host = visitor?.pointee.host else { return }
            Unmanaged<Visitor>.fromOpaque(host).takeUnretainedValue().visit(pass, io)
        }
    }

    deinit {
        inputs.deallocate()
        wanted.deallocate()
        record.deallocate()
    }

    /// Vectors that are put before the texts of a stack, the most of any of the routes.
    func promptLength(_ stack: Stack, _ routes: [Int]) -> Int {
        routes.reduce(0) { max($0, promptLength[$1][Int(stack.rawValue)]) }
    }

    /// Whether an adapter of some routes sits on a point of a stack.
    func wants(_ stack: Stack, _ routes: [Int]) -> Bool { routes.contains { stacks[$0].contains(stack) } }

    /// Runs a call of the backbone that may visit the points of a stack.
    /// - Parameters:
    ///   - isComplete: false where the backbone may have computed some points in an earlier call already.
    ///   - body: is given nil where nobody wants a point of the stack.
    /// - Throws: `.plugin` where the backbone leaves out a point that an adapter is attached to.
    func during(
        _ call: Call, _ stack: Stack, isComplete: Bool, _ body: (UnsafePointer<seam_visitor>?) -> Void
    ) throws {
        let routes = call.slices.map(\.route)
        guard wants(stack, routes) else { return body(nil) }
        current = call
        let points = backbone.info.points
        for index in visited.indices {
            visited[index] = 0
            wanted[index] = call.layers.visits(points[index]) ? routes.reduce(0) { $0 | phases[$1][index] } : 0
        }
        body(record)
        current = nil
        guard isComplete, call.context.failure == nil else { return }
        for index in points.indices where points[index].stack == stack && wanted[index] & ~visited[index] != 0 {
            let missed = routes.lazy.flatMap { self.stops[$0][index] }.first { $0.phases != 0 }
            let adapter = missed?.adapter ?? recorder?.adapter
            throw SeamError(
                .plugin,
                "\(backbone.name) did not visit the point \"\(points[index].path)\", where adapter \"\(adapter?.factory.id ?? "")\" is attached",
                origin: backbone.origin)
        }
    }

    private func visit(_ pass: UnsafePointer<seam_pass>?, _ io: UnsafeMutablePointer<seam_visit>?) {
        guard let current, current.context.failure == nil else { return }
        do {
            guard let pass, let io else {
                throw SeamError(.plugin, "a visit was given NULL for its pass or itself", origin: backbone.origin)
            }
            try visit(
                current,
                try bounded(pass, atLeast: SEAM_PASS_SIZE_1_0, "the seam_pass of a visit", origin: backbone.origin), io)
        } catch {
            // In the place of what the plugin latched: this says whose fault it is.
            current.context.failure = error as? SeamError ?? SeamError(.internal, "\(error)", origin: backbone.origin)
        }
    }

    private func visit(_ current: Call, _ pass: seam_pass, _ io: UnsafeMutablePointer<seam_visit>) throws {
        let given = try bounded(UnsafePointer(io), atLeast: SEAM_VISIT_SIZE_1_0, "seam_visit", origin: backbone.origin)
        let index = given.point
        guard visited.indices.contains(index) else {
            throw failure("point \(UInt(bitPattern: index)), and there are \(visited.count)")
        }
        let point = backbone.info.points[index]
        let isBefore = given.phase == Phase.before
        guard given.phase == Phase.after || isBefore && point.isProjection else {
            throw failure("the phase \(given.phase) of \"\(point.path)\"")
        }
        guard let first = given.value, !point.isProjection || given.weight != nil && (isBefore || given.x != nil) else {
            throw failure("NULL for a tensor of \"\(point.path)\"")
        }
        visited[index] |= UInt8(given.phase)
        if point.isEmbedding { return try put(before: Tensor.from(first), current, given, pass, io) }
        if point.isProjection {
            // The backbone goes on with all but the value behind its product: x is also that of other projections, and
            // what a layer adds to its result. An adapter may hand any input to linear_low_rank.
            for kept in [given.x, given.weight, given.bias, isBefore ? first : nil] {
                if let kept { Tensor.from(kept).keepValues() }
            }
        }
        let place = Place(given, point, index: index, first: first)
        guard current.slices.count > 1 else {
            io.pointee.value = try run(current, current.slices[0].route, place, pass)
            if place.phase == Phase.after, let recorder, recorder.wants(index), let value = io.pointee.value {
                let (tokens, generated) = current.marks(at: point, pass)
                try recorder.take(
                    .init(
                        x: point.isProjection ? place.x.map { Tensor.from($0) } : nil,
                        weight: place.weight.map { Tensor.from($0) }, bias: place.bias.map { Tensor.from($0) },
                        value: Tensor.from(value), tokens: tokens.map { Tensor.from($0) },
                        generated: generated.map { Tensor.from($0) }), at: index, in: current.context)
            }
            return
        }
        io.pointee.value = try runSlices(current, place, pass)
    }

    /// What a backbone hands over at a point, checked.
    private struct Place {
        let point: Point
        let index: Int
        let phase: seam_phases
        var x: OpaquePointer?
        let weight, bias: OpaquePointer?
        var value: OpaquePointer

        init(_ given: seam_visit, _ point: Point, index: Int, first: OpaquePointer) {
            (self.point, self.index, phase, value) = (point, index, given.phase, first)
            (x, weight, bias) = (given.x, given.weight, given.bias)
        }
    }

    /// Runs the adapters of a route, one behind the other.
    private func run(_ current: Call, _ route: Int, _ place: Place, _ pass: seam_pass) throws -> OpaquePointer {
        let isProjection = place.point.isProjection
        let isBefore = place.phase == Phase.before
        var value = place.value
        (inputs[0], inputs[1], inputs[2]) = (isProjection ? place.x : value, place.weight, place.bias)
        for stop in stops[route][place.index] where stop.phases & place.phase != 0 {
            if isBefore || !isProjection { inputs[0] = value } else { inputs[3] = value }
            let count = !isProjection ? 1 : isBefore ? 3 : 4
            value = try stop.adapter.visit(
                current, Adapter.Visit(point: stop.point, phase: place.phase, value: value),
                inputs: UnsafeBufferPointer(rebasing: inputs[..<count]), pass: pass)
        }
        return value
    }

    /// Runs the adapters of each route on its rows of what the backbone hands over.
    private func runSlices(_ current: Call, _ place: Place, _ pass: seam_pass) throws -> OpaquePointer {
        let context = current.context
        let count = current.slices[current.slices.count - 1].rows.upperBound
        let whole = Tensor.from(place.value)
        guard whole.rank > 0, whole.shape[0] == count, place.x.map({ Tensor.from($0).shape.first == count }) != false
        else {
            throw failure("\(whole.shape) at \"\(place.point.path)\", of a batch of \(count) rows")
        }
        let parts = try context.takenApart(whole, rows: current.slices.map(\.rows.count))
        let results = try zip(current.slices, parts.tensors).map { slice, part in
            guard phases[slice.route][place.index] & UInt8(place.phase) != 0 else { return part }
            func rows(_ handle: OpaquePointer?) throws -> OpaquePointer? {
                try handle.map { try slice.rows(of: Tensor.from($0), in: context, outOf: count).handle }
            }
            var (own, known) = (place, pass)
            own.value = part.handle
            own.x = try rows(place.x)
            known.attention_mask = try rows(pass.attention_mask)
            known.position_ids = try rows(pass.position_ids)
            known.generated_mask = try rows(pass.generated_mask)
            let call = Call(
                context: context, training: current.training, slices: [slice], layers: current.layers,
                tokens: try current.tokens.map { try slice.rows(of: $0, in: context, outOf: count) },
                generated: try current.generated.map { try slice.rows(of: $0, in: context, outOf: count) },
                beginsText: current.beginsText)
            return Tensor.from(try run(call, slice.route, own, known))
        }
        return try context.joined(parts, as: results).handle
    }

    func failure(_ what: String) -> SeamError {
        SeamError(.plugin, "\(backbone.name) visits with \(what)", origin: backbone.origin)
    }
}
