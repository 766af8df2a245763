/// How the values of a pretrained model's tensor are stored.
public enum TensorEncoding: Sendable, Equatable {
    /// One number after the other.
    case plain(StoredType)
    /// Quantised blocks of a GGUF file.
    case blocks(GGMLType)

    /// Whether it is blocks.
    public var isQuantised: Bool {
        if case .blocks = self { true } else { false }
    }

    /// The type as error sentences name it: "F32", "Q4_1".
    public var name: String {
        switch self {
        case .plain(let type): type.rawValue
        case .blocks(let type): type.name
        }
    }
}

/// How a tensor's values lie in its file, where that is not as transformers has them.
public enum TensorLayout: Sendable, Equatable {
    /// As transformers has them.
    case same
    /// Row r of the tensor (along its first axis) is row `order[r]` of the bytes.
    case rows([Int64])
    /// A matrix [a, b] whose bytes are one of [b, a].
    case transposed
    /// Each value is larger by 1; plain F32 only.
    case oneAdded
}

/// One tensor of a pretrained model, under the name that it has in transformers, with the place of its bytes.
public struct ModelTensor: Sendable {
    /// Unique within its model.
    public let name: String
    /// Row-major extents; empty for a scalar.
    public let shape: [Int]
    public let encoding: TensorEncoding
    /// The mapping that owns the bytes.
    public let file: MappedFile
    /// The bytes, counted from the start of the file; of any alignment.
    public let range: Range<Int>
    /// How the bytes are to be taken to get the tensor.
    public let layout: TensorLayout

    /// The order of the rows, where it is another.
    public var rowOrder: [Int64]? {
        if case .rows(let order) = layout { order } else { nil }
    }

    /// The bytes as they are stored, valid while `file` lives.
    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: file.bytes[range]) }

    /// Whether another tensor has the same content, whatever its name.
    public func hasContent(of other: ModelTensor) -> Bool {
        encoding == other.encoding && shape == other.shape && layout == other.layout
            && withExtendedLifetime((file, other.file)) { bytes.elementsEqual(other.bytes) }
    }
}
