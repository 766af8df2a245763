import SeamHost
import Support

/// Trained adapters as folders of PEFT, of whichever of its methods.
public enum PEFTAdapters {
    /// Writes the adapters attached to a session as one folder of PEFT: a LoRA or IA3 adapter (`PEFTLayers`), or what they
    /// put before the tokens, a prefix (`PEFTPrefix`) or a prompt (`PEFTPrompt`).
    /// - Throws: as these do.
    public static func export(
        _ session: Session, baseModel: String? = nil, replaces: Bool = true, to path: String
    ) throws {
        if session.adapters.contains(where: PEFTLayers.exports) {
            try PEFTLayers.export(session, baseModel: baseModel, replaces: replaces, to: path)
        } else if session.adapters.contains(where: \.isPrompt) {
            try PEFTPrompt.export(session, baseModel: baseModel, replaces: replaces, to: path)
        } else {
            try PEFTPrefix.export(session, baseModel: baseModel, replaces: replaces, to: path)
        }
    }

    /// An adapter with the values that PEFT trained, not yet attached.
    /// - Throws: as `PEFTPrefix.adapter`, `PEFTPrompt.adapter` and `PEFTLayers.adapter` do.
    private static func adapter(of folder: PEFTFolder, backbone: Backbone) throws -> Adapter {
        switch folder.method {
        case .prefixTuning, .cartridge: try PEFTPrefix.adapter(of: folder, backbone: backbone)
        case .promptTuning, .pTuning: try PEFTPrompt.adapter(of: folder, backbone: backbone)
        case .lora, .ia3: try PEFTLayers.adapter(of: folder, backbone: backbone)
        }
    }

    /// Makes an adapter folder of what PEFT trained, replaced as a whole or not at all.
    /// - Parameters:
    ///   - replaces: whether an adapter that is at `output` is replaced; else it is refused.
    ///   - output: a folder; one of PEFT's is never replaced.
    /// - Throws: as `PEFTPrefix.adapter`, `PEFTPrompt.adapter` and `PEFTLayers.adapter` do.
    public static func importAdapter(
        from path: String, backbone: Backbone, replaces: Bool = true, to output: String
    ) throws {
        let folder = try PEFTFolder(path)
        let adapter = try adapter(of: folder, backbone: backbone)
        let article = folder.method == .ia3 ? "An" : "A"
        try ImportedAdapter.save(
            adapter, "\(article) \(folder.method.product) that PEFT trained", backbone: backbone, replaces: replaces,
            to: output)
    }
}
