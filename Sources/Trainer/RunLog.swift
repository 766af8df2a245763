import Files

/// The log of a run, a JSON object a line: there to be read after every entry, and kept when the run is killed.
///
/// Belongs to the thread that made it.
final class RunLog {
    private let file: OutputFile

    /// Begins the log of a run that has these entries already, in place of what the file held.
    /// Throws `SeamError(.io)` when the disk is full or fails.
    init(_ path: String, entries: [RunEntry]) throws {
        try FileSystem.atomicWriteFile(path, text: try entries.map(Self.line).joined())
        file = try OutputFile(appendingTo: path)
    }

    /// Writes an entry at once. Throws `.numeric` for one with NaN or infinity, and `.io`.
    func append(_ entry: RunEntry) throws { try file.write(try Self.line(entry)) }

    /// The revision of an entry. Each has it, since a later version may go on with the file.
    private static let schema = 1

    private static func line(_ entry: RunEntry) throws -> String {
        let members = entry.json.objectValue ?? []
        return try JSON.object([(key: "schema", value: .int(Int64(schema)))] + members).serialized() + "\n"
    }

    /// The lines of a log.
    static func lines(of path: String) throws -> [Substring] { try FileSystem.readText(path).split(separator: "\n") }

    /// The entry of a line. Throws `.incompatible` for a newer revision and `.format` for what is no entry.
    static func entry(_ line: Substring, in path: String) throws -> RunEntry {
        let json = try JSON.parse(String(line), name: path)
        try json.requireSchema(schema, in: path)
        return try RunEntry(json, in: path)
    }
}
