import Datasets
import Files
import SeamHost
import Support

/// Token ids of a data set: sources, which may be features in their place, and, in the same order, targets, or the class
/// of each source.
public struct TokenPairs: Sendable {
    /// The file that examples were read from, and the line of each, counted from 1.
    public struct Origin: Sendable {
        public let name: String
        public let lines: [Int]

        public init(name: String, lines: [Int]) { (self.name, self.lines) = (name, lines) }
    }

    /// Each without a token where sources are features.
    public let sources: [[Int32]]
    /// What the sources are where they are no token ids.
    public let features: FeatureSources?
    /// Empty in a classification.
    public let targets: [[Int32]]
    /// The class of each source, from 0, in a classification; else empty.
    public let classes: [Int32]
    /// The route of each example, nil for the default one; empty: that of all.
    public let routes: [String?]
    /// The place of the examples, for error sentences; nil for examples of no file.
    public let origin: Origin?
    public var count: Int { sources.count }
    public var isClassification: Bool { !classes.isEmpty }

    public init(sources: [[Int32]], targets: [[Int32]], routes: [String?] = [], origin: Origin? = nil) {
        precondition(sources.count == targets.count)
        self.init(sources, targets: targets, classes: [], routes, origin)
    }

    public init(features: FeatureSources, targets: [[Int32]], routes: [String?] = [], origin: Origin? = nil) {
        precondition(features.count == targets.count)
        self.init(targets.map { _ in [] }, features, targets: targets, classes: [], routes, origin)
    }

    public init(sources: [[Int32]], classes: [Int32], routes: [String?] = [], origin: Origin? = nil) {
        precondition(sources.count == classes.count)
        self.init(sources, targets: [], classes: classes, routes, origin)
    }

    private init(
        _ sources: [[Int32]], _ features: FeatureSources? = nil, targets: [[Int32]], classes: [Int32],
        _ routes: [String?], _ origin: Origin?
    ) {
        precondition(routes.isEmpty || routes.count == sources.count)
        precondition(sources.count == origin?.lines.count ?? sources.count)
        (self.sources, self.features, self.targets, self.classes) = (sources, features, targets, classes)
        (self.routes, self.origin) = (routes, origin)
    }

    /// The route of an example, nil for the default one.
    public func route(_ row: Int) -> String? { routes.isEmpty ? nil : routes[row] }

    /// The examples of one route, without it, as if they were all.
    /// - Parameter route: empty for the default one.
    func examples(ofRoute route: String) -> TokenPairs {
        let own = taking((0..<count).filter { (self.route($0) ?? "") == route })
        return TokenPairs(own.sources, own.features, targets: own.targets, classes: own.classes, [], own.origin)
    }

    /// Some of the examples, in any order.
    public func taking(_ rows: [Int]) -> TokenPairs {
        func pick<Value>(_ values: [Value]) -> [Value] { values.isEmpty ? [] : rows.map { values[$0] } }
        return TokenPairs(
            pick(sources), features?.taking(rows), targets: pick(targets), classes: pick(classes), pick(routes),
            origin.map { Origin(name: $0.name, lines: pick($0.lines)) })
    }

    /// An example as people find it: its file and line, or its number.
    private func place(_ row: Int) -> String {
        origin.map { "\($0.name), line \($0.lines[row])" } ?? "example \(row + 1)"
    }

    /// The examples at `indices` as a padded batch with labels, or with classes.
    public func batch(_ indices: [Int], info: BackboneInfo) throws -> Batch {
        let sources = indices.map { self.sources[$0] }
        let routes = self.routes.isEmpty ? [] : indices.map { self.routes[$0] }
        if let features { return try batch(of: features, indices, targets: indices.map { targets[$0] }, routes, info) }
        guard isClassification else {
            return try Batch(sources: sources, targets: indices.map { targets[$0] }, routes: routes, info: info)
        }
        return try Batch(sources: sources, classes: indices.map { classes[$0] }, routes: routes, info: info)
    }

    /// The sources at `indices` as a padded batch, without labels.
    public func sourceBatch(_ indices: [Int], info: BackboneInfo) throws -> Batch {
        let routes = self.routes.isEmpty ? [] : indices.map { self.routes[$0] }
        if let features { return try batch(of: features, indices, targets: [], routes, info) }
        return try Batch(sources: indices.map { sources[$0] }, routes: routes, info: info)
    }

    private func batch(
        of features: FeatureSources, _ indices: [Int], targets: [[Int32]], _ routes: [String?], _ info: BackboneInfo
    ) throws -> Batch {
        let length = targets.map(\.count).max() ?? 0
        let labels = targets.flatMap { $0 + [Int32](repeating: Batch.ignoredLabel, count: length - $0.count) }
        return try Batch(
            count: indices.count, sourceLength: features.frames,
            inputFeatures: indices.flatMap { row in try located(row) { try features.features(row) } },
            targetLength: length, labels: labels, routes: routes, info: info)
    }

    /// Examples by length, cut into batches: the order that pads least.
    /// Throws `SeamError(.invalidArgument)` for a size below 1.
    public func batchesByLength(size: Int) throws -> [[Int]] {
        func key(_ row: Int) -> (Int, Int, Int) {
            (sources[row].count, isClassification ? 0 : targets[row].count, row)
        }
        return try batches((0..<count).sorted { key($0) < key($1) }, size: size)
    }

    /// Tells these examples from others, and from the same in another order.
    public var contentHash: String {
        var hash = ContentHash()
        for row in sources + targets {
            // The length first: the same ids cut elsewhere are other data.
            withUnsafeBytes(of: Int64(row.count)) { hash.update($0) }
            row.withUnsafeBytes { hash.update($0) }
        }
        classes.withUnsafeBytes { hash.update($0) }
        for route in routes {
            let name = Array((route ?? "").utf8)
            withUnsafeBytes(of: Int64(name.count)) { hash.update($0) }
            name.withUnsafeBytes { hash.update($0) }
        }
        if let features { hash.update(features.contentHash) }
        return hash.hex
    }

    /// Checks that a session can read every example, so that nothing fails in the middle of the work.
    /// - Throws: `.invalidArgument` that names the first example, by its line or counted from 1, with no tokens, too many,
    ///   ones that the backbone does not have, or with a class that its route does not have; `.notFound` for one whose
    ///   route the session does not have.
    public func check(fits session: Session) throws {
        var limitsOfRoutes: [String: TextLimits] = [:]
        let vocabulary = session.backbone.info.vocabSize
        let isContinued = session.backbone.info.architecture == .decoderOnly && !isClassification
        if let features {
            try session.requireFeatures(of: features)
            // Those that are kept are made now, so that what cannot be read is found before the work begins.
            for row in 0..<min(count, features.mostKept) { try located(row) { _ = try features.features(row) } }
        }
        for row in sources.indices {
            let parts =
                (features == nil ? [("source", sources[row])] : [])
                + (isClassification ? [] : [("target", targets[row])])
            for (what, ids) in parts {
                guard !ids.isEmpty else {
                    throw SeamError(
                        .invalidArgument, "\(place(row)): the \(what) must have at least 1 token, found none")
                }
                guard let id = ids.first(where: { $0 < 0 || $0 >= vocabulary }) else { continue }
                throw SeamError(
                    .invalidArgument,
                    "\(place(row)): the \(what) must have token ids of 0 ... \(vocabulary - 1), the backbone's vocabulary,"
                        + " found \(id)")
            }
            let route = route(row)
            let limits = try limitsOfRoutes[route ?? ""] ?? located(row) { try session.requiredTextLimits(of: route) }
            limitsOfRoutes[route ?? ""] = limits
            let length = sources[row].count + (isContinued ? targets[row].count : 0)
            for (what, found, limit) in [
                (isContinued ? "source and target" : "source", length, limits.source),
                ("target", isClassification ? 0 : targets[row].count, limits.target),
            ] {
                guard let limit, found > limit else { continue }
                let prefix = session.prefixLength(of: route).contains { $0 > 0 } ? " beside the prefix" : ""
                throw SeamError(
                    .invalidArgument,
                    "\(place(row)): the \(what) must have at most \(limit) tokens, which the backbone has room for\(prefix), found \(found)"
                )
            }
        }
        guard isClassification else { return }
        let count = try session.classes(ofRoutes: routes)
        guard count > 0 else {
            throw SeamError(
                .invalidArgument,
                "a classification needs an adapter on decoder.output: none is attached")
        }
        if let row = classes.firstIndex(where: { $0 < 0 || $0 >= count }) {
            throw SeamError(
                .invalidArgument,
                "\(place(row)): the class must be 0 ... \(count - 1), as the attached adapter has them, found \(classes[row])"
            )
        }
    }

    /// Runs `body`, whose error gets the place of an example.
    func located<Result>(_ row: Int, _ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let error as SeamError {
            throw SeamError(error.code, "\(place(row)): \(error.message)")
        }
    }
}

extension Session {
    /// The limits of the texts of a route that must be there.
    fileprivate func requiredTextLimits(of route: String?) throws -> TextLimits {
        try requireRoute(route)
        return textLimits(of: route)
    }

    fileprivate func requireFeatures(of sources: FeatureSources) throws {
        let info = backbone.info
        guard info.readsFeatures, info.featureWidth == sources.width else {
            throw SeamError(
                .incompatible,
                "the sources are features of \(sources.width) numbers, and \(backbone.name) reads \(info.readsFeatures ? "features of \(info.featureWidth)" : "token ids")"
            )
        }
    }
}
