import Files
import SeamHost
import Support

/// The folder with the adapters of a training's named routes: `routes.json`, which lists the names, and a folder of adapters
/// for each, as `AdapterFolder.saveAll` writes it. It is replaced as a whole or not at all.
enum SavedRoutes {
    private static let listName = "routes.json"
    private static let schema = 1

    static let kind = FolderKind(marker: listName) { path in
        let folder = FileSystem.parent(path)
        return (try? names(in: folder))?.containsExactly(FileSystem.baseName(path)) == true
            && !FileSystem.isLink(path) && AdapterFolder.isOwn(path)
            && (try? AtomicFolder.checkReplaceable(path, AdapterFolder.kind)) != nil
    }

    /// Whether a folder is one that a training wrote.
    static func isOwn(_ path: String) -> Bool { (try? names(in: path)) != nil }

    /// The routes that a folder has adapters of.
    static func names(in path: String) throws -> [String] {
        let name = FileSystem.join(path, listName)
        let list = try JSON.read(name)
        let revision = try list.requireInt("schema", in: name)
        guard revision == schema else {
            throw SeamError(.incompatible, "\(name): schema \(revision) is not \(schema), which this version reads")
        }
        return try list.requireArray("routes", in: name).map { entry in
            guard let route = entry.stringValue else {
                throw SeamError(.format, "\(name): \"routes\" must be a list of strings, found \(entry.kind)")
            }
            return route
        }
    }

    /// Throws `.invalidArgument` for the name of a route that cannot be that of its folder.
    static func check(_ route: String) throws {
        guard FileSystem.isPortableName(route, signs: "._-"), route != listName else {
            throw SeamError(
                .invalidArgument,
                "the name of a trained route becomes that of a folder and must be of letters, digits and . _ -, found \"\(route)\""
            )
        }
    }

    /// Writes the adapters of routes.
    /// - Parameter save: writes those of one route into a folder.
    static func write(_ routes: [String], to path: String, _ save: (_ route: String, _ folder: String) throws -> Void)
        throws
    {
        let list: JSON = ["schema": .int(Int64(schema)), "routes": .array(routes.map { .string($0) })]
        try AtomicFolder.write(path, kind) { folder in
            for route in routes { try save(route, FileSystem.join(folder, route)) }
            try FileSystem.atomicWriteFile(
                FileSystem.join(folder, listName), text: try list.serialized(indent: 2) + "\n")
        }
    }
}
