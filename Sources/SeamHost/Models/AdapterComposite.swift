import Files
import Support

/// A folder of several adapters that run together: one folder each, and an adapter_config.json that lists them in their
/// order. It is replaced as a whole or not at all.
extension AdapterFolder {
    /// The revision of the list; a newer one is refused.
    private static let listSchema = 1

    /// Writes adapters that are attached together: one as `save` does, several into one folder, "1-residual-prefix",
    /// "2-gate" and so on beside their list.
    /// - Parameters: as those of `save`; the notes go into every model card.
    /// - Throws: `.invalidArgument` for none, and as `save`; `path` then holds what it held before.
    public static func saveAll(
        _ adapters: [Adapter], backbone: Backbone, isBackboneTrained: Bool, weights: ModelFiles? = nil, notes: String,
        to path: String
    ) throws {
        guard let first = adapters.first else { throw SeamError(.invalidArgument, "there is no adapter to save") }
        guard adapters.count > 1 else {
            return try save(
                first, backbone: backbone, isBackboneTrained: isBackboneTrained, weights: weights, notes: notes,
                to: path)
        }
        let names = adapters.enumerated().map { "\($0 + 1)-\($1.factory.id)" }
        let list: JSON = ["schema": .int(Int64(listSchema)), "adapters": .array(names.map { .string($0) })]
        try AtomicFolder.write(path, kind) { folder in
            for (name, adapter) in zip(names, adapters) {
                try save(
                    adapter, backbone: backbone, isBackboneTrained: isBackboneTrained, weights: weights, notes: notes,
                    to: FileSystem.join(folder, name))
            }
            try FileSystem.atomicWriteFile(
                FileSystem.join(folder, configName), text: try list.serialized(indent: 2) + "\n")
            try FileSystem.atomicWriteFile(
                FileSystem.join(folder, "README.md"), text: card(zip(names, adapters).map { ($0, $1) }, notes))
        }
    }

    /// The folders of the single adapters that a folder holds, in the order in which they run: itself, where it holds
    /// one.
    /// - Throws: `.notFound` without a folder, `.format` for a list of another kind.
    public static func folders(in path: String) throws -> [String] {
        guard let names = try list(in: path) else { return [path] }
        return names.map { FileSystem.join(path, $0) }
    }

    /// Makes all adapters that a folder holds, one or several, in the order in which they run.
    /// - Throws: as `load`.
    public static func loadAll(_ path: String, backbone: Backbone) throws -> [Adapter] {
        try folders(in: path).map { try load($0, backbone: backbone) }
    }

    /// The names in a list of several adapters; nil for the folder of one.
    static func list(in path: String) throws -> [String]? {
        try AtomicFolder.recover(path)
        let name = FileSystem.join(path, configName)
        guard FileSystem.isDirectory(path) else {
            throw SeamError(.notFound, "adapter folder \"\(path)\": there is no such folder")
        }
        let json = try JSON.read(name)
        guard json.objectValue != nil else {
            throw SeamError(.format, "\(name) must hold an object, found \(json.kind)")
        }
        guard json["adapters"] != nil else { return nil }
        if let stranger = json.objectValue?.first(where: { !["schema", "adapters"].containsExactly($0.key) }) {
            throw SeamError(.format, "\(name): unknown key \"\(stranger.key)\"; known are schema, adapters")
        }
        let revision = try json.requireInt("schema", in: name)
        guard revision == listSchema else {
            throw SeamError(
                .incompatible, "\(name): schema must be \(listSchema), which this version reads, found \(revision)")
        }
        let names = try json.requireArray("adapters", in: name).map { entry -> String in
            // A name that leads out of the folder would load something that was not saved with it.
            guard let folder = entry.stringValue, FileSystem.isEntryName(folder) else {
                throw SeamError(
                    .format,
                    "\(name): \"adapters\" must hold names of folders beside it, found \(try entry.serialized())")
            }
            return folder
        }
        guard !names.isEmpty, names.areDistinct else {
            throw SeamError(.format, "\(name): \"adapters\" must hold one or more names, each once, found \(names)")
        }
        return names
    }

    private static func card(_ parts: [(name: String, adapter: Adapter)], _ notes: String) -> String {
        """
        # \(parts.map(\.adapter.factory.id).joined(separator: " + "))

        Adapters that were trained together and run in this order:

        \(parts.map { "- [\($0.name)](\($0.name)/README.md): \($0.adapter.factory.summary)" }.joined(separator: "\n"))

        ## Training

        \(notes.isEmpty ? "No notes were given." : notes)

        """
    }
}
