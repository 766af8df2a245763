import CSeam
import Engine
import Support

/// Tensors in and out as DLPack 1 (include/dlpack/dlpack.h).
public enum DLPack {
    /// DLPACK_FLAG_BITMASK_READ_ONLY, a macro that Swift does not see.
    private static let readOnlyFlag: UInt64 = 1

    /// How far a tensor may reach in memory: 2^45, more than there is.
    private static let mostBytes = 1 << 45

    /// What an exported tensor owns until its deleter runs.
    private final class Export {
        let tensor: Tensor
        let shape: UnsafeMutablePointer<Int64>

        init(_ tensor: Tensor) {
            self.tensor = tensor
            shape = .allocate(capacity: 2 * maxRank)
            for axis in 0..<tensor.rank { shape[axis] = Int64(tensor.shape[axis]) }
            let strides = tensor.shape.contiguousStrides
            for axis in 0..<tensor.rank { shape[maxRank + axis] = Int64(strides[axis]) }
        }

        deinit { shape.deallocate() }
    }

    /// A zero-copy view of a contiguous tensor; the caller runs its deleter once, on any thread.
    public static func exporting(_ tensor: Tensor) -> UnsafeMutablePointer<DLManagedTensorVersioned> {
        // The pass may go on while the caller reads.
        tensor.keepValues()
        let managed = UnsafeMutablePointer<DLManagedTensorVersioned>.allocate(capacity: 1)
        let export = Export(tensor)
        var value = DLManagedTensorVersioned()
        value.version = DLPackVersion(major: UInt32(DLPACK_MAJOR_VERSION), minor: UInt32(DLPACK_MINOR_VERSION))
        value.manager_ctx = Unmanaged.passRetained(export).toOpaque()
        value.deleter = { managed in
            guard let managed, let owner = managed.pointee.manager_ctx else { return }
            Unmanaged<Export>.fromOpaque(owner).release()
            managed.deallocate()
        }
        value.flags = tensor.isReadOnly ? readOnlyFlag : 0
        value.dl_tensor.data = tensor.baseAddress
        value.dl_tensor.device = DLDevice(device_type: kDLCPU, device_id: 0)
        value.dl_tensor.ndim = Int32(tensor.rank)
        value.dl_tensor.dtype = code(of: tensor.dtype)
        value.dl_tensor.shape = export.shape
        value.dl_tensor.strides = export.shape + maxRank
        managed.initialize(to: value)
        return managed
    }

    /// Borrows the producer's memory; its deleter runs when the last tensor on it is gone, or before this throws.
    public static func importing(_ source: UnsafeMutablePointer<DLManagedTensorVersioned>) throws(SeamError) -> Tensor {
        var keepsSource = false
        defer { if !keepsSource { source.pointee.deleter?(source) } }
        guard source.pointee.version.major == UInt32(DLPACK_MAJOR_VERSION) else {
            throw SeamError(
                .incompatible,
                "from_dlpack: DLPack major version must be \(DLPACK_MAJOR_VERSION), found \(source.pointee.version.major)"
            )
        }
        let tensor = source.pointee.dl_tensor
        guard tensor.device.device_type == kDLCPU else {
            throw SeamError(
                .unsupported,
                "from_dlpack: the tensor must be on the CPU, found device type \(tensor.device.device_type.rawValue)")
        }
        guard let dtype = dtype(of: tensor.dtype) else {
            throw SeamError(
                .shape,
                "from_dlpack: dtype must be f32, bf16, f16 or i32, found code \(tensor.dtype.code), \(tensor.dtype.bits) bits, \(tensor.dtype.lanes) lanes"
            )
        }
        let shape = try checkedSizes(tensor.shape, tensor.ndim, "from_dlpack")
        guard let data = tensor.data ?? (shape.elementCount == 0 ? UnsafeMutableRawPointer(bitPattern: 64) : nil) else {
            throw SeamError(.invalidArgument, "from_dlpack: the data pointer is NULL")
        }
        var strides = shape.contiguousStrides
        if let given = tensor.strides {
            for axis in 0..<shape.count where shape[axis] > 1 { strides[axis] = Int(given[axis]) }
            // So that no product of a size and a stride overflows.
            guard strides.allSatisfy({ $0 >= 0 && $0 <= mostBytes }),
                zip(shape, strides).allSatisfy({ $0 <= 1 || $1 <= mostBytes / $0 })
            else {
                throw SeamError(
                    .unsupported, "from_dlpack: strides \(strides) of shape \(shape) are negative or reach too far")
            }
        }
        guard tensor.byte_offset <= mostBytes else {
            throw SeamError(
                .unsupported, "from_dlpack: byte_offset must be at most \(mostBytes), found \(tensor.byte_offset)")
        }
        let first = data + Int(tensor.byte_offset)
        guard UInt(bitPattern: first) % UInt(dtype.byteCount) == 0 else {
            throw SeamError(
                .unsupported, "from_dlpack: the data must be aligned to the \(dtype.byteCount) bytes of an element")
        }
        keepsSource = true
        let address = UInt(bitPattern: source)
        let storage = Storage(
            borrowing: first, byteCount: Tensor.extent(shape, strides) * dtype.byteCount,
            release: {
                let source = UnsafeMutablePointer<DLManagedTensorVersioned>(bitPattern: address)
                source?.pointee.deleter?(source)
            })
        return Tensor(shape: shape, strides: strides, dtype: dtype, storage: storage)
    }

    private static func code(of dtype: DType) -> DLDataType {
        switch dtype {
        case .f32: DLDataType(code: UInt8(kDLFloat.rawValue), bits: 32, lanes: 1)
        case .f16: DLDataType(code: UInt8(kDLFloat.rawValue), bits: 16, lanes: 1)
        case .bf16: DLDataType(code: UInt8(kDLBfloat.rawValue), bits: 16, lanes: 1)
        case .i32: DLDataType(code: UInt8(kDLInt.rawValue), bits: 32, lanes: 1)
        }
    }

    private static func dtype(of type: DLDataType) -> DType? {
        guard type.lanes == 1 else { return nil }
        switch (UInt32(type.code), type.bits) {
        case (UInt32(kDLFloat.rawValue), 32): return .f32
        case (UInt32(kDLFloat.rawValue), 16): return .f16
        case (UInt32(kDLBfloat.rawValue), 16): return .bf16
        case (UInt32(kDLInt.rawValue), 32): return .i32
        default: return nil
        }
    }
}
