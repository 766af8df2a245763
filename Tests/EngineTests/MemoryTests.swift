import Engine
import Support
import TestSupport
import Testing

@Suite struct MemoryTests {
    /// A small pass with gradients, as a training step makes one.
    private func pass(_ pool: MemoryPool, _ leaf: Tensor, rows: Int = 64) throws {
        let context = Context(pool: pool, recordsGradients: true)
        let x = try context.full(0.5, .f32, [rows, 32])
        let hidden = try context.unary(.gelu, try context.linear(x, weight: leaf, bias: nil))
        let loss = try context.mean(try context.mean(hidden, axis: 1, keep: false), axis: 0, keep: false)
        try context.backward(loss)
        leaf.gradient?.clear()
    }

    @Test func theSecondPassAllocatesNothingNew() throws {
        let pool = MemoryPool()
        let leaf = try Context(pool: pool, recordsGradients: false).full(0.1, .f32, [48, 32]).asLeaf
        let before = pool.usage.live
        try pass(pool, leaf)
        let (afterFirst, peak) = pool.usage
        #expect(afterFirst == before, "everything but the leaf went back")
        // A block more from the system would be a block more that is kept.
        let cached = pool.cachedBytes
        #expect(cached >= peak - before)
        for _ in 0..<5 { try pass(pool, leaf) }
        #expect(pool.usage == (before, peak))
        #expect(pool.cachedBytes == cached)
        // A shape that varies a little finds the same blocks: 62 and 64 rows are of one size class.
        try pass(pool, leaf, rows: 62)
        #expect(pool.cachedBytes == cached)
    }

    @Test func trimmingAndLimitsGiveMemoryBack() throws {
        let pool = MemoryPool()
        func use(_ pool: MemoryPool) throws {
            _ = try Context(pool: pool, recordsGradients: false).full(1, .f32, [1000])
        }
        for _ in 0..<3 { try use(pool) }
        #expect(pool.cachedBytes == MemoryPool.sizeClass(4000))
        pool.trim()
        #expect(pool.cachedBytes == 0)
        try use(pool)
        #expect(pool.cachedBytes == MemoryPool.sizeClass(4000))

        let none = MemoryPool(cacheLimit: 0)
        for _ in 0..<3 { try use(none) }
        #expect(none.cachedBytes == 0)
        #expect(none.usage.live == 0)
    }

    @Test func sizeClassesHoldAndWasteAtMostAFifth() {
        for count in Array(1...5000) + [1 << 20, (1 << 20) + 1, (3 << 30) + 12345] {
            let size = MemoryPool.sizeClass(count)
            #expect(size >= count)
            #expect(MemoryPool.sizeClass(size) == size)
            if count > 256 { #expect(Double(size - count) <= 0.2 * Double(size) + 1, "\(count)") }
        }
    }

    @Test func whatCannotBeHadIsAnError() throws {
        let pool = MemoryPool()
        let context = Context(pool: pool, recordsGradients: false)
        expectError(.outOfMemory, "a tensor of shape [1073741824, 1073741824] is too large") {
            try context.makeTensor([1 << 30, 1 << 30])
        }
        #expect(pool.usage.live == 0)
        #expect(try context.full(2, .f32, [2]).floats == [2, 2])
    }

    @Test func scopesReleaseWhatTheyDoNotKeep() throws {
        let pool = MemoryPool()
        let context = Context(pool: pool, recordsGradients: false)
        func make(_ count: Int) throws -> Tensor { context.retain(try context.full(1, .f32, [count])) }
        _ = try make(1024)
        let outside = pool.usage.live
        context.beginScope()
        context.beginScope()
        let kept = try make(2048)
        _ = try make(1 << 16)
        context.endScope(keeping: [kept])
        #expect(pool.usage.live == outside + MemoryPool.sizeClass(2048 * 4))
        _ = try make(4096)
        context.endScope(keeping: [])
        #expect(pool.usage.live == outside + MemoryPool.sizeClass(2048 * 4), "`kept` is still held here")
        withExtendedLifetime(kept) {}
        context.reset()
        #expect(context.failure == nil)
    }

    /// What a backward pass needs outlives the scope; the rest does not.
    @Test func scopesDoNotBreakGradients() throws {
        let pool = MemoryPool()
        let context = Context(pool: pool, recordsGradients: true)
        let leaf = try context.constant([1, 2, 3] as [Float], [3]).asLeaf
        context.beginScope()
        let square = context.retain(
            try context.unary(.square, context.retain(try context.affine(leaf, scale: 2, shift: 0))))
        context.endScope(keeping: [square])
        try context.backward(try context.sum(square, axis: 0, keep: false))
        #expect(leaf.gradient?.value?.floats == [8, 16, 24])
    }

    @Test func aScopeThatIsNotOpenIsAFailure() {
        let context = Context(pool: MemoryPool(), recordsGradients: false)
        context.endScope(keeping: [])
        #expect(context.failure?.message == "scope_end: there is no open scope")
        context.reset()
        #expect(context.failure == nil)
    }

    @Test func borrowedMemoryIsReleasedOnce() {
        var releases = 0
        let memory = UnsafeMutablePointer<Float>.allocate(capacity: 4)
        memory.initialize(repeating: 1, count: 4)
        do {
            let storage = Storage(borrowing: memory, byteCount: 16, release: { releases += 1 })
            let tensors = [
                Tensor(shape: [4], dtype: .f32, storage: storage), Tensor(shape: [2], dtype: .f32, storage: storage),
            ]
            #expect(tensors[1].floats == [1, 1] && releases == 0)
        }
        #expect(releases == 1)
        memory.deallocate()
    }
}
