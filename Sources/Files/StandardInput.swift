import Glibc
import Support

/// Texts from standard input, held to what text files are held to.
public enum StandardInput {
    /// All lines until the end of the input, without their line feeds and carriage returns before those. A byte order mark
    /// at the start is no part of the first.
    ///
    /// Throws `SeamError(.format)` naming the line of a byte that is not UTF-8, and `.io` where reading fails.
    public static func lines() throws -> [String] {
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = read(STDIN_FILENO, &block, block.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw fileError("cannot read", "standard input", errno) }
            guard count > 0 else { break }
            bytes += block[..<count]
        }
        return try bytes.withUnsafeBytes { bytes in
            let text = try UTF8Text(bytes, name: "standard input").bytes
            var lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            if lines.last?.isEmpty == true { lines.removeLast() }
            return lines.map { line in
                String(decoding: line.last == UInt8(ascii: "\r") ? line.dropLast() : line, as: UTF8.self)
            }
        }
    }
}
