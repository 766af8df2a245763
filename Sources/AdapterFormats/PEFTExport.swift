import Engine
import Files
import SeamHost
import Support

/// Trained prefixes as folders of PEFT's prefix tuning, and cartridges as those of its cartridges.
public enum PEFTPrefix {
    /// Writes what the adapters attached to a session put before the tokens, as a folder that
    /// `PeftModel.from_pretrained` reads: adapter_config.json and adapter_model.safetensors (F32), replaced as a whole
    /// or not at all. Networks and gates are computed away. An adapter `cartridge` alone is written as CARTRIDGE, which
    /// PEFT can train on, all else as PREFIX_TUNING.
    /// - Parameters:
    ///   - baseModel: `base_model_name_or_path`, the model's name or path for whoever loads the folder; nil: none.
    ///   - replaces: whether one of PEFT's that is at `path` is replaced; else it is refused.
    ///   - path: a folder; an adapter of SeamKit's that is there is never replaced.
    /// - Throws: `.unsupported` for what the format has no place for: other adapters, a prefix of cross-attention or of
    ///   an encoder's beside a decoder; `.numeric` for NaN or infinity.
    public static func export(
        _ session: Session, baseModel: String? = nil, replaces: Bool = true, to path: String
    ) throws {
        let info = session.backbone.info
        let prefix = try exportable(session)
        let (tokens, layers) = (prefix[0].shape[2], prefix.count)
        let isPair = info.architecture == .encoderDecoder
        let layout = PEFTLayout(
            layers: layers, storedLayers: isPair && layers.isMultiple(of: 2) ? layers + 1 : layers,
            submodules: isPair ? 2 : 1, heads: prefix[0].shape[1], tokens: tokens, headDim: prefix[0].shape[3])
        let config = PEFTConfig(layout, frozenTokens: try frozenTokens(of: session.adapters), for: info)
        try config.write(
            layout.rows(from: prefix.flatMap(\.floats)), [tokens, config.layers * 2 * config.tokenDim],
            baseModel: baseModel, replaces: replaces, to: path)
    }

    /// The tokens of a cartridge that are not trained; nil where the adapters are something else.
    private static func frozenTokens(of adapters: [Adapter]) throws -> Int? {
        guard adapters.count == 1, adapters[0].factory.id == PEFTMethod.cartridge.adapter else { return nil }
        return try adapters[0].options.json.requireInt("frozen_tokens", in: "the options of adapter \"cartridge\"")
    }

    /// The one prefix of the session's adapters that PEFT has a place for: for each layer [2, kv_heads, prefix, head_dim].
    private static func exportable(_ session: Session) throws -> [Tensor] {
        if let other = session.adapters.first(where: { !$0.isPrefix }) {
            throw SeamError(
                .unsupported,
                "adapter \"\(other.factory.id)\" is on \(other.seam): PEFT's prefix tuning holds prefixes alone, leave it"
                    + " out")
        }
        let prefixes = try session.computedPrefix()
        let attention = PEFTLayout.attention(of: session.backbone.info)
        let found = PrefixAttention.allCases.filter { !prefixes[$0.rawValue].isEmpty }
        if let other = found.first(where: { $0 != attention }) {
            throw SeamError(
                .unsupported,
                "these adapters put a prefix before the keys of \(other) attention: PEFT's prefix tuning has one for the"
                    + " decoder's own attention only, train with attention=decoder")
        }
        let prefix = prefixes[attention.rawValue]
        guard let first = prefix.first else {
            throw SeamError(.invalidArgument, "there is no prefix to write: give the adapters that make one")
        }
        guard prefix.allSatisfy({ $0.shape == first.shape }) else {
            throw SeamError(
                .unsupported,
                "the layers of this backbone have keys and values of different widths: PEFT's prefix tuning has one width"
                    + " for all")
        }
        for (layer, values) in prefix.enumerated() {
            let position = NativeEngine.firstNonFinite(values.baseAddress, .f32, count: values.elementCount)
            guard let position else { continue }
            throw SeamError(
                .numeric,
                "the prefix is not written: it holds NaN or infinity at element"
                    + " \(layer * values.elementCount + Int(position))")
        }
        return prefix
    }
}
