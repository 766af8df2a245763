import Support

/// How one element of a stored tensor is encoded, under the names of the safetensors format. Those that have a name here
/// are what SeamKit computes with or writes; a tensor of any other type is carried along unread.
public struct StoredType: RawRepresentable, Sendable, Hashable {
    public let rawValue: String

    public init(rawValue: String) { self.rawValue = rawValue }

    public static let uint8 = StoredType(rawValue: "U8")
    public static let float16 = StoredType(rawValue: "F16")
    public static let bfloat16 = StoredType(rawValue: "BF16")
    public static let float32 = StoredType(rawValue: "F32")
    public static let int64 = StoredType(rawValue: "I64")

    /// The types of the format and the bits of one element, in the order in which its own library lays tensors out, last
    /// first.
    private static let known: [(name: String, bits: Int)] = [
        ("BOOL", 8), ("F4", 4), ("F6_E2M3", 6), ("F6_E3M2", 6), ("U8", 8), ("I8", 8), ("F8_E5M2", 8), ("F8_E4M3", 8),
        ("F8_E5M2FNUZ", 8), ("F8_E4M3FNUZ", 8), ("F8_E8M0", 8), ("I16", 16), ("U16", 16), ("F16", 16), ("BF16", 16),
        ("I32", 32), ("U32", 32), ("F32", 32), ("C64", 64), ("F64", 64), ("I64", 64), ("U64", 64),
    ]

    /// Bits of one element; nil for a type that is newer than this list.
    var bits: Int? { Self.known.first { $0.name == rawValue }?.bits }

    /// The place in the layout; types that are not known come last.
    var rank: Int { Self.known.firstIndex { $0.name == rawValue } ?? -1 }
}

/// One tensor of a safetensors file: its name, encoding, shape and place.
public struct StoredTensor: Sendable, Equatable {
    /// Unique within its file.
    public let name: String
    /// The encoding of one element.
    public let type: StoredType
    /// Row-major extents; empty for a scalar.
    public let shape: [Int]
    /// The tensor's bytes, counted from the start of the file: as many as type and shape take. Files of other programs may
    /// place a tensor at an offset that is not a multiple of its element size.
    public let range: Range<Int>
}

/// A safetensors file, mapped into memory and checked as a whole when it is opened.
///
/// Thread rules: any thread may read. The bytes live as long as `file`.
public final class SafetensorsFile: Sendable {
    /// The mapping that owns the bytes.
    public let file: MappedFile
    /// The tensors in the order of their bytes.
    public let tensors: [StoredTensor]
    /// The `__metadata__` strings; empty when the file has none.
    public let metadata: [TextKey: String]
    private let index: [TextKey: Int]

    /// The path as given to `init`.
    public var path: String { file.path }

    /// Maps the file and checks its header; the tensors' values are not read.
    ///
    /// A tensor of a type that SeamKit does not know is left to whoever asks for it: a model may hold some that it does
    /// not use. Throws as `MappedFile` does, and `SeamError(.format)` when the header is malformed or does not fit the
    /// file.
    public init(_ path: String) throws {
        file = try MappedFile(path)
        let header = try SafetensorsHeader(file.bytes, path: path)
        tensors = header.tensors
        metadata = header.metadata
        // Keys of one JSON object are unique.
        index = Dictionary(uniqueKeysWithValues: tensors.enumerated().map { (TextKey($1.name), $0) })
    }

    /// The tensor of that name, or nil.
    public subscript(_ name: String) -> StoredTensor? {
        index[TextKey(name)].map { tensors[$0] }
    }

    /// The bytes of one of this file's tensors, little endian, valid while `file` lives.
    public func bytes(of tensor: StoredTensor) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: file.bytes[tensor.range])
    }

    /// Calls `body` with the bytes of one of this file's tensors; the pointer must not leave `body`.
    public func withBytes<Result>(
        of tensor: StoredTensor, _ body: (UnsafeRawBufferPointer) throws -> Result
    ) rethrows -> Result {
        try withExtendedLifetime(self) { try body(bytes(of: tensor)) }
    }
}

/// The parsed and checked header of a safetensors file.
struct SafetensorsHeader {
    /// The limit of the format's own library.
    static let maximumLength = 100_000_000

    let tensors: [StoredTensor]
    let metadata: [TextKey: String]

    init(_ bytes: UnsafeRawBufferPointer, path: String) throws {
        func malformed(_ sentence: String) -> SeamError {
            SeamError(.format, "\(path) is not a safetensors file, \(sentence)")
        }
        guard bytes.count >= 8 else {
            throw malformed("expected at least 8 bytes, found \(bytes.count)")
        }
        let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
        guard length <= UInt64(Self.maximumLength) else {
            throw malformed("its header of \(length) bytes exceeds the limit of \(Self.maximumLength)")
        }
        let dataStart = 8 + Int(length)
        guard dataStart <= bytes.count else {
            throw malformed("its header of \(length) bytes reaches beyond the file of \(bytes.count) bytes")
        }
        let json: JSON
        do {
            json = try JSON.parse(UnsafeRawBufferPointer(rebasing: bytes[8..<dataStart]), name: "header")
        } catch let error as SeamError {
            throw malformed(error.message)
        }
        guard let members = json.objectValue else {
            throw malformed("its header must be an object, found \(json.kind)")
        }
        var metadata: [TextKey: String] = [:]
        var tensors: [StoredTensor] = []
        for (name, value) in members {
            if name == "__metadata__" {
                metadata = try Self.strings(value, path)
            } else {
                tensors.append(try Self.tensor(name, value, dataStart, path))
            }
        }
        tensors.sort { ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound) }
        try Self.checkLayout(tensors, dataStart, bytes.count, path)
        self.tensors = tensors
        self.metadata = metadata
    }

    private static func strings(_ value: JSON, _ path: String) throws -> [TextKey: String] {
        guard let members = value.objectValue else {
            throw SeamError(.format, "\(path): \"__metadata__\" must be an object, found \(value.kind)")
        }
        var strings: [TextKey: String] = [:]
        for (key, value) in members {
            guard let string = value.stringValue else {
                throw SeamError(.format, "\(path): metadata \"\(key)\" must be a string, found \(value.kind)")
            }
            strings[TextKey(key)] = string
        }
        return strings
    }

    private static func tensor(
        _ name: String, _ value: JSON, _ dataStart: Int, _ path: String
    ) throws -> StoredTensor {
        let place = "\(path), tensor \"\(name)\""
        guard value.objectValue != nil else {
            throw SeamError(.format, "\(place): its entry must be an object, found \(value.kind)")
        }
        let type = StoredType(rawValue: try value.requireString("dtype", in: place))
        let shape = try value.requireInts("shape", in: place)
        let offsets = try value.requireInts("data_offsets", in: place)
        let length = try byteCount(shape, type, place)
        guard offsets.count == 2, offsets[0] >= 0, offsets[1] >= offsets[0], offsets[1] <= Int.max - dataStart else {
            throw SeamError(
                .format, "\(place): \"data_offsets\" must be a begin and an end at or after it, found \(offsets)")
        }
        guard length == nil || offsets[1] - offsets[0] == length else {
            throw SeamError(
                .format,
                "\(place): shape \(shape) of \(type.rawValue) takes \(length ?? 0) bytes, \"data_offsets\" span"
                    + " \(offsets[1] - offsets[0])")
        }
        return StoredTensor(
            name: name, type: type, shape: shape, range: dataStart + offsets[0]..<dataStart + offsets[1])
    }

    /// The bytes that a tensor takes, nil for a type that is not known; `place` names it in the error for a negative or
    /// too large extent, and for elements smaller than a byte that do not fill the last one.
    static func byteCount(_ shape: [Int], _ type: StoredType, _ place: String) throws -> Int? {
        let bits = type.bits ?? 8
        // Elements smaller than a byte are counted in bits, so that the largest of the others can be addressed.
        let units = bits.isMultiple(of: 8) ? 1 : 8
        var count = units == 1 ? bits / 8 : bits
        for extent in shape {
            guard extent >= 0 else {
                throw SeamError(.format, "\(place): shape \(shape) has the negative extent \(extent)")
            }
            let (product, overflow) = count.multipliedReportingOverflow(by: extent)
            guard !overflow else {
                throw SeamError(.format, "\(place): shape \(shape) is too large to address")
            }
            count = product
        }
        guard type.bits != nil else { return nil }
        guard count.isMultiple(of: units) else {
            throw SeamError(.format, "\(place): shape \(shape) of \(type.rawValue) does not fill whole bytes")
        }
        return count / units
    }

    /// The tensors, sorted by place, must fill the data part without holes or overlap.
    private static func checkLayout(
        _ tensors: [StoredTensor], _ dataStart: Int, _ end: Int, _ path: String
    ) throws {
        var position = dataStart
        for (number, tensor) in tensors.enumerated() {
            let place = "\(path), tensor \"\(tensor.name)\""
            guard tensor.range.lowerBound >= position else {
                throw SeamError(
                    .format, "\(place): its bytes overlap those of \"\(tensors[number - 1].name)\"")
            }
            guard tensor.range.lowerBound == position else {
                throw SeamError(
                    .format,
                    "\(place): \(tensor.range.lowerBound - position) bytes before it belong to no tensor")
            }
            guard tensor.range.upperBound <= end else {
                throw SeamError(
                    .format,
                    "\(place): its bytes end \(tensor.range.upperBound - end) bytes beyond the file, which may be"
                        + " an incomplete download")
            }
            position = tensor.range.upperBound
        }
        guard position == end else {
            throw SeamError(.format, "\(path): \(end - position) bytes at its end belong to no tensor")
        }
    }
}
