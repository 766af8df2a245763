import CSeam
import Engine
import Files
import Support

/// A model folder as backbone plugins see it: its configuration and its tensors' shapes.
public final class PretrainedModel {
    public let folder: ModelFolder
    public let configuration: Configuration

    public init(_ path: String) throws {
        folder = try ModelFolder(path)
        configuration = Configuration(flattening: folder.config)
    }

    /// A weight as a mapped tensor, checked for shape, dtype and finite values.
    func tensor(_ name: String, shape: Shape) throws -> Tensor {
        let (stored, file) = try folder.requireTensor(name)
        guard stored.shape == Array(shape) else {
            throw SeamError(
                .shape, "tensor \"\(name)\" in \(file.path) must have shape \(shape), found \(Shape(stored.shape))")
        }
        let dtype: DType
        switch stored.type {
        case .float32: dtype = .f32
        case .bfloat16: dtype = .bf16
        case .float16: dtype = .f16
        default:
            throw SeamError(
                .unsupported, "tensor \"\(name)\" in \(file.path) must be F32, BF16 or F16, found \(stored.type.rawValue)")
        }
        let bytes = file.bytes(of: stored)
        if let position = NativeEngine.firstNonFinite(bytes.baseAddress!, dtype, count: shape.elementCount) {
            throw SeamError(
                .numeric, "tensor \"\(name)\" in \(file.path) holds NaN or infinity at element \(position)")
        }
        if UInt(bitPattern: bytes.baseAddress!) % UInt(dtype.byteCount) != 0 {
            // Some writers do not align tensors; such a one has to be copied.
            let copy = try Storage(copying: bytes)
            return Tensor(shape: shape, dtype: dtype, storage: copy)
        }
        // The mapping is read-only; frozen weights are never written.
        let storage = Storage(
            borrowing: UnsafeMutableRawPointer(mutating: bytes.baseAddress!), byteCount: bytes.count,
            isReadOnly: true, release: { _ = file })
        return Tensor(shape: shape, dtype: dtype, storage: storage)
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
            guard let (stored, _) = model.folder.tensor(String(cString: name)) else { return ErrorCode.notFound.rawValue }
            guard stored.shape.count <= maxRank else { return ErrorCode.shape.rawValue }
            rank?.pointee = Int32(stored.shape.count)
            if let shape { for (axis, size) in stored.shape.enumerated() { shape[axis] = Int64(size) } }
            return 0
        }
    }
}
