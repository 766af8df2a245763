import Files

/// The log of a run, a JSON object a line: there to be read after every entry, and kept when the run is killed.
///
/// Belongs to the thread that made it.
final class RunLog {
    private let file: OutputFile

    /// Begins the log of a run that has these entries already, in place of what the file held.
    /// Throws `SeamError(.io)` when the disk is full or fails.
    init(_ path: String, entries: [JSON]) throws {
        try FileSystem.atomicWriteFile(path, text: try entries.map(Self.line).joined())
        file = try OutputFile(appendingTo: path)
    }

    /// Writes an entry at once. Throws `.numeric` for one with NaN or infinity, and `.io`.
    func append(_ entry: JSON) throws { try file.write(try Self.line(entry)) }

    private static func line(_ entry: JSON) throws -> String { try entry.serialized() + "\n" }
}
