import Support

/// Bytes that were checked to be UTF-8, without the byte order mark that some editors put in front.
///
/// Borrowed: `bytes` points into the buffer given to `init` and lives no longer than that.
struct UTF8Text {
    let bytes: UnsafeRawBufferPointer

    /// Throws `SeamError(.format)` naming the line of the first byte that is not UTF-8.
    init(_ source: UnsafeRawBufferPointer, name: String) throws {
        let hasMark = source.count >= 3 && source[0] == 0xEF && source[1] == 0xBB && source[2] == 0xBF
        bytes = hasMark ? UnsafeRawBufferPointer(rebasing: source.dropFirst(3)) : source
        do {
            _ = try UTF8Span(validating: bytes.bindMemory(to: UInt8.self).span)
        } catch {
            let offset = error.byteOffsets.lowerBound
            let line = 1 + bytes[..<offset].count { $0 == UInt8(ascii: "\n") }
            throw SeamError(
                .format,
                "\(name), line \(line): expected UTF-8 text, found the byte 0x\(String(bytes[offset], radix: 16))"
                    + " which is not UTF-8")
        }
    }

    /// Whether there is nothing but white space.
    var isBlank: Bool { bytes.allSatisfy { $0 == 0x20 || (0x09...0x0D).contains($0) } }

    var string: String { String(decoding: bytes, as: UTF8.self) }
}
