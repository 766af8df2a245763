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
    struct Route {
        let adapter: Adapter
        /// Index in the adapter's own points.
        let point: Int
        let phases: seam_phases
        /// Vectors that it puts before a text, at a point of embedded tokens.
        let promptLength: Int
    }

    let backbone: Backbone
    /// By point of the backbone, in the order in which they run.
    let routes: [[Route]]
    /// Vectors that are put before a text, by `Stack`.
    let promptLength: [Int]
    /// Those with a point that somebody wants.
    private let stacks: [Stack]
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
        /// Which are tokens and which padding, [batch, n] i32; nil: as the backbone says.
        var tokens: Tensor?
        /// Which tokens the model generated itself, [batch, n] i32; nil: not known.
        var generated: Tensor?
        /// Whether the tokens are the first of their text, which vectors are put before; those of a decoding state's later
        /// steps are not.
        let beginsText: Bool
    }

    /// Nil where none of the adapters is on a point.
    /// - Throws: `.incompatible` for an adapter at a point that the backbone does not have, and what one fails with that
    ///   puts vectors before a text.
    init?(_ adapters: [Adapter], backbone: Backbone) throws {
        guard adapters.contains(where: { !$0.points.isEmpty }) else { return nil }
        let points = backbone.info.points
        var routes = [[Route]](repeating: [], count: points.count)
        var promptLength = Stack.allCases.map { _ in 0 }
        for adapter in adapters where !adapter.points.isEmpty {
            for (own, index) in try adapter.pointIndices(in: backbone.info).enumerated() {
                let length = points[index].isEmbedding ? try adapter.promptLength(at: own) : 0
                promptLength[Int(points[index].stack.rawValue)] += length
                routes[index].append(
                    Route(adapter: adapter, point: own, phases: adapter.phases[own], promptLength: length))
            }
        }
        self.backbone = backbone
        (self.routes, self.promptLength) = (routes, promptLength)
        stacks = Stack.allCases.filter { stack in zip(points, routes).contains { $0.stack == stack && !$1.isEmpty } }
        visited = [UInt8](repeating: 0, count: points.count)
        wanted = .allocate(capacity: points.count)
        _ = wanted.initialize(from: routes.map { $0.reduce(0) { $0 | UInt8($1.phases) } })
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

    /// Whether an adapter sits on a point of a stack.
    func wants(_ stack: Stack) -> Bool { stacks.contains(stack) }

    /// Runs a call of the backbone that may visit the points of a stack.
    /// - Parameters:
    ///   - isComplete: false where the backbone may have computed some points in an earlier call already.
    ///   - body: is given nil where nobody wants a point of the stack.
    /// - Throws: `.plugin` where the backbone leaves out a point that an adapter is attached to.
    func during(
        _ call: Call, _ stack: Stack, isComplete: Bool, _ body: (UnsafePointer<seam_visitor>?) -> Void
    ) throws {
        guard wants(stack) else { return body(nil) }
        current = call
        for index in visited.indices { visited[index] = 0 }
        body(record)
        current = nil
        guard isComplete, call.context.failure == nil else { return }
        let points = backbone.info.points
        for index in points.indices where points[index].stack == stack && wanted[index] & ~visited[index] != 0 {
            throw SeamError(
                .plugin,
                "backbone \"\(backbone.factory.id)\" did not visit the point \"\(points[index].path)\", where adapter \"\(routes[index][0].adapter.factory.id)\" is attached",
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
        guard routes.indices.contains(index) else {
            throw failure("point \(UInt(bitPattern: index)), and there are \(routes.count)")
        }
        let place = backbone.info.points[index]
        let isBefore = given.phase == Phase.before
        guard given.phase == Phase.after || isBefore && place.isProjection else {
            throw failure("the phase \(given.phase) of \"\(place.path)\"")
        }
        guard let first = given.value, !place.isProjection || given.weight != nil && (isBefore || given.x != nil) else {
            throw failure("NULL for a tensor of \"\(place.path)\"")
        }
        visited[index] |= UInt8(given.phase)
        if place.isEmbedding { return try put(before: Tensor.from(first), current, given, pass, io) }
        if place.isProjection {
            // The backbone goes on with all but the value behind its product: x is also that of other projections, and
            // what a layer adds to its result. An adapter may hand any input to linear_low_rank.
            for kept in [given.x, given.weight, given.bias, isBefore ? first : nil] {
                if let kept { Tensor.from(kept).keepValues() }
            }
        }
        var value = first
        (inputs[0], inputs[1], inputs[2]) = (place.isProjection ? given.x : first, given.weight, given.bias)
        for route in routes[index] where route.phases & given.phase != 0 {
            if isBefore || !place.isProjection { inputs[0] = value } else { inputs[3] = value }
            let count = !place.isProjection ? 1 : isBefore ? 3 : 4
            value = try route.adapter.visit(
                current, Adapter.Visit(point: route.point, phase: given.phase, value: value),
                inputs: UnsafeBufferPointer(rebasing: inputs[..<count]), pass: pass)
        }
        io.pointee.value = value
    }

    func failure(_ what: String) -> SeamError {
        SeamError(.plugin, "backbone \"\(backbone.factory.id)\" visits with \(what)", origin: backbone.origin)
    }
}
