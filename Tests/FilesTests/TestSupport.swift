import Files
import Glibc
import Support
import Testing

/// A folder that exists while the value lives.
final class ScratchFolder {
    let path: String

    init() throws {
        path = "/tmp/seam-files-\(getpid())-\(UInt64.random(in: .min ... .max))"
        try FileSystem.createDirectories(path)
    }

    deinit { try? FileSystem.remove(path) }

    /// The path of a name in the folder, which exists only when `content` is given.
    func file(_ name: String, _ content: String? = nil) throws -> String {
        let path = FileSystem.join(path, name)
        if let content { try FileSystem.atomicWriteFile(path, text: content) }
        return path
    }

    func file(_ name: String, bytes: [UInt8]) throws -> String {
        let path = FileSystem.join(path, name)
        try FileSystem.atomicWriteFile(path, bytes)
        return path
    }
}

/// Expects `body` to throw a `SeamError` of that code whose sentence holds all of `words`.
func expectError<Result>(
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

/// The path of a committed fixture.
func fixture(_ name: String) -> String {
    FileSystem.join(FileSystem.parent(#filePath), "Fixtures", name)
}

/// A safetensors file: the header's length, the header, then `data` bytes of zero.
func safetensors(_ header: String, data: Int, length: UInt64? = nil) -> [UInt8] {
    let length = length ?? UInt64(header.utf8.count)
    return withUnsafeBytes(of: length.littleEndian) { Array($0) } + Array(header.utf8)
        + Array(repeating: 0, count: data)
}

func littleEndian<Element>(_ values: [Element]) -> [UInt8] {
    values.withUnsafeBytes { Array($0) }
}
