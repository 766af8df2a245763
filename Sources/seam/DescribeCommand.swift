import ArgumentParser
import Files
import SeamHost
import Support

struct DescribeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "describe",
        abstract: "Describe a plugin, an adapter, a backbone, a model or a saved adapter.",
        discussion: "Examples: seam describe repcali; seam describe path/to/model; seam describe run/adapter")

    @Argument(help: "The id of a plugin, adapter or backbone, a folder, or a GGUF file.")
    var subject: String

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var common: CommonOptions

    func run() throws {
        let runtime = try common.makeRuntime()
        let description = try describe(runtime)
        print(json ? try description.serialized(indent: 2) : Self.readable(description, indent: ""))
    }

    private func describe(_ runtime: Runtime) throws -> JSON {
        guard FileSystem.isDirectory(subject) || subject.hasSuffix(".gguf") else {
            return try Description.of(subject, in: runtime)
        }
        if FileSystem.exists(FileSystem.join(subject, AdapterFolder.configName)) {
            let folders = try AdapterFolder.folders(in: subject)
            let configurations = try folders.map { try JSON.read(FileSystem.join($0, AdapterFolder.configName)) }
            guard folders.count > 1 else { return configurations[0] }
            return [
                "adapters": .array(
                    zip(folders, configurations).map { folder, configuration in
                        .object(
                            [(key: "folder", value: .string(FileSystem.baseName(folder)))]
                                + (configuration.objectValue ?? []))
                    })
            ]
        }
        return Description.of(try Backbone(runtime: runtime, path: subject))
    }

    /// A JSON description as indented lines: scalars behind their key, lists of names joined, long texts wrapped.
    static func readable(_ json: JSON, indent: String) -> String {
        guard let members = json.objectValue else { return indent + scalar(json) }
        let width = members.map(\.key.count).max() ?? 0
        return members.map { key, value in
            let name = key.replacing("_", with: " ")
            let padding = String(repeating: " ", count: width - key.count)
            if let items = value.arrayValue {
                if items.isEmpty { return "\(indent)\(name)\(padding)  none" }
                if items.allSatisfy({ $0.objectValue == nil }) {
                    return "\(indent)\(name)\(padding)  \(items.map(scalar).joined(separator: ", "))"
                }
                return "\(indent)\(name)\n"
                    + items.map { readable($0, indent: indent + "  ") }.joined(separator: "\n\n")
            }
            if value.objectValue != nil { return "\(indent)\(name)\n\(readable(value, indent: indent + "  "))" }
            let text = scalar(value)
            guard indent.count + width + 2 + text.count > 96 else { return "\(indent)\(name)\(padding)  \(text)" }
            let hanging = indent + String(repeating: " ", count: width + 2)
            return "\(indent)\(name)\(padding)  \(wrapped(text, indent: hanging).dropFirst(hanging.count))"
        }.joined(separator: "\n")
    }

    private static func scalar(_ json: JSON) -> String {
        switch json {
        case .string(let text): escapingControls(text)
        case .null: "none"
        default: (try? json.serialized()) ?? ""
        }
    }
}
