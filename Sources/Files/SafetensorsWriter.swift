import Support

/// Writes safetensors files that hold the same bytes for the same tensors, whatever order they come in.
///
/// The layout is that of the format's own library: tensors by falling element size, then by name, so that
/// each starts at a multiple of its element size; the header is padded to 8 bytes.
public enum SafetensorsWriter {
    /// A tensor to be written. It holds on to the bytes or the closure until it is released, and belongs to
    /// the thread that made it.
    public struct Tensor {
        /// Unique within the file.
        public let name: String
        /// The encoding of one element.
        public let type: StoredType
        /// Row-major extents; empty for a scalar.
        public let shape: [Int]
        /// Lends the values, row-major and little endian, for one call.
        let withBytes: ((UnsafeRawBufferPointer) throws -> Void) throws -> Void

        /// `bytes` holds the values, row-major and little endian.
        public init(name: String, type: StoredType, shape: [Int], bytes: [UInt8]) {
            self.init(name: name, type: type, shape: shape) { body in
                try bytes.withUnsafeBytes { try body($0) }
            }
        }

        /// `withBytes` is called once, while the file is written, and calls its argument once with the
        /// values; nothing is copied, so that the values of a large tensor exist only once.
        public init(
            name: String, type: StoredType, shape: [Int],
            withBytes: @escaping ((UnsafeRawBufferPointer) throws -> Void) throws -> Void
        ) {
            self.name = name
            self.type = type
            self.shape = shape
            self.withBytes = withBytes
        }
    }

    /// Writes `tensors` and `metadata` to `path`, atomically as `FileSystem.atomicWriteFile` does.
    ///
    /// Throws `SeamError(.invalidArgument)` for two tensors of one name, the reserved name `__metadata__`
    /// and bytes that do not fit the shape, `.format` for a negative or overflowing shape, and `.io` when
    /// the disk fails or is full.
    public static func write(_ tensors: [Tensor], metadata: [TextKey: String] = [:], to path: String) throws {
        let sorted = tensors.sorted(by: isBefore)
        let header = try header(of: sorted, metadata, path)
        try FileSystem.atomicWriteFile(path) { file in
            try header.withUnsafeBytes { try file.write($0) }
            for tensor in sorted {
                let expected = try byteCount(tensor, path)
                let start = file.count
                try tensor.withBytes { bytes in
                    guard bytes.count == expected else { throw wrongCount(tensor, bytes.count, expected, path) }
                    try file.write(bytes)
                }
                guard file.count - start == expected else {
                    throw wrongCount(tensor, file.count - start, expected, path)
                }
            }
        }
    }

    private static func isBefore(_ one: Tensor, _ other: Tensor) -> Bool {
        if one.type.rank != other.type.rank { return one.type.rank > other.type.rank }
        return TextKey(one.name) < TextKey(other.name)
    }

    private static func header(of tensors: [Tensor], _ metadata: [TextKey: String], _ path: String) throws -> [UInt8] {
        var members: [(key: String, value: JSON)] = []
        if !metadata.isEmpty {
            let sorted = metadata.sorted { $0.key < $1.key }
            let strings = sorted.map { (key: $0.key.text, value: JSON.string($0.value)) }
            members.append((key: "__metadata__", value: .object(strings)))
        }
        var names: Set<TextKey> = ["__metadata__"]
        var position = 0
        for tensor in tensors {
            guard names.insert(TextKey(tensor.name)).inserted else {
                let reason = tensor.name == "__metadata__" ? "that name is reserved" : "that name appears twice"
                throw SeamError(.invalidArgument, "cannot write tensor \"\(tensor.name)\" to \"\(path)\", \(reason)")
            }
            let (end, overflow) = position.addingReportingOverflow(try byteCount(tensor, path))
            guard !overflow else {
                throw SeamError(.invalidArgument, "cannot write \"\(path)\", its tensors are too large to address")
            }
            let shape = JSON.array(tensor.shape.map { .int(Int64($0)) })
            let offsets = JSON.array([.int(Int64(position)), .int(Int64(end))])
            members.append(
                (
                    key: tensor.name,
                    value: ["dtype": .string(tensor.type.rawValue), "shape": shape, "data_offsets": offsets]
                ))
            position = end
        }
        var text = Array(try JSON.object(members).serialized().utf8)
        text += Array(repeating: UInt8(ascii: " "), count: -text.count & 7)
        guard text.count <= SafetensorsHeader.maximumLength else {
            throw SeamError(.invalidArgument, "cannot write \"\(path)\", its header of \(text.count) bytes is too long")
        }
        return withUnsafeBytes(of: UInt64(text.count).littleEndian) { Array($0) } + text
    }

    private static func byteCount(_ tensor: Tensor, _ path: String) throws -> Int {
        let place = "\(path), tensor \"\(tensor.name)\""
        guard let count = try SafetensorsHeader.byteCount(tensor.shape, tensor.type, place) else {
            throw SeamError(.unsupported, "\(place): the dtype \(tensor.type.rawValue) is not one of the format's")
        }
        return count
    }

    private static func wrongCount(_ tensor: Tensor, _ found: Int, _ expected: Int, _ path: String) -> SeamError {
        SeamError(
            .invalidArgument,
            "cannot write tensor \"\(tensor.name)\" to \"\(path)\", shape \(tensor.shape) of \(tensor.type.rawValue)"
                + " takes \(expected) bytes, found \(found)")
    }
}
