import CSeam

/// One place inside a backbone where adapters can be attached.
public struct Point {
    public enum Stack: Int32 {
        case encoder = 0
        case decoder = 1
    }

    public let stack: Stack
    /// `Seam.layerOutput`, `Seam.projection` or `Seam.promptEmbedding`.
    public let seam: Text
    /// The name of a projection: "q", "k", "v", "o", of attention over the encoder "cross_q" ..., of the feed-forward
    /// network "gate", "up" and "down"; one matrix that does the work of several has their names joined. "" for a whole
    /// layer and for embedded tokens.
    public let name: Text
    /// The layer, from 0; 0 for embedded tokens.
    public let layer: Int
    public let inputWidth, outputWidth: Int
    /// The parts of the output of a matrix that does the work of several, in order; empty: it is one.
    public let parts: [Part]
    /// The parameter that is a backbone's own projection matrix, [out, in] or, transposed, [in, out],
    /// and that of its bias. An adapter's `Site` does not say.
    let weight, bias: Parameter?
    let isTransposed: Bool

    public struct Part {
        public let name: Text
        public let width: Int

        public init(_ name: StaticString, width: Int) { (self.name, self.width) = (Text(name), width) }

        fileprivate init(_ name: UnsafePointer<CChar>, width: Int) { (self.name, self.width) = (Text(name), width) }
    }

    /// A place of `Seam.projection`. `weight` and `bias` are listed in the backbone's `parameters`; nil: there is no
    /// bias, or the matrix is no parameter by itself, and nothing can be merged into it. `isTransposed`: the weight is
    /// [in, out].
    public init(
        projection name: StaticString, _ stack: Stack, layer: Int, inputWidth: Int, outputWidth: Int,
        parts: [Part] = [], weight: Parameter? = nil, isTransposed: Bool = false, bias: Parameter? = nil
    ) {
        (seam, self.name, self.stack, self.layer) = (Text(Seam.projection), Text(name), stack, layer)
        (self.inputWidth, self.outputWidth, self.parts) = (inputWidth, outputWidth, parts)
        (self.weight, self.isTransposed, self.bias) = (weight, isTransposed, bias)
    }

    /// A place of `Seam.layerOutput`, `width` wide.
    public init(outputOf layer: Int, _ stack: Stack, width: Int) {
        self.init(Seam.layerOutput, stack, layer: layer, width: width)
    }

    /// The place of `Seam.promptEmbedding` in a stack, `width` wide.
    public init(embeddingOf stack: Stack, width: Int) {
        self.init(Seam.promptEmbedding, stack, layer: 0, width: width)
    }

    private init(_ seam: StaticString, _ stack: Stack, layer: Int, width: Int) {
        (self.seam, name, self.stack, self.layer) = (Text(seam), Text(""), stack, layer)
        (inputWidth, outputWidth, parts) = (width, width, [])
        (weight, isTransposed, bias) = (nil, false, nil)
    }

    /// Nil where the host's description is incomplete.
    private init?(_ point: UnsafePointer<seam_point>?) {
        guard let point = bounded(point, SEAM_POINT_SIZE_1_0), let stack = Stack(rawValue: point.stack),
            let seam = point.seam, let name = point.name
        else { return nil }
        (self.stack, self.seam, self.name, layer) = (stack, Text(seam), Text(name), Int(point.layer))
        (inputWidth, outputWidth) = (Int(point.input_width), Int(point.output_width))
        var parts: [Part] = []
        if let names = point.part_names, let widths = point.part_widths {
            for index in 0..<point.part_count {
                guard let name = names[index] else { return nil }
                parts.append(Part(name, width: Int(widths[index])))
            }
        }
        self.parts = parts
        (weight, isTransposed, bias) = (nil, point.is_transposed != 0, nil)
    }

    /// The points of a C array; nil where one is incomplete.
    static func list(_ points: UnsafePointer<UnsafePointer<seam_point>?>?, count: Int) -> [Point]? {
        guard let points else { return [] }
        var list: [Point] = []
        for index in 0..<count {
            guard let point = Point(points[index]) else { return nil }
            list.append(point)
        }
        return list
    }
}

/// When an adapter is asked at a point of `Seam.projection`; at other points it is always after.
public struct Phases: OptionSet, Sendable {
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static let before = Phases(rawValue: UInt32(SEAM_PHASE_BEFORE))
    public static let after = Phases(rawValue: UInt32(SEAM_PHASE_AFTER))
}

/// The host's side of a pass with points that somebody wants. Valid until the function it was given to returns.
public struct Visitor {
    private let raw: UnsafePointer<seam_visitor>
    private let pass: UnsafePointer<seam_pass>
    private let wanted: UnsafePointer<UInt8>
    private let count: Int
    private let visit:
        @convention(c) (
            UnsafePointer<seam_visitor>?, UnsafePointer<seam_pass>?, UnsafeMutablePointer<seam_visit>?
        ) -> Void
    /// Marks of the tokens that flow by; see `Context.attentionMask`.
    fileprivate var mask, positions, generated: OpaquePointer?

    /// Nil where nobody wants a point.
    init?(_ visitor: UnsafePointer<seam_visitor>?, _ pass: UnsafePointer<seam_pass>?) {
        guard let visitor, let pass, let given = bounded(visitor, SEAM_VISITOR_SIZE_1_0), let wanted = given.wanted,
            let visit = given.visit
        else { return nil }
        (raw, self.pass, self.wanted, count, self.visit) = (visitor, pass, wanted, given.point_count, visit)
    }

    /// Whether somebody wants a point, by its index in `BackboneInfo.points`; the others need no call.
    public func wants(_ point: Int) -> Bool { point >= 0 && point < count && wanted[point] != 0 }

    /// Whether somebody wants it at this phase.
    public func wants(_ point: Int, _ phase: Phases) -> Bool {
        wants(point) && UInt32(wanted[point]) & phase.rawValue != 0
    }

    /// What goes on instead of `hidden` [batch, n, d_model] at a point of `Seam.layerOutput`.
    public func layerOutput(_ hidden: Tensor, at point: Int) -> Tensor {
        wants(point) ? call(point, .after, hidden) : hidden
    }

    /// x weight^T + bias at a point of `Seam.projection`, with what is put in the place of x before it and in that of
    /// the product after it.
    public func projection(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?, at point: Int) -> Tensor {
        let x = wants(point, .before) ? call(point, .before, x, x, weight, bias) : x
        let y = x.linear(weight, bias)
        return wants(point, .after) ? call(point, .after, y, x, weight, bias) : y
    }

    /// What goes on instead of a stack's embedded tokens at a point of `Seam.promptEmbedding`: with vectors before them,
    /// and with the mask and the positions of all of these where those of the tokens were given.
    public func embedded(_ tokens: EmbeddedTokens, at point: Int) -> EmbeddedTokens {
        guard wants(point) else { return tokens }
        var io = seam_visit()
        (io.phase, io.point, io.value) = (Phases.after.rawValue, point, tokens.x.handle)
        (io.attention_mask, io.position_ids) = (tokens.mask?.handle, tokens.positions?.handle)
        call(&io, mask: tokens.mask?.handle, positions: tokens.positions?.handle)
        let tensor = tokens.x.pass.tensor
        return EmbeddedTokens(
            x: tensor(io.value), mask: io.attention_mask.map(tensor), positions: io.position_ids.map(tensor))
    }

    private func call(
        _ point: Int, _ phase: Phases, _ value: Tensor, _ x: Tensor? = nil, _ weight: Tensor? = nil,
        _ bias: Tensor? = nil
    ) -> Tensor {
        var io = seam_visit()
        (io.phase, io.point, io.value) = (phase.rawValue, point, value.handle)
        (io.x, io.weight, io.bias) = (x?.handle, weight?.handle, bias?.handle)
        call(&io, mask: mask, positions: positions, generated: generated)
        return value.pass.tensor(io.value)
    }

    /// Calls the host, which is told of the tokens that flow by.
    private func call(
        _ io: inout seam_visit, mask: OpaquePointer?, positions: OpaquePointer?, generated: OpaquePointer? = nil
    ) {
        guard var given = bounded(pass, SEAM_PASS_SIZE_1_0) else { return }
        given.struct_size = UInt32(MemoryLayout<seam_pass>.size)
        (given.attention_mask, given.position_ids, given.generated_mask) = (mask, positions, generated)
        io.struct_size = UInt32(MemoryLayout<seam_visit>.size)
        visit(raw, &given, &io)
    }
}

/// A stack's embedded tokens, as they go to a point of `Seam.promptEmbedding` and come from it.
public struct EmbeddedTokens {
    /// [batch, n, d_model].
    public var x: Tensor
    /// [batch, n] i32: which are tokens (1) and which padding (0); nil: all are tokens.
    public var mask: Tensor?
    /// [batch, n] i32; nil: counted from what came before.
    public var positions: Tensor?

    public init(x: Tensor, mask: Tensor?, positions: Tensor?) {
        (self.x, self.mask, self.positions) = (x, mask, positions)
    }
}

extension Context {
    /// This context for what is computed of some tokens: `visitor`, of whom the host wants to hear, is told at each
    /// point which of them are tokens, their positions and which were generated, [batch, n] i32 each; nil: not known.
    public func visiting(
        _ visitor: Visitor, mask: Tensor?, positions: Tensor?, generated: Tensor? = nil
    ) -> Context {
        var (context, visitor) = (self, visitor)
        (visitor.mask, visitor.positions, visitor.generated) = (mask?.handle, positions?.handle, generated?.handle)
        context.visitor = visitor
        return context
    }
}
