import Support

/// Writes GGUF files of f32 tensors: version 3, little endian, aligned to 32 bytes.
public enum GGUFWriter {
    /// A value of the metadata.
    public enum Value: Sendable {
        case string(String)
        case float32(Float)
        case uint32(UInt32)
    }

    /// A tensor to be written.
    public struct Tensor: Sendable {
        /// Unique within the file.
        let name: String
        /// Row-major extents, 1 to 4.
        let shape: [Int]
        /// As many as the shape says.
        let values: [Float]

        public init(name: String, shape: [Int], values: [Float]) {
            precondition((1...4).contains(shape.count) && shape.reduce(1, *) == values.count)
            (self.name, self.shape, self.values) = (name, shape, values)
        }
    }

    private static let alignment = 32

    /// Writes a file, atomically as `FileSystem.atomicWriteFile` does; what is at `path` is replaced.
    /// - Throws: `.io` when the disk fails or is full.
    public static func write(_ metadata: [(key: String, value: Value)], _ tensors: [Tensor], to path: String) throws {
        var header = Array("GGUF".utf8)
        func add<Number: FixedWidthInteger>(_ number: Number) {
            withUnsafeBytes(of: number.littleEndian) { header.append(contentsOf: $0) }
        }
        func add(_ text: String) {
            add(UInt64(text.utf8.count))
            header.append(contentsOf: text.utf8)
        }
        add(UInt32(3))
        add(UInt64(tensors.count))
        add(UInt64(metadata.count))
        for (key, value) in metadata {
            add(key)
            switch value {
            case .string(let text):
                add(GGUFValueType.string.rawValue)
                add(text)
            case .float32(let number):
                add(GGUFValueType.float32.rawValue)
                add(number.bitPattern)
            case .uint32(let number):
                add(GGUFValueType.uint32.rawValue)
                add(number)
            }
        }
        var offset = 0
        for tensor in tensors {
            add(tensor.name)
            add(UInt32(tensor.shape.count))
            for extent in tensor.shape.reversed() { add(UInt64(extent)) }
            add(GGMLType.f32.rawValue)
            add(UInt64(offset))
            offset += padded(tensor.values.count * 4)
        }
        header += [UInt8](repeating: 0, count: padded(header.count) - header.count)
        let zeros = [UInt8](repeating: 0, count: alignment)
        try FileSystem.atomicWriteFile(path) { file in
            try header.withUnsafeBytes { try file.write($0) }
            for tensor in tensors {
                let bits = tensor.values.map(\.bitPattern.littleEndian)
                try bits.withUnsafeBytes { try file.write($0) }
                let rest = padded(bits.count * 4) - bits.count * 4
                try zeros.prefix(rest).withUnsafeBytes { try file.write($0) }
            }
        }
    }

    private static func padded(_ count: Int) -> Int { (count + alignment - 1) / alignment * alignment }
}
