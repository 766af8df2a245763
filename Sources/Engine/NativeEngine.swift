import Kernels
import Support

/// The native engine's process-wide parts: the BLAS and the thread pool.
public enum NativeEngine {
    /// Loads the BLAS, which every matrix product needs; later calls return at once. Thread-safe. Throws `.notFound` where
    /// there is none, `.outOfMemory` where the process may not have the address space that it needs.
    public static func start() throws(SeamError) {
        if let startFailure { throw startFailure }
    }

    /// Nil once the BLAS is loaded. Lazy, so that a process that computes with another engine goes without.
    private static let startFailure: SeamError? = {
        var message = [CChar](repeating: 0, count: 512)
        let status = message.withUnsafeMutableBufferPointer { sk_blas_load($0.baseAddress!, $0.count) }
        guard status != 0 else { return nil }
        let sentence = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return SeamError(status == -2 ? .outOfMemory : .notFound, sentence)
    }()

    /// Threads that kernels use, the caller's included. Setting 0 means one per core. Not while a kernel runs.
    public static var threadCount: Int {
        get { Int(sk_thread_count()) }
        set { sk_set_thread_count(Int32(clamping: newValue)) }
    }

    /// The BLAS kernels in use ("SkylakeX", "Haswell" ...).
    public static var blasCoreName: String { String(cString: sk_blas_core_name()) }

    /// The position of the first NaN or infinity in memory of the given dtype, or nil.
    public static func firstNonFinite(_ pointer: UnsafeRawPointer, _ dtype: DType, count: Int) -> Int? {
        let position = sk_first_nonfinite(pointer, dtype.storageKind, Int64(count))
        return position < 0 ? nil : Int(position)
    }

    /// Quantised weights as f32: whole blocks of ggml's type number `format` (those of `sk_block_format`) a row, every
    /// row a multiple of the block's length. Row r of the result is row `order[r]` of the bytes, r where `order` is
    /// nil. The caller has checked bounds and format. Parallel.
    public static func dequantize(
        _ bytes: UnsafeRawPointer, format: UInt32, rows: Int, columns: Int, order: [Int64]?
    ) throws(SeamError) -> Storage {
        try Storage(byteCount: rows * columns * 4) { memory in
            let values = memory.assumingMemoryBound(to: Float.self)
            let format = sk_block_format(rawValue: format)
            if let order {
                sk_dequantize(values, bytes, format, Int64(rows), Int64(columns), order)
            } else {
                sk_dequantize(values, bytes, format, Int64(rows), Int64(columns), nil)
            }
        }
    }
}
