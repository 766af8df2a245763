import Engine
import Files
import Session
import Support

/// Trained prefixes as folders of PEFT's prefix tuning.
public enum PEFTPrefix {
    /// Writes what the adapters attached to a session put before the tokens, as a folder that
    /// `PeftModel.from_pretrained` reads: adapter_config.json and adapter_model.safetensors (F32), replaced as a whole
    /// or not at all. Networks and gates are computed away.
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
        let (tokens, layers) = (prefix.shape[3], prefix.shape[0])
        let isPair = info.architecture == .encoderDecoder
        let layout = PEFTLayout(
            layers: layers, storedLayers: isPair && layers.isMultiple(of: 2) ? layers + 1 : layers,
            submodules: isPair ? 2 : 1, heads: info.kvHeads, tokens: tokens, headDim: info.headDim)
        let config = PEFTConfig(layout, for: info)
        let rows = layout.rows(from: prefix.floats)
        let file = FileSystem.join(path, PEFTConfig.fileName)
        if FileSystem.exists(file), try JSON.read(file)["peft_type"] == nil {
            throw SeamError(
                .alreadyExists, "cannot replace the folder \"\(path)\", it holds an adapter that is not one of PEFT's")
        }
        try AtomicFolder.write(path, PEFTConfig.kind, replaces: replaces) { folder in
            try FileSystem.atomicWriteFile(
                FileSystem.join(folder, PEFTConfig.fileName),
                text: try config.json(baseModel: baseModel).serialized(indent: 2) + "\n")
            let tensor = SafetensorsWriter.Tensor(
                name: PEFTConfig.tensorName, type: .float32, shape: [tokens, config.layers * 2 * config.tokenDim]
            ) { body in try rows.withUnsafeBytes { try body($0) } }
            try SafetensorsWriter.write(
                [tensor], metadata: ["format": "pt"], to: FileSystem.join(folder, PEFTConfig.weightsName))
        }
    }

    /// The one prefix of the session's adapters that PEFT has a place for.
    private static func exportable(_ session: Session) throws -> Tensor {
        if let other = session.adapters.first(where: { !$0.isPrefix }) {
            throw SeamError(
                .unsupported,
                "adapter \"\(other.factory.id)\" is on \(other.seam): PEFT's prefix tuning holds prefixes alone, leave it"
                    + " out")
        }
        let prefixes = try session.computedPrefix()
        let attention = PEFTLayout.attention(of: session.backbone.info)
        let found = PrefixAttention.allCases.filter { prefixes[$0.rawValue] != nil }
        if let other = found.first(where: { $0 != attention }) {
            throw SeamError(
                .unsupported,
                "these adapters put a prefix before the keys of \(other) attention: PEFT's prefix tuning has one for the"
                    + " decoder's own attention only, train with attention=decoder")
        }
        guard let prefix = prefixes[attention.rawValue] else {
            throw SeamError(.invalidArgument, "there is no prefix to write: give the adapters that make one")
        }
        if let position = NativeEngine.firstNonFinite(prefix.baseAddress, .f32, count: prefix.elementCount) {
            throw SeamError(.numeric, "the prefix is not written: it holds NaN or infinity at element \(position)")
        }
        return prefix
    }
}
