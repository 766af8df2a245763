import CSeam
import Engine
import Support

/// What left the seams of prefixes in one pass: keys and values [layers, 2, kv_heads, prefix, head_dim] that stand before
/// those of the tokens; nil for an attention without a prefix.
struct Prefix {
    private var tensors = [Tensor?](repeating: nil, count: PrefixAttention.allCases.count)

    subscript(_ attention: PrefixAttention) -> Tensor? { tensors[attention.rawValue] }

    /// Tokens by `PrefixAttention`.
    var lengths: [Int] { tensors.map { $0?.shape[3] ?? 0 } }

    /// Runs one adapter of a seam of prefixes on what has come so far.
    mutating func apply(_ adapter: Adapter, in context: Context, training: Bool) throws {
        let before = tensors
        tensors = try adapter.run(context, inputs: before, outputs: before.count, training: training)
        for (attention, tensor) in zip(PrefixAttention.allCases, tensors) {
            try check(tensor, on: attention, after: before[attention.rawValue], from: adapter)
        }
    }

    private func check(_ tensor: Tensor?, on attention: PrefixAttention, after before: Tensor?, from adapter: Adapter)
        throws
    {
        let site = adapter.site
        let layers = site.prefixLayers[attention.rawValue]
        let expected: String
        if adapter.seam == SEAM_PREFIX_TOKENS {
            if tensor?.shape == before?.shape, tensor == nil || tensor?.dtype == .f32 { return }
            expected = before.map { "f32 \($0.shape), as its input" } ?? "NULL, as its input"
        } else {
            guard let tensor else {
                guard before != nil else { return }
                throw failure("NULL", "what the adapter before gave, with its own tokens", attention, adapter)
            }
            if layers > 0, tensor.dtype == .f32, tensor.shape.count == 5, tensor.shape[3] > 0,
                tensor.shape == [layers, 2, site.kvHeads, tensor.shape[3], site.headDim]
            {
                return
            }
            expected =
                layers > 0
                ? "f32 [\(layers), 2, \(site.kvHeads), prefix, \(site.headDim)]"
                : "NULL, since the backbone takes no prefix there"
        }
        throw failure(tensor.map { "\($0.dtype.name) \($0.shape)" } ?? "NULL", expected, attention, adapter)
    }

    private func failure(_ found: String, _ expected: String, _ attention: PrefixAttention, _ adapter: Adapter)
        -> SeamError
    {
        SeamError(
            .plugin,
            "adapter \"\(adapter.factory.id)\" must return the prefix of \(attention) attention as \(expected), found \(found)",
            origin: adapter.origin)
    }
}

extension Session {
    /// What the adapters of the routes put before the tokens of their rows. The tensors are alive as long as the context.
    func prefix(_ context: Context, _ rows: RowOrder, training: Bool = false) throws -> Prefix {
        guard rows.slices.count > 1 else {
            return try Self.prefix(of: chains[rows.slices[0].route].adapters, in: context, training: training)
        }
        if let chain = rows.routes.map({ chains[$0] }).first(where: { $0.prefixLength.contains { $0 > 0 } }) {
            throw SeamError(.unsupported, "\(chain.title) has a prefix: rows of other routes beside it are not offered")
        }
        return Prefix()
    }

    /// What the adapters of the default route put before the tokens, by `PrefixAttention`: f32 [layers, 2, kv_heads, prefix, head_dim],
    /// copies that the caller owns; nil for an attention without a prefix.
    public func computedPrefix() throws -> [Tensor?] {
        let context = makeContext(recordsGradients: false)
        let prefix = try Self.prefix(of: adapters, in: context)
        return try PrefixAttention.allCases.map { try prefix[$0].map { try context.copied($0) } }
    }

    /// Whether the encoder computes the same for a source whatever the values of the default route's adapters are.
    public var hasConstantEncoder: Bool {
        prefixLength[PrefixAttention.encoder.rawValue] == 0 && !hasAdapters(inside: .encoder) && merged.isEmpty
    }

    /// First all adapters on attention.prefix, then those on prefix.tokens, each in the order attached.
    static func prefix(of adapters: [Adapter], in context: Context, training: Bool = false) throws -> Prefix {
        var prefix = Prefix()
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
            return Prefix().lengths
        }
        guard first.seam == SEAM_ATTENTION_PREFIX else {
            throw SeamError(
                .invalidArgument,
                "adapter \"\(first.factory.id)\" weights the tokens of a prefix and none is attached before it: attach a prefix first, for example prefix-tuning or residual-prefix"
            )
        }
        let context = makeContext(recordsGradients: false)
        let own = adapters.filter { $0.seam == SEAM_ATTENTION_PREFIX }
        let lengths = try Self.prefix(of: own, in: context).lengths
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
        return try Self.prefix(of: adapters, in: context).lengths
    }

    /// Lengths of a prefix in words: "20 tokens", or "20 encoder, 10 decoder tokens".
    private static func described(_ lengths: [Int]) -> String {
        let parts = PrefixAttention.allCases.filter { lengths[$0.rawValue] > 0 }
        guard parts.count > 1 else { return "\(lengths.max() ?? 0) tokens" }
        return parts.map { "\(lengths[$0.rawValue]) \($0)" }.joined(separator: ", ") + " tokens"
    }
}
