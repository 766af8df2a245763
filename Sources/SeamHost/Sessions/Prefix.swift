import CSeam
import Engine
import Support

/// What one chain of adapters puts before the tokens: for each layer of each attention keys and values [2, kv_heads,
/// prefix, head_dim]; nil for an attention without a prefix.
struct RoutePrefix {
    /// Keys and values, by `PrefixAttention` and layer.
    private var layers: [[Tensor?]]

    /// No prefix, for a backbone.
    init(for info: BackboneInfo) { layers = info.prefixLayers.map { [Tensor?](repeating: nil, count: $0) } }

    subscript(_ attention: PrefixAttention) -> [Tensor?] { layers[attention.rawValue] }

    /// Tokens by `PrefixAttention`.
    var lengths: [Int] { layers.map { ($0.first ?? nil)?.shape[2] ?? 0 } }

    /// Runs one adapter of a seam of prefixes on what has come so far.
    mutating func apply(_ adapter: Adapter, in context: Context, training: Bool) throws {
        let inputs = layers.flatMap { $0 }
        var outputs = try adapter.run(context, inputs: inputs, outputs: inputs.count, training: training)[...]
        var after: [[Tensor?]] = []
        for (attention, before) in zip(PrefixAttention.allCases, layers) {
            let own = Array(outputs.prefix(before.count))
            outputs.removeFirst(before.count)
            for layer in own.indices { try Self.check(own, layer, on: attention, after: before[layer], from: adapter) }
            after.append(own)
        }
        layers = after
    }

    /// - Parameters:
    ///   - layers: what the adapter gave for all layers of the attention.
    ///   - layer: the one that is checked.
    ///   - before: what entered its seam there.
    /// - Throws: `.plugin` for an output of an adapter that is not that of its seam.
    static func check<Value: Measured>(
        _ layers: [Value?], _ layer: Int, on attention: PrefixAttention, after before: Value?, from adapter: Adapter
    ) throws {
        let (site, tensor) = (adapter.site, layers[layer])
        let expected: String
        if adapter.seam == SEAM_PREFIX_TOKENS {
            if tensor?.shape == before?.shape, tensor == nil || tensor?.dtype == .f32 { return }
            expected = before.map { "f32 \($0.shape), as its input" } ?? "NULL, as its input"
        } else {
            // All layers have as many tokens as the first.
            let tokens = layers[0].flatMap { $0.shape.count == 4 && $0.shape[2] > 0 ? $0.shape[2] : nil }
            let heads = site.prefixKVHeads[attention.rawValue][layer]
            let width = site.prefixHeadDim[attention.rawValue][layer]
            if let tensor, let tokens, tensor.dtype == .f32, tensor.shape == [2, heads, tokens, width] { return }
            if tensor == nil, layers[0] == nil {
                guard before != nil else { return }
                expected = "what the adapter before gave, with its own tokens"
            } else {
                let length = layer > 0 ? tokens.map(String.init) ?? "prefix" : "prefix"
                expected =
                    layers[0] == nil ? "NULL, as in layer 0" : "f32 [2, \(heads), \(length), \(width)]"
            }
        }
        let found = tensor.map { "\($0.dtype.name) \($0.shape)" } ?? "NULL"
        throw SeamError(
            .plugin,
            "adapter \"\(adapter.factory.id)\" must return the prefix of \(attention) attention in layer \(layer) as \(expected), found \(found)",
            origin: adapter.origin)
    }
}

/// What stands before the tokens in one pass: a prefix for each route, and the route of each row.
package struct Prefix {
    let routes: [RoutePrefix]
    /// Nil: all rows take the first.
    let rows: [Int32]?
    /// The records that a backbone reads, by `PrefixAttention`; nil where no route has a prefix.
    private let records: [PrefixRecord?]

    /// - Parameters:
    ///   - routes: none: no prefix.
    ///   - rows: for each row of the batch an index into them.
    init(routes: [RoutePrefix] = [], rows: [Int32]? = nil) {
        (self.routes, self.rows) = (routes, rows)
        records = PrefixAttention.allCases.map { attention in
            PrefixRecord(routes: routes.map { $0[attention] }, rows: rows)
        }
    }

    /// The prefixes of one attention as a backbone reads them: one for each layer; alive as long as this is.
    func pointer(_ attention: PrefixAttention) -> UnsafePointer<UnsafePointer<seam_prefix>?>? {
        records[attention.rawValue]?.pointer
    }
}

/// The prefixes of some routes of a session, each computed once for all rows that take it.
struct RoutePrefixes {
    /// The prefixes by index in the session's chains; nothing for a route without one.
    private var known: [Int: RoutePrefix] = [:]
    private let none: RoutePrefix

    /// - Parameter rows: those whose routes are computed.
    init(_ session: Session, _ rows: RowOrder, in context: Context, training: Bool = false) throws {
        none = RoutePrefix(for: session.backbone.info)
        for route in rows.routes {
            let adapters = session.chains[route].adapters
            guard adapters.contains(where: \.isPrefix) else { continue }
            known[route] = try Session.prefix(
                of: adapters, for: session.backbone.info, in: context, training: training)
        }
    }

    /// What stands before the tokens of rows, all of whose routes are known.
    func of(_ rows: RowOrder) -> Prefix {
        guard rows.routes.contains(where: { known[$0] != nil }) else { return Prefix() }
        let routes = rows.routes.map { known[$0] ?? none }
        return Prefix(routes: routes, rows: routes.count == 1 ? nil : rows.routeOfRow.map(Int32.init))
    }

    /// Lets all go but those of some routes.
    mutating func keep(_ routes: [Int]) { known = known.filter { routes.contains($0.key) } }

    /// Gives routes other indices; those of others go.
    mutating func renumber(_ places: [Int: Int]) {
        known = Dictionary(uniqueKeysWithValues: places.compactMap { old, new in known[old].map { (new, $0) } })
    }

    /// Takes in those of more routes.
    mutating func formUnion(_ other: RoutePrefixes) { known.merge(other.known) { own, _ in own } }
}

extension Session {
    /// What the adapters of the routes put before the tokens of their rows.
    package func prefix(_ context: Context, _ rows: RowOrder, training: Bool = false) throws -> Prefix {
        try RoutePrefixes(self, rows, in: context, training: training).of(rows)
    }

    /// What the adapters of the default route put before the tokens, by `PrefixAttention`: for each layer f32 [2, kv_heads, prefix,
    /// head_dim], copies that the caller owns; empty for an attention without a prefix.
    public func computedPrefix() throws -> [[Tensor]] {
        let context = makeContext(recordsGradients: false)
        let prefix = try Self.prefix(of: adapters, for: backbone.info, in: context)
        return try PrefixAttention.allCases.map { try prefix[$0].compactMap(\.self).map { try context.copied($0) } }
    }

    /// First all adapters on attention.prefix, then those on prefix.tokens, each in the order attached.
    static func prefix(
        of adapters: [Adapter], for info: BackboneInfo, in context: Context, training: Bool = false
    ) throws -> RoutePrefix {
        var prefix = RoutePrefix(for: info)
        for seam in [SEAM_ATTENTION_PREFIX, SEAM_PREFIX_TOKENS] {
            for adapter in adapters where adapter.seam == seam {
                try prefix.apply(adapter, in: context, training: training)
            }
        }
        return prefix
    }

    /// Tokens of the adapters' prefixes, by `PrefixAttention`.
    /// - Throws: one sentence unless the prefixes fit each other and the backbone.
    func checkedPrefixLength(of adapters: [Adapter]) throws -> [Int] {
        guard let first = adapters.first(where: \.isPrefix) else {
            return PrefixAttention.allCases.map { _ in 0 }
        }
        guard first.seam == SEAM_ATTENTION_PREFIX else {
            throw SeamError(
                .invalidArgument,
                "adapter \"\(first.factory.id)\" weights the tokens of a prefix and none is attached before it: attach a prefix first, an adapter on attention.prefix"
            )
        }
        let context = makeContext(recordsGradients: false)
        let own = adapters.filter { $0.seam == SEAM_ATTENTION_PREFIX }
        let lengths = try Self.prefix(of: own, for: backbone.info, in: context).lengths
        for attention in PrefixAttention.allCases {
            let (found, limit) = (lengths[attention.rawValue], backbone.info.maxPrefixLength[attention.rawValue])
            guard limit == 0 || found <= limit else {
                throw SeamError(
                    .invalidArgument,
                    "the prefix of \(attention) attention has \(found) tokens and takes their positions: this backbone leaves room for at most \(limit)"
                )
            }
        }
        for adapter in adapters where adapter.seam == SEAM_PREFIX_TOKENS && adapter.prefixLength != lengths {
            throw SeamError(
                .incompatible,
                "adapter \"\(adapter.factory.id)\" was made for a prefix of \(Self.described(adapter.prefixLength)), the one attached has \(Self.described(lengths))"
            )
        }
        return try Self.prefix(of: adapters, for: backbone.info, in: context).lengths
    }

    /// Lengths of a prefix in words: "20 tokens", or "20 encoder, 10 decoder tokens".
    private static func described(_ lengths: [Int]) -> String {
        let parts = PrefixAttention.allCases.filter { lengths[$0.rawValue] > 0 }
        guard parts.count > 1 else { return "\(lengths.max() ?? 0) tokens" }
        return parts.map { "\(lengths[$0.rawValue]) \($0)" }.joined(separator: ", ") + " tokens"
    }
}
