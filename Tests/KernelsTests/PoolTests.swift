import Glibc
import Kernels
import Testing

/// What the bodies below count: how often each index was visited, and by how many pieces.
private final class Visits {
    let counts: UnsafeMutablePointer<Int32>
    let size: Int
    var nested = false

    init(_ size: Int) {
        self.size = size
        counts = .allocate(capacity: size)
        counts.initialize(repeating: 0, count: size)
    }

    deinit { counts.deallocate() }

    var context: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }
    var allOnce: Bool { (0..<size).every { counts[$0] == 1 } }
}

private func visit(_ context: UnsafeMutableRawPointer?, _ begin: Int64, _ end: Int64) {
    let visits = Unmanaged<Visits>.fromOpaque(context!).takeUnretainedValue()
    for i in Int(begin)..<Int(end) { visits.counts[i] += 1 }
}

private func visitNested(_ context: UnsafeMutableRawPointer?, _ begin: Int64, _ end: Int64) {
    let inner = Visits(1000)
    sk_parallel_for(1000, 1, { visit($0, $1, $2) }, inner.context)
    #expect(inner.allOnce)
    visit(context, begin, end)
}

/// The thread count is the process's, so these run one after another.
@Suite(.serialized) struct PoolTests {
    @Test(arguments: [1, 2, 3, 7]) func everyIndexOnce(threads: Int32) {
        sk_set_thread_count(threads)
        defer { sk_set_thread_count(0) }
        #expect(sk_thread_count() == threads)
        for count in [0, 1, 2, 3, 8, 1000, 100_003] {
            for grain: Int64 in [0, 1, 7, 1_000_000] {
                let visits = Visits(count)
                sk_parallel_for(Int64(count), grain, { visit($0, $1, $2) }, visits.context)
                #expect(visits.allOnce, "count \(count), grain \(grain)")
            }
        }
    }

    @Test func manyRegionsAndSleep() {
        sk_set_thread_count(4)
        defer { sk_set_thread_count(0) }
        let visits = Visits(64)
        for round in 1...3000 {
            sk_parallel_for(64, 1, { visit($0, $1, $2) }, visits.context)
            // Long enough for the workers to fall asleep.
            if round % 1000 == 0 { usleep(2000) }
        }
        #expect((0..<64).every { visits.counts[$0] == 3000 })
    }

    @Test func nestedCallsRunInTheCaller() {
        sk_set_thread_count(3)
        defer { sk_set_thread_count(0) }
        let visits = Visits(300)
        sk_parallel_for(300, 1, { visitNested($0, $1, $2) }, visits.context)
        #expect(visits.allOnce)
    }

    @Test func concurrentCallers() async {
        sk_set_thread_count(2)
        defer { sk_set_thread_count(0) }
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    (0..<200).every { _ in
                        let visits = Visits(500)
                        sk_parallel_for(500, 1, { visit($0, $1, $2) }, visits.context)
                        return visits.allOnce
                    }
                }
            }
            for await fine in group { #expect(fine) }
        }
    }
}
