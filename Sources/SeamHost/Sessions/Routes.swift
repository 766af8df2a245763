import CSeam
import Engine
import Support

/// The adapters of one route of a session, in the order in which they run on each seam.
struct AdapterChain {
    /// Empty: the default route.
    let name: String
    var adapters: [Adapter] = []
    /// Tokens of its prefixes, by `PrefixAttention`.
    var prefixLength = [0, 0, 0]

    /// Classes of its adapters on `decoder.output`; 0 without one.
    var classes: Int { adapters.first { $0.seam == SEAM_DECODER_OUTPUT }?.classes ?? 0 }

    /// Whether an adapter sits on a seam.
    func has(_ seam: String) -> Bool { adapters.contains { $0.seam == seam } }

    /// The route as a sentence names it.
    var title: String { name.isEmpty ? "the default route" : "route \"\(name)\"" }
}

extension Session {
    /// The routes with a name, in the order in which they came. The default one, which rows take that name none, is always
    /// there.
    public var routes: [String] { chains.dropFirst().map(\.name) }

    /// The adapters of all routes, those of the default one first; one that is on several comes once for each.
    public var allAdapters: [Adapter] { chains.flatMap(\.adapters) }

    /// Whether a route has an adapter on `decoder.output`, so that its rows are classified.
    public var isClassification: Bool { chains.contains { $0.classes > 0 } }

    /// The adapters of a route, in the order in which they run; none for one that is not there.
    /// - Parameter route: nil or empty for the default one.
    public func adapters(of route: String?) -> [Adapter] { chain(named: route)?.adapters ?? [] }

    /// Tokens of the prefixes of a route, by `PrefixAttention`; 0 for one that is not there.
    public func prefixLength(of route: String?) -> [Int] { chain(named: route)?.prefixLength ?? [0, 0, 0] }

    /// Vectors that the adapters of a route put before a text, by `Stack`; 0 for one that is not there.
    public func promptLength(of route: String?) -> [Int] {
        guard let index = chains.firstIndex(where: { $0.name == route ?? "" }) else { return [0, 0] }
        return promptLength(ofRoute: index)
    }

    /// Detaches all adapters of a route at once.
    /// - Throws: `.notFound` where there is none of that name; `.invalidArgument` where one of them is merged.
    public func removeRoute(_ route: String?) throws {
        let index = try index(ofRoute: route)
        try change(index, to: [])
    }

    /// Throws `.notFound` for a route that is not there, with those that are.
    public func requireRoute(_ route: String?) throws { _ = try index(ofRoute: route) }

    private func chain(named route: String?) -> AdapterChain? { chains.first { $0.name == route ?? "" } }

    /// The index of a route in `chains`.
    /// - Throws: `.notFound` for one that is not there, with those that are.
    func index(ofRoute route: String?) throws -> Int {
        if let index = chains.firstIndex(where: { $0.name == route ?? "" }) { return index }
        let known = routes.map { "\"\($0)\"" }
        throw SeamError(
            .notFound,
            "there is no route \"\(route ?? "")\": the session has \(known.isEmpty ? "the default one alone" : "\(listed(known, ", ")) and the default one")"
        )
    }

    /// The index in `chains` of a route that gets an adapter: one more than there are for a new one.
    /// - Throws: `.invalidArgument` for a name of another length than 1 to 100 characters, and for a named route while an
    ///   adapter is merged.
    func indexForAttaching(to route: String?) throws -> Int {
        guard let route, !route.isEmpty else { return 0 }
        guard route.unicodeScalars.count <= 100 else {
            throw SeamError(
                .invalidArgument,
                "the name of a route must have 1 to 100 characters, found \(route.unicodeScalars.count)")
        }
        if let adapter = chains[0].adapters.first(where: isMerged) {
            throw SeamError(
                .invalidArgument,
                "adapter \"\(adapter.factory.id)\" is merged into the weights, which all routes have: unmerge it before an adapter is attached to route \"\(route)\""
            )
        }
        return chains.firstIndex { $0.name == route } ?? chains.count
    }

    // MARK: Rows

    /// How a pass orders the rows of a batch.
    /// - Throws: `.notFound` for a route that is not there.
    func rowOrder(of batch: Batch) throws -> RowOrder {
        RowOrder(routes: try routeIndices(of: batch))
    }

    /// The index in `chains` of the route of each row.
    func routeIndices(of batch: Batch) throws -> [Int] {
        guard !batch.routes.isEmpty else { return [Int](repeating: 0, count: batch.count) }
        return try routeIndices(batch.routes)
    }

    private func routeIndices(_ routes: [String?]) throws -> [Int] {
        var known: [String: Int] = ["": 0]
        return try routes.map { route in
            if let index = known[route ?? ""] { return index }
            let index = try index(ofRoute: route)
            known[route ?? ""] = index
            return index
        }
    }

    /// Classes of the adapters on `decoder.output` of the routes that the rows of a batch take; 0 without one.
    /// - Throws: `.invalidArgument` where the routes have different numbers of them, or one none.
    public func classes(of batch: Batch) throws -> Int { try classes(of: try rowOrder(of: batch)) }

    /// The same for the routes of some rows, nil for the default one; none: rows that all take that one.
    public func classes(ofRoutes routes: [String?]) throws -> Int {
        try classes(of: RowOrder(routes: try routeIndices(routes.isEmpty ? [nil] : routes)))
    }

    func classes(of rows: RowOrder) throws -> Int {
        let found = rows.routes.map { chains[$0] }
        guard let first = found.first, let other = found.first(where: { $0.classes != first.classes }) else {
            return found.first?.classes ?? 0
        }
        func described(_ chain: AdapterChain) -> String {
            chain.classes == 0 ? "has no adapter on decoder.output" : "has one of \(chain.classes) classes"
        }
        throw SeamError(
            .invalidArgument,
            "the batch has rows of routes that need different seams: \(first.title) \(described(first)), \(other.title) \(described(other))"
        )
    }
}
