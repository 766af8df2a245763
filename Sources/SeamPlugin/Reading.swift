import CSeam

extension Tensor {
    /// The values of an f32 tensor, row-major, for decisions that operations cannot make: is a number zero? Nil after a
    /// failure, and for other element types. On another engine than the host's own this may wait for a device.
    public func floats() -> [Float]? {
        guard let exported = pass.ops.pointee.to_dlpack(pass.raw, handle) else { return nil }
        defer { exported.pointee.deleter?(exported) }
        let tensor = exported.pointee.dl_tensor
        guard tensor.dtype.code == UInt8(kDLFloat.rawValue), tensor.dtype.bits == 32,
            tensor.device.device_type == kDLCPU
        else { return nil }
        let count = shape.reduce(1, *)
        guard count > 0, let data = tensor.data else { return [] }
        let first = (data + Int(tensor.byte_offset)).assumingMemoryBound(to: Float.self)
        return Array(UnsafeBufferPointer(start: first, count: count))
    }
}
