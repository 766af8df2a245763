import CSeam
import Engine
import Generation
import Support

/// A backbone with adapters on its seams, run together. One thread per session.
public final class Session {
    public let backbone: Backbone
    /// The adapters of each route: first those of the default one, then the routes with a name, none of them empty.
    private(set) var chains = [AdapterChain(name: "")]
    /// The adapters of the default route, in the order in which they run, on each seam.
    public var adapters: [Adapter] { chains[0].adapters }
    /// Vectors that the default route's adapters put before a text, by `Stack`.
    public var promptLength: [Int] { promptLength(ofRoute: 0) }
    /// Tokens of the default route's prefixes, by `PrefixAttention`: what an adapter that is attached next is made for.
    public var prefixLength: [Int] { chains[0].prefixLength }
    /// The adapters at the backbone's points; nil without one.
    private var visitor: Visitor?
    /// Adapters that are computed into the weights.
    private(set) var merged: Set<ObjectIdentifier> = []
    /// What stands in for the backbone's parameters in this session, by their index.
    private(set) var replaced: [Int: Tensor] = [:]
    /// The most scores of the vocabulary that a loss makes at once: 64 MiB.
    package var scoresAtOnce = 1 << 24
    /// The most bytes of what flows through points that a preparation keeps at once, but for one point alone.
    package var recordedAtOnce = 1 << 30
    public var runtime: Runtime { backbone.runtime }

    public init(backbone: Backbone) { self.backbone = backbone }

    /// A session with the weights of another and, on the default route, the first adapters of one of its routes.
    /// - Parameters:
    ///   - count: of adapters.
    ///   - recorder: takes what flows through points behind these adapters.
    init(_ other: Session, first count: Int, ofRoute route: Int, recorder: PointRecorder? = nil) throws {
        backbone = other.backbone
        (merged, replaced) = (other.merged, other.replaced)
        chains[0].adapters = Array(other.chains[route].adapters.prefix(count))
        chains[0].prefixLength = try checkedPrefixLength(of: adapters)
        visitor = try makeVisitor(chains, merged: merged, recorder: recorder)
    }

    // MARK: Adapters

    /// Attaches an adapter at a position among those of a route (the end when nil).
    /// - Parameter route: nil or empty for the default one; one that is not there yet is new. A name has at most 100
    ///   characters.
    /// - Throws: when it is attached to the route already, or was made for a backbone of another shape.
    public func attach(_ adapter: Adapter, at position: Int? = nil, route: String? = nil) throws {
        let place = try indexForAttaching(to: route)
        let adapters = adapters(of: route)
        guard !adapters.contains(where: { $0 === adapter }) else {
            throw SeamError(.alreadyExists, "adapter \"\(adapter.factory.id)\" is already attached")
        }
        try requireSameShape(adapter)
        guard adapter.seam != SEAM_DECODER_OUTPUT || backbone.info.architecture == .encoderOnly else {
            throw SeamError(
                .unsupported,
                "adapter \"\(adapter.factory.id)\" is on decoder.output: with a backbone that is not encoder-only it is run on features, not attached to a session"
            )
        }
        guard backbone.info.seams.contains(adapter.seam) else {
            throw SeamError(.unsupported, "the backbone has no seam \"\(adapter.seam)\"")
        }
        if let other = adapters.first(where: { $0.seam == SEAM_DECODER_OUTPUT }), adapter.seam == SEAM_DECODER_OUTPUT,
            other.classes != adapter.classes
        {
            throw SeamError(
                .incompatible,
                "adapter \"\(adapter.factory.id)\" was made for \(adapter.classes) classes, \"\(other.factory.id)\", which is attached, for \(other.classes)"
            )
        }
        guard adapter.prompts == 1 else {
            throw SeamError(
                .unsupported,
                "adapter \"\(adapter.factory.id)\" was made for \(adapter.prompts) prompts, and a text in a session has one"
            )
        }
        let index = position ?? adapters.count
        guard index >= 0, index <= adapters.count else {
            throw SeamError(.invalidArgument, "position must be 0 ... \(adapters.count), found \(index)")
        }
        var changed = adapters
        changed.insert(adapter, at: index)
        try change(place, named: route ?? "", to: changed)
    }

    /// Attaches adapters behind those of a route, in order: all or, after an error, none.
    public func attach(all new: [Adapter], route: String? = nil) throws { try attach(all: new, route: route) { $0 } }

    /// Makes an adapter of each part and attaches it to a route before the next is made: all or, after an error, none.
    @discardableResult
    public func attach<Part>(
        all parts: [Part], route: String? = nil, make: (Part) throws -> Adapter
    ) throws -> [Adapter] {
        let before = (chains, visitor)
        do {
            return try parts.map { part in
                let adapter = try make(part)
                try attach(adapter, route: route)
                return adapter
            }
        } catch {
            (chains, visitor) = before
            throw error
        }
    }

    /// Gives a route other adapters; without any, one with a name goes.
    /// - Parameters:
    ///   - index: in `chains`, or one more than there are for a new route.
    ///   - name: of a new route.
    func change(_ index: Int, named name: String = "", to changed: [Adapter]) throws {
        let adapters = index < chains.count ? chains[index].adapters : []
        if let adapter = adapters.first(where: { own in isMerged(own) && !changed.contains { $0 === own } }) {
            throw SeamError(
                .invalidArgument,
                "adapter \"\(adapter.factory.id)\" is merged into the weights: unmerge it before it is detached")
        }
        try Self.checkOrder(of: changed, merged: merged)
        // Merged adapters at the same points are computed in their order.
        guard changed.filter(isMerged).elementsEqual(adapters.filter(isMerged), by: ===) else {
            throw SeamError(.invalidArgument, "merged adapters keep their order: unmerge the one that is to be moved")
        }
        var all = chains
        if index == all.count { all.append(AdapterChain(name: name)) }
        all[index].prefixLength = try checkedPrefixLength(of: changed)
        all[index].adapters = changed
        if index > 0, changed.isEmpty { all.remove(at: index) }
        let changedVisitor = try makeVisitor(all, merged: merged)
        if let changedVisitor, index < all.count {
            try checkPositions(prefix: all[index].prefixLength, prompt: changedVisitor.promptLength[index])
        }
        (chains, visitor) = (all, changedVisitor)
    }

    private func makeVisitor(
        _ chains: [AdapterChain], merged: Set<ObjectIdentifier>, recorder: PointRecorder? = nil
    ) throws -> Visitor? {
        try Visitor(
            chains.map { $0.adapters.filter { !merged.contains(ObjectIdentifier($0)) } }, recorder: recorder,
            backbone: backbone)
    }

    /// Computes adapters into the weights, and takes those that were out of them.
    func setMerged(_ changed: Set<ObjectIdentifier>) throws {
        try Self.checkOrder(of: adapters, merged: changed)
        let replacements = try replacements(
            by: adapters.filter { changed.contains(ObjectIdentifier($0)) },
            besides: adapters.filter { !changed.contains(ObjectIdentifier($0)) })
        visitor = try makeVisitor(chains, merged: changed)
        (merged, replaced) = (changed, replacements)
    }

    private func requireSameShape(_ adapter: Adapter) throws {
        let (made, own) = (adapter.site, backbone.info)
        var numbers = [("d_model", made.dModel, own.dModel)]
        if adapter.isPrefix {
            numbers += [
                ("encoder_layers", made.encoderLayers, own.encoderLayers),
                ("decoder_layers", made.decoderLayers, own.decoderLayers),
                ("kv_heads", made.kvHeads, own.kvHeads), ("head_dim", made.headDim, own.headDim),
            ]
            for attention in PrefixAttention.allCases {
                let place = attention.rawValue
                numbers.append(("\(attention) prefix_layers", made.prefixLayers[place], own.prefixLayers[place]))
                for (layer, sizes) in zip(made.prefixKVHeads[place], own.prefixKVHeads[place]).enumerated() {
                    numbers.append(("\(attention) prefix_kv_heads in layer \(layer)", sizes.0, sizes.1))
                }
                for (layer, sizes) in zip(made.prefixHeadDim[place], own.prefixHeadDim[place]).enumerated() {
                    numbers.append(("\(attention) prefix_head_dim in layer \(layer)", sizes.0, sizes.1))
                }
            }
        }
        if !adapter.points.isEmpty { _ = try adapter.pointIndices(in: own) }
        for (name, made, own) in numbers where made != own {
            throw SeamError(
                .incompatible,
                "adapter \"\(adapter.factory.id)\" was made for a backbone with \(name) \(made), this one has \(own)")
        }
    }

    /// Removes an adapter from a route, whose rows then compute exactly what they did before it was attached. A route with
    /// a name goes with its last adapter.
    /// - Throws: when the route or the adapter on it is not there, or another adapter weights the tokens of its prefix.
    public func detach(_ adapter: Adapter, route: String? = nil) throws {
        let place = try self.index(ofRoute: route)
        var changed = chains[place].adapters
        changed.remove(at: try index(of: adapter, in: chains[place]))
        try change(place, to: changed)
    }

    /// Moves an attached adapter to another position on its route.
    public func move(_ adapter: Adapter, to position: Int, route: String? = nil) throws {
        let place = try self.index(ofRoute: route)
        var changed = chains[place].adapters
        let index = try index(of: adapter, in: chains[place])
        guard position >= 0, position < changed.count else {
            throw SeamError(.invalidArgument, "position must be 0 ... \(changed.count - 1), found \(position)")
        }
        changed.insert(changed.remove(at: index), at: position)
        try change(place, to: changed)
    }

    func index(of adapter: Adapter, in chain: AdapterChain) throws -> Int {
        guard let index = chain.adapters.firstIndex(where: { $0 === adapter }) else {
            let place = chain.name.isEmpty ? "" : " to route \"\(chain.name)\""
            throw SeamError(.notFound, "adapter \"\(adapter.factory.id)\" is not attached\(place)")
        }
        return index
    }

    /// What a training of the default route updates: the parameters of its adapters, and the backbone's if it is unfrozen.
    public var variables: [Variable] {
        adapters.flatMap(\.parameters.variables) + backbone.parameters.variables
    }

    // MARK: Forward

    public func makeContext(recordsGradients: Bool) -> Context {
        Context(pool: runtime.pool, recordsGradients: recordsGradients)
    }

    /// What the calls of the backbone in one pass share.
    /// - Parameter rows: the routes of the rows that pass through the layers; nil in a call that does not visit them.
    package func pass(_ context: Context, rows: RowOrder? = nil, training: Bool = false) -> BackbonePass {
        var weights = backbone.parameters.handles
        for (index, tensor) in replaced { weights[index] = tensor.handle }
        return BackbonePass(
            context: context, training: training, weights: weights, visitor: visitor, slices: rows?.slices ?? [])
    }

    /// Vectors that the adapters of a route, by its index in `chains`, put before a text, by `Stack`.
    func promptLength(ofRoute index: Int) -> [Int] {
        visitor?.promptLength[index] ?? Stack.allCases.map { _ in 0 }
    }

    /// The vectors that stand before each row's text in one stack.
    func promptLengths(_ rows: RowOrder, _ stack: Stack) -> [Int] {
        rows.slices.flatMap { slice in
            slice.rows.map { _ in promptLength(ofRoute: slice.route)[Int(stack.rawValue)] }
        }
    }

    /// The mask of what stands before the texts of a pass, [rows, the most vectors of any row] i32: padding comes before
    /// the vectors of rows that have fewer. Nil where nothing does.
    func promptMask(_ context: Context, _ rows: RowOrder, _ stack: Stack) throws -> Tensor? {
        let counts = promptLengths(rows, stack)
        guard let length = counts.max(), length > 0 else { return nil }
        let mask = counts.flatMap { count in (0..<length).map { Int32($0 < length - count ? 0 : 1) } }
        return try context.constant(mask, [counts.count, length])
    }

    /// Whether an adapter of a route sits inside the layers of one of the backbone's stacks.
    func hasAdapters(inside stack: Stack, routes: [Int] = [0]) -> Bool { visitor?.wants(stack, routes) ?? false }
}
