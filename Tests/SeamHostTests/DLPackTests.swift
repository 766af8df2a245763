import CSeam
import Engine
import SeamHost
import Support
import TestSupport
import Testing

/// A producer's tensor that counts how often it is given back.
private final class Producer {
    let managed = UnsafeMutablePointer<DLManagedTensorVersioned>.allocate(capacity: 1)
    private let values: UnsafeMutablePointer<Float>
    private let sizes = UnsafeMutablePointer<Int64>.allocate(capacity: 16)
    var returns = 0

    init(_ shape: [Int64], strides: [Int64]? = nil, values: [Float]) {
        self.values = .allocate(capacity: values.count)
        self.values.initialize(from: values, count: values.count)
        for (axis, size) in shape.enumerated() { sizes[axis] = size }
        for (axis, stride) in (strides ?? []).enumerated() { sizes[8 + axis] = stride }
        var value = DLManagedTensorVersioned()
        value.version = DLPackVersion(major: 1, minor: 0)
        value.manager_ctx = Unmanaged.passUnretained(self).toOpaque()
        value.deleter = { managed in
            Unmanaged<Producer>.fromOpaque(managed!.pointee.manager_ctx).takeUnretainedValue().returns += 1
        }
        value.dl_tensor.data = UnsafeMutableRawPointer(self.values)
        value.dl_tensor.device = DLDevice(device_type: kDLCPU, device_id: 0)
        value.dl_tensor.ndim = Int32(shape.count)
        value.dl_tensor.dtype = DLDataType(code: UInt8(kDLFloat.rawValue), bits: 32, lanes: 1)
        value.dl_tensor.shape = sizes
        value.dl_tensor.strides = strides == nil ? nil : sizes + 8
        managed.initialize(to: value)
    }

    deinit {
        managed.deallocate()
        values.deallocate()
        sizes.deallocate()
    }
}

@Suite struct DLPackTests {
    @Test func anExportIsAViewThatOutlivesTheTensor() throws {
        let pool = MemoryPool()
        let managed = try {
            let context = Context(pool: pool, recordsGradients: false)
            let tensor = try context.constant([1, 2, 3, 4, 5, 6] as [Float], [2, 3])
            let managed = DLPack.exporting(tensor)
            #expect(managed.pointee.dl_tensor.data == tensor.baseAddress)
            return managed
        }()
        let tensor = managed.pointee.dl_tensor
        #expect(managed.pointee.version.major == 1)
        #expect((tensor.ndim, tensor.dtype.bits, tensor.dtype.lanes, tensor.byte_offset) == (2, 32, 1, 0))
        #expect(tensor.dtype.code == UInt8(kDLFloat.rawValue))
        #expect(tensor.device.device_type == kDLCPU)
        #expect((tensor.shape[0], tensor.shape[1], tensor.strides[0], tensor.strides[1]) == (2, 3, 3, 1))
        let data = tensor.data.assumingMemoryBound(to: Float.self)
        #expect((0..<6).map { data[$0] } == [1, 2, 3, 4, 5, 6])
        #expect(pool.usage.live > 0)
        managed.pointee.deleter(managed)
        #expect(pool.usage.live == 0)
    }

    @Test func aMappedWeightIsMarkedReadOnly() throws {
        let model = try OpenModel()
        func flags(_ tensor: Tensor) -> UInt64 {
            let managed = DLPack.exporting(tensor)
            defer { managed.pointee.deleter(managed) }
            return managed.pointee.flags
        }
        let name = try #require(model.backbone.parameters.entries.first { !$0.isFrozen }).name
        #expect(flags(try #require(model.backbone.parameters[name])) == 1)
        try model.backbone.unfreeze()
        #expect(flags(try #require(model.backbone.parameters[name])) == 0)
    }

    @Test func thereAndBackIsTheSameMemory() throws {
        let pool = MemoryPool()
        let context = Context(pool: pool, recordsGradients: false)
        func roundTrip() throws {
            for (shape, count) in [([2, 3], 6), ([], 1), ([1, 1, 6], 6), ([0, 3], 0)] as [(Shape, Int)] {
                let tensor = try context.constant((0..<count).map { Float($0) }, shape)
                let back = try DLPack.importing(DLPack.exporting(tensor))
                #expect(back.shape == shape)
                #expect(back.baseAddress == tensor.baseAddress)
                #expect(back.floats == tensor.floats)
                let integers = try context.constant((0..<count).map { Int32($0) }, shape)
                #expect(try DLPack.importing(DLPack.exporting(integers)).integers == integers.integers)
            }
        }
        try roundTrip()
        #expect(pool.usage.live == 0)
    }

    @Test func theDeleterRunsOnceWhenTheLastViewIsGone() throws {
        let producer = Producer([2, 2], values: [1, 2, 3, 4])
        let context = Context(pool: MemoryPool(), recordsGradients: false)
        try {
            let tensor = try DLPack.importing(producer.managed)
            let view = try context.reshape(tensor, [4])
            #expect(view.floats == [1, 2, 3, 4])
            _ = context.retain(view)
        }()
        #expect(producer.returns == 0)
        context.reset()
        #expect(producer.returns == 1)
    }

    @Test func stridesOfSizeOneAxesDoNotMatter() throws {
        let producer = Producer([2, 1, 3], strides: [3, 77, 1], values: [1, 2, 3, 4, 5, 6])
        #expect(try DLPack.importing(producer.managed).floats == [1, 2, 3, 4, 5, 6])
        #expect(producer.returns == 1)
    }

    @Test func aStridedTensorIsBorrowedAsItIs() throws {
        let producer = Producer([2, 2], strides: [1, 2], values: [1, 2, 3, 4])
        try {
            let context = Context(pool: MemoryPool(), recordsGradients: false)
            let copy = try context.contiguous(try DLPack.importing(producer.managed))
            #expect(copy.floats == [1, 3, 2, 4])
        }()
        #expect(producer.returns == 1)
    }

    @Test func aByteOffsetIsApplied() throws {
        let producer = Producer([2], values: [1, 2, 3, 4])
        producer.managed.pointee.dl_tensor.byte_offset = 8
        #expect(try DLPack.importing(producer.managed).floats == [3, 4])
    }

    @Test func whatCannotBeTakenIsGivenBackOnce() throws {
        func expectRefusal(
            _ code: ErrorCode, _ words: String, strides: [Int64]? = nil,
            _ change: (inout DLManagedTensorVersioned) -> Void = { _ in }
        ) {
            let producer = Producer([2, 2], strides: strides, values: [1, 2, 3, 4])
            change(&producer.managed.pointee)
            expectError(code, words) { try DLPack.importing(producer.managed) }
            #expect(producer.returns == 1, "\(words)")
        }
        expectRefusal(.incompatible, "major version must be 1, found 2") { $0.version.major = 2 }
        expectRefusal(.unsupported, "must be on the CPU, found device type 2") {
            $0.dl_tensor.device.device_type = kDLCUDA
        }
        expectRefusal(.shape, "found code 2, 64 bits") { $0.dl_tensor.dtype.bits = 64 }
        expectRefusal(.shape, "2 lanes") { $0.dl_tensor.dtype.lanes = 2 }
        expectRefusal(.shape, "rank must be 0 ... 8") { $0.dl_tensor.ndim = 9 }
        expectRefusal(.shape, "rank must be 0 ... 8") { $0.dl_tensor.ndim = -1 }
        expectRefusal(.shape, "negative size") { $0.dl_tensor.shape[0] = -2 }
        expectRefusal(.invalidArgument, "the data pointer is NULL") { $0.dl_tensor.data = nil }
        expectRefusal(.unsupported, "strides [-2, 1] of shape [2, 2] are negative", strides: [-2, 1])
        expectRefusal(.unsupported, "or reach too far", strides: [.max, 1])
        expectRefusal(.unsupported, "byte_offset must be at most") { $0.dl_tensor.byte_offset = .max }
        expectRefusal(.unsupported, "must be aligned to the 4 bytes") { $0.dl_tensor.byte_offset = 2 }
    }
}
