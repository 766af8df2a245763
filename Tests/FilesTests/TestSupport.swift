import Files

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
