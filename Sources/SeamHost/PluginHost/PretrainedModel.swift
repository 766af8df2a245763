import CSeam
import Engine
import Files
import Support

/// A model's files as backbone plugins see them: its configuration and its tensors' shapes.
public final class PretrainedModel {
    public let files: ModelFiles
    public let configuration: Configuration

    public init(_ path: String) throws {
        files = try ModelFiles(path)
        let members = try files.folder.flatMap { try SentenceEncoder(folder: $0) }?.members ?? []
        configuration = Configuration(flattening: .object(members + (files.config.objectValue ?? [])))
        try configuration.checkStrings(of: files.configPath)
    }

    /// A weight, checked for shape, dtype and finite values.
    package func tensor(_ name: String, shape: Shape) throws -> Tensor {
        let stored = try files.requireTensor(name)
        guard stored.shape == Array(shape) else {
            throw SeamError(
                .shape,
                "tensor \"\(name)\" in \(stored.file.path) must have shape \(shape), found \(stored.shape)")
        }
        let tensor = try Self.load(stored)
        if let position = NativeEngine.firstNonFinite(tensor.baseAddress, tensor.dtype, count: shape.elementCount) {
            throw SeamError(
                .numeric, "tensor \"\(name)\" in \(stored.file.path) holds NaN or infinity at element \(position)")
        }
        return tensor
    }

    /// The values of a weight: mapped where they lie in the file as the engine reads them, else copied, and quantised
    /// ones widened to f32.
    package static func load(_ stored: ModelTensor) throws -> Tensor {
        guard stored.shape.count <= maxRank else {
            throw SeamError(
                .unsupported,
                "tensor \"\(stored.name)\" in \(stored.file.path) must have at most \(maxRank) axes, found \(stored.shape)"
            )
        }
        let (shape, bytes) = (Shape(stored.shape), stored.bytes)
        switch stored.encoding {
        case .plain(let type):
            let dtype: DType
            switch type {
            case .float32: dtype = .f32
            case .bfloat16: dtype = .bf16
            case .float16: dtype = .f16
            default:
                throw SeamError(
                    .unsupported,
                    "tensor \"\(stored.name)\" in \(stored.file.path) must be F32, BF16 or F16, found \(type.rawValue)")
            }
            let storage: Storage
            switch stored.layout {
            case .same, .rows: storage = try mapped(stored, dtype)
            case .transposed:
                let (start, file) = (bytes.baseAddress!, stored.file)
                storage =
                    try dtype == .f32
                    ? transposed(stored.shape, start, of: file, as: UInt32.self)
                    : transposed(stored.shape, start, of: file, as: UInt16.self)
            case .oneAdded:
                // What opens the file has seen to it that this is f32.
                storage = try Storage(byteCount: bytes.count) { memory in
                    let values = memory.assumingMemoryBound(to: Float.self)
                    for index in 0..<shape.elementCount {
                        values[index] = bytes.loadUnaligned(fromByteOffset: 4 * index, as: Float.self) - 1
                    }
                }
            }
            return withExtendedLifetime(stored.file) { Tensor(shape: shape, dtype: dtype, storage: storage) }
        case .blocks(let type):
            let isTransposed = stored.layout == .transposed
            let rows = isTransposed ? shape[1] : stored.rowOrder?.count ?? shape.dropLast().reduce(1, *)
            let storage = try NativeEngine.dequantize(
                bytes.baseAddress!, format: type.rawValue, rows: rows, columns: shape.elementCount / rows,
                order: stored.rowOrder)
            let tensor = withExtendedLifetime(stored.file) { Tensor(shape: shape, dtype: .f32, storage: storage) }
            guard isTransposed else { return tensor }
            return Tensor(
                shape: shape, dtype: .f32,
                storage: try transposed(stored.shape, tensor.baseAddress, of: tensor, as: UInt32.self))
        }
    }

    /// The values of a matrix [rows, columns] in its order, of bytes that are one of [columns, rows]. `Number` is as wide as
    /// a value; the bytes live as long as `owner`.
    private static func transposed<Number: FixedWidthInteger & BitwiseCopyable>(
        _ shape: [Int], _ bytes: UnsafeRawPointer, of owner: AnyObject, as type: Number.Type
    ) throws -> Storage {
        let (rows, columns, size) = (shape[0], shape[1], Number.bitWidth / 8)
        // By squares, so that the lines of the cache are used whole on both sides.
        let side = 16
        return try withExtendedLifetime(owner) {
            try Storage(byteCount: rows * columns * size) { memory in
                let values = memory.assumingMemoryBound(to: Number.self)
                for top in stride(from: 0, to: rows, by: side) {
                    for left in stride(from: 0, to: columns, by: side) {
                        for row in top..<min(top + side, rows) {
                            for column in left..<min(left + side, columns) {
                                values[row * columns + column] = bytes.loadUnaligned(
                                    fromByteOffset: (column * rows + row) * size, as: Number.self)
                            }
                        }
                    }
                }
            }
        }
    }

    private static func mapped(_ stored: ModelTensor, _ dtype: DType) throws -> Storage {
        let (file, bytes) = (stored.file, stored.bytes)
        let order = stored.rowOrder ?? [0]
        // Some writers do not align tensors; such a one has to be copied, and one whose rows are in another order.
        guard stored.rowOrder != nil || UInt(bitPattern: bytes.baseAddress!) % UInt(dtype.byteCount) != 0 else {
            // The mapping is read-only; frozen weights are never written.
            return Storage(
                borrowing: UnsafeMutableRawPointer(mutating: bytes.baseAddress!), byteCount: bytes.count,
                isReadOnly: true, release: { _ = file })
        }
        return try withExtendedLifetime(file) {
            try Storage(byteCount: bytes.count) { memory in
                let size = bytes.count / order.count
                for (row, source) in order.enumerated() {
                    (memory + row * size).copyMemory(from: bytes.baseAddress! + Int(source) * size, byteCount: size)
                }
            }
        }
    }

    var handle: OpaquePointer { OpaquePointer(Unmanaged.passUnretained(self).toOpaque()) }

    private static func from(_ handle: OpaquePointer?) -> PretrainedModel? {
        handle.map { Unmanaged<PretrainedModel>.fromOpaque(UnsafeRawPointer($0)).takeUnretainedValue() }
    }

    /// The model functions of `seam_host`.
    static func install(in host: inout seam_host) {
        host.model_config = { model in PretrainedModel.from(model)?.configuration.handle }
        host.model_tensor = { model, name, shape, rank in
            guard let model = PretrainedModel.from(model), let name else { return ErrorCode.invalidArgument.rawValue }
            guard let stored = model.files.tensor(String(cString: name)) else { return ErrorCode.notFound.rawValue }
            guard stored.shape.count <= maxRank else { return ErrorCode.shape.rawValue }
            rank?.pointee = Int32(stored.shape.count)
            if let shape { for (axis, size) in stored.shape.enumerated() { shape[axis] = Int64(size) } }
            return 0
        }
    }
}
