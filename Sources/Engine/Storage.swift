import Glibc
import Kernels
import Support

/// Memory for intermediate results, handed out and taken back by size class, so that the steady state of
/// training and decoding asks the operating system for nothing.
///
/// Thread-safe: a consumer of an exported tensor may release it on any thread.
///
/// `@unchecked Sendable` is sound: `state` is touched in `withLock` only, and the rest is constant. The lock is the one
/// that fork waits for, since a forked child goes on with the pool; `Mutex` remembers the number of the thread that holds
/// it, which is another one in the child.
public final class MemoryPool: @unchecked Sendable {
    private struct State {
        var free: [Int: [UInt]] = [:]
        var cachedBytes = 0
        var liveBytes = 0
        var peakBytes = 0
    }

    private var state = State()
    private let cacheLimit: Int

    /// - Parameter cacheLimit: bytes kept for reuse; what is returned beyond it goes back to the system.
    public init(cacheLimit: Int) { self.cacheLimit = cacheLimit }

    /// A quarter of the machine's memory.
    public convenience init() {
        self.init(cacheLimit: Memory.total / 4)
    }

    /// Bytes in use now and at most so far.
    public var usage: (live: Int, peak: Int) { withLock { ($0.liveBytes, $0.peakBytes) } }

    /// Bytes kept for reuse now.
    public var cachedBytes: Int { withLock { $0.cachedBytes } }

    deinit { trim() }

    private func withLock<Result>(_ body: (inout State) -> Result) -> Result {
        sk_lock()
        defer { sk_unlock() }
        return body(&state)
    }

    /// Returns every cached block to the system.
    public func trim() {
        withLock { state in
            for (_, blocks) in state.free {
                for block in blocks { Glibc.free(UnsafeMutableRawPointer(bitPattern: block)) }
            }
            state.free.removeAll()
            state.cachedBytes = 0
        }
    }

    /// Four classes an octave: at most a fifth of a block is unused, and shapes that vary a little reuse
    /// each other's blocks.
    package static func sizeClass(_ byteCount: Int) -> Int {
        if byteCount <= 256 { return 256 }
        let quarter = (1 << (Int.bitWidth - 1 - (byteCount - 1).leadingZeroBitCount)) >> 2
        return (byteCount + quarter - 1) / quarter * quarter
    }

    func allocate(_ byteCount: Int) throws(SeamError) -> UnsafeMutableRawPointer {
        let size = Self.sizeClass(byteCount)
        let cached = withLock { state -> UInt? in
            state.liveBytes += size
            state.peakBytes = max(state.peakBytes, state.liveBytes)
            guard let block = state.free[size]?.popLast() else { return nil }
            state.cachedBytes -= size
            return block
        }
        if let cached { return UnsafeMutableRawPointer(bitPattern: cached)! }
        // Large blocks on huge pages: fewer faults when first touched and fewer TLB misses later.
        let hugePage = 2 << 20
        let isLarge = size >= 2 * hugePage
        var pointer: UnsafeMutableRawPointer?
        // More than there is would be promised all the same by a system that overcommits.
        guard byteCount <= Memory.total, posix_memalign(&pointer, isLarge ? hugePage : 64, size) == 0, let pointer
        else {
            withLock { $0.liveBytes -= size }
            throw SeamError(.outOfMemory, "out of memory: could not allocate \(byteCount) bytes for a tensor")
        }
        if isLarge { madvise(pointer, size, MADV_HUGEPAGE) }
        return pointer
    }

    func recycle(_ pointer: UnsafeMutableRawPointer, byteCount: Int) {
        let size = Self.sizeClass(byteCount)
        let kept = withLock { state -> Bool in
            state.liveBytes -= size
            guard state.cachedBytes + size <= cacheLimit else { return false }
            state.free[size, default: []].append(UInt(bitPattern: pointer))
            state.cachedBytes += size
            return true
        }
        if !kept { Glibc.free(pointer) }
    }
}

/// One block of memory that tensors view: from a pool, or borrowed from an owner (a mapped file, a DLPack
/// producer) that lives as long as this object.
public final class Storage {
    let pointer: UnsafeMutableRawPointer
    public let byteCount: Int
    private let pool: MemoryPool?
    private let release: (() -> Void)?
    /// Whether the memory is somebody else's, who hears of it when this object is gone.
    var isBorrowed: Bool { pool == nil }
    /// A mapped file: writing to it would end the process.
    let isReadOnly: Bool

    /// Uninitialised memory from `pool`.
    init(byteCount: Int, pool: MemoryPool) throws(SeamError) {
        pointer = try pool.allocate(byteCount)
        isReadOnly = false
        self.byteCount = byteCount
        self.pool = pool
        release = nil
    }

    /// Borrowed memory; `release` runs once, when the last tensor on it is gone.
    public init(
        borrowing pointer: UnsafeMutableRawPointer, byteCount: Int, isReadOnly: Bool = false,
        release: @escaping () -> Void
    ) {
        self.isReadOnly = isReadOnly
        self.pointer = pointer
        self.byteCount = byteCount
        pool = nil
        self.release = release
    }

    /// Memory of its own outside any pool, 64-byte aligned, that `fill` writes as a whole.
    public init(byteCount: Int, fill: (UnsafeMutableRawPointer) -> Void) throws(SeamError) {
        guard let memory = aligned_alloc(64, (byteCount + 63) / 64 * 64) else {
            throw SeamError(.outOfMemory, "out of memory: could not allocate \(byteCount) bytes for a tensor")
        }
        fill(memory)
        pointer = memory
        isReadOnly = false
        self.byteCount = byteCount
        pool = nil
        release = { Glibc.free(memory) }
    }

    /// A copy of `bytes` in memory of its own, outside any pool.
    public convenience init(copying bytes: UnsafeRawBufferPointer) throws(SeamError) {
        try self.init(byteCount: bytes.count) { $0.copyMemory(from: bytes.baseAddress!, byteCount: bytes.count) }
    }

    deinit {
        pool?.recycle(pointer, byteCount: byteCount)
        release?()
    }
}
