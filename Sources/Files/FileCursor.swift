import Support

/// Reads a binary file from front to back; whatever would lead beyond its end is an error that names the file.
///
/// Borrowed: `bytes` belongs to the mapping that made the cursor.
struct FileCursor {
    let bytes: UnsafeRawBufferPointer
    let path: String
    private(set) var position: Int

    init(_ bytes: UnsafeRawBufferPointer, path: String, at position: Int = 0) {
        self.bytes = bytes
        self.path = path
        self.position = position
    }

    var remaining: Int { bytes.count - position }

    func malformed(_ sentence: String) -> SeamError { SeamError(.format, "\(path): \(sentence)") }

    /// `place` reads like `the name of tensor 3`.
    mutating func skip(_ count: Int, _ place: @autoclosure () -> String) throws {
        guard count >= 0, count <= remaining else {
            throw malformed("the file ends within \(place()), it may be an incomplete download")
        }
        position += count
    }

    mutating func integer<Number: FixedWidthInteger>(
        _ type: Number.Type = Number.self, _ place: @autoclosure () -> String
    ) throws -> Number {
        let start = position
        try skip(MemoryLayout<Number>.size, place())
        return Number(littleEndian: bytes.loadUnaligned(fromByteOffset: start, as: Number.self))
    }
}
