import Files
import Glibc
import Support
import Testing

/// A folder that exists while the value lives.
public final class ScratchFolder: Sendable {
    public let path: String

    /// - Parameter files: texts by the names that they get in the folder.
    public init(_ files: [String: String] = [:]) throws {
        path = "/tmp/seam-test-\(getpid())-\(UInt64.random(in: .min ... .max))"
        try FileSystem.createDirectories(path)
        for (name, content) in files { try write(name, content) }
    }

    deinit { try? FileSystem.remove(path) }

    /// The path of a name in the folder.
    public subscript(name: String) -> String { FileSystem.join(path, name) }

    @discardableResult
    public func write(_ name: String, _ content: String) throws -> String {
        try write(name, bytes: Array(content.utf8))
    }

    @discardableResult
    public func write(_ name: String, bytes: [UInt8]) throws -> String {
        try FileSystem.atomicWriteFile(self[name], bytes)
        return self[name]
    }

    /// Every file below a folder with its bytes, by its path in the folder.
    public static func contents(of folder: String) throws -> [String: [UInt8]] {
        var result: [String: [UInt8]] = [:]
        for name in try FileSystem.list(folder) {
            let path = FileSystem.join(folder, name)
            if FileSystem.isDirectory(path) {
                for (inner, bytes) in try contents(of: path) { result[FileSystem.join(name, inner)] = bytes }
            } else {
                result[name] = try FileSystem.readBytes(path)
            }
        }
        return result
    }
}

/// Expects `body` to throw a `SeamError` of that code whose one sentence holds all of `words`.
public func expectError<Result>(
    _ code: ErrorCode, _ words: String..., sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () throws -> Result
) {
    do {
        _ = try body()
        Issue.record("nothing was thrown, expected \(words)", sourceLocation: sourceLocation)
    } catch let error as SeamError {
        #expect(error.code == code, "\(error.message)", sourceLocation: sourceLocation)
        for word in words where !error.message.contains(word) {
            Issue.record("\"\(error.message)\" lacks \"\(word)\"", sourceLocation: sourceLocation)
        }
        #expect(!error.message.contains("\n"), sourceLocation: sourceLocation)
    } catch {
        Issue.record("\(error) is not a SeamError", sourceLocation: sourceLocation)
    }
}
