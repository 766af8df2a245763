import Files
import SeamHost
import Support

/// Saving an adapter whose values another program trained.
enum ImportedAdapter {
    /// Writes an adapter folder, replaced as a whole or not at all.
    /// - Parameters:
    ///   - origin: "A prefix that PEFT trained", for the model card.
    ///   - replaces: whether an adapter that is at `output` is replaced; else it is refused.
    ///   - output: a folder; one of PEFT's is never replaced.
    static func save(
        _ adapter: Adapter, _ origin: String, backbone: Backbone, replaces: Bool, to output: String
    ) throws {
        let file = FileSystem.join(output, AdapterFolder.configName)
        if FileSystem.exists(file), try JSON.read(file)["peft_type"] != nil {
            throw SeamError(.alreadyExists, "cannot replace the folder \"\(output)\", it holds an adapter of PEFT's")
        }
        try AdapterFolder.save(
            adapter, backbone: backbone, isBackboneTrained: false, notes: "\(origin), read with `seam import`.",
            replaces: replaces, to: output)
    }
}
