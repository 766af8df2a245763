import Engine
import Files
import Glibc
import SeamHost
import Support
import TestSupport
import Testing

/// Many sessions read one frozen backbone at once, each on a thread of its own.
@Suite struct ThreadTests {
    /// `@unchecked Sendable` is sound: each thread uses the session of its own place only, and what these share is what
    /// the tests are about.
    private final class Shared: @unchecked Sendable {
        let model: OpenModel
        let sessions: [Session]
        let batches: [Batch]
        var found: [[Float]]
        var failures: [String]

        init(_ model: OpenModel, _ sessions: [Session], _ batches: [Batch]) {
            (self.model, self.sessions, self.batches) = (model, sessions, batches)
            found = [[Float]](repeating: [], count: sessions.count)
            failures = [String](repeating: "", count: sessions.count)
        }
    }

    /// Runs `body` with 0 ..< count, each on a thread of its own, and waits for all.
    private func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
        final class Work: Sendable {
            let index: Int
            let body: @Sendable (Int) -> Void
            init(_ index: Int, _ body: @escaping @Sendable (Int) -> Void) { (self.index, self.body) = (index, body) }
        }
        var threads = [pthread_t](repeating: 0, count: count)
        for index in threads.indices {
            let work = Unmanaged.passRetained(Work(index, body)).toOpaque()
            let status = pthread_create(
                &threads[index], nil,
                {
                    let work = Unmanaged<Work>.fromOpaque($0!).takeRetainedValue()
                    work.body(work.index)
                    return nil
                }, work)
            #expect(status == 0)
        }
        for thread in threads { pthread_join(thread, nil) }
    }

    private func logits(_ session: Session, _ batch: Batch) throws -> [Float] {
        let context = session.makeContext(recordsGradients: false)
        return try context.contiguous(try session.forward(context, batch).logits).floats
    }

    @Test(arguments: [TinyModel(.t5), TinyModel(.llama)]) func sessionsOnOneBackbone(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        try model.runtime.loadPlugin(try compilePlugin("low-rank-plugin/low_rank.c", into: model.scratch.path))
        // One adapter in all of them, and one of each session's own.
        let shared = try Adapter(backbone: model.backbone, id: "low-rank", seed: 9)
        for entry in shared.parameters.entries { randomise(entry.tensor, deviation: 0.3) }
        let sessions = try (0..<4).map { index in
            let session = Session(backbone: model.backbone)
            try session.attach(shared)
            let own = try Adapter(backbone: model.backbone, id: "steer")
            for entry in own.parameters.entries { randomise(entry.tensor, deviation: 0.5, seed: UInt64(index)) }
            try session.attach(own)
            return session
        }
        let batches = try (0..<4).map { index in
            let pairs = makePairs(3 + index, seed: UInt64(index))
            return model.info.architecture == .encoderDecoder
                ? try Batch(sources: pairs.sources, targets: pairs.targets, info: model.info)
                : try Batch(sources: pairs.sources, info: model.info)
        }
        let expected = try zip(sessions, batches).map { try logits($0, $1) }
        var options = try sessions[0].defaultGenerationOptions()
        options.maxNewTokens = 5
        let generated = try zip(sessions, batches).map { try $0.generate($1, options: options) }

        let work = Shared(model, sessions, batches)
        let (settings, sequences) = (options, generated)
        onThreads(4) { index in
            do {
                for _ in 0..<20 {
                    let found = try logits(work.sessions[index], work.batches[index])
                    work.found.withUnsafeMutableBufferPointer { $0[index] = found }
                    guard bitEqual(found, expected[index]) else { throw SeamError(.internal, "other logits") }
                    guard try work.sessions[index].generate(work.batches[index], options: settings) == sequences[index]
                    else { throw SeamError(.internal, "other tokens") }
                }
            } catch {
                work.failures.withUnsafeMutableBufferPointer { $0[index] = "\(error)" }
            }
        }
        #expect(work.failures == ["", "", "", ""])
    }

    /// Adapters, sessions and errors are made and released on any thread while others compute.
    @Test func instancesAreCountedOnAnyThread() throws {
        let model = try OpenModel(TinyModel(.t5))
        let plugin = try model.runtime.loadPlugin(
            try compilePlugin("low-rank-plugin/low_rank.c", into: model.scratch.path))
        let work = Shared(model, (0..<4).map { _ in Session(backbone: model.backbone) }, [])
        onThreads(4) { index in
            do {
                for round in 0..<50 {
                    let adapter = try Adapter(
                        backbone: work.model.backbone, id: round % 2 == 0 ? "low-rank" : "steer", seed: UInt64(round))
                    try work.sessions[index].attach(adapter)
                    let wrong = Result {
                        try Adapter(backbone: work.model.backbone, id: "low-rank", options: ["rank": 0])
                    }
                    guard case .failure = wrong else { throw SeamError(.internal, "rank 0 was taken") }
                    try work.sessions[index].detach(adapter)
                }
            } catch {
                work.failures.withUnsafeMutableBufferPointer { $0[index] = "\(error)" }
            }
        }
        #expect(work.failures == ["", "", "", ""])
        #expect(plugin.liveInstances.load(ordering: .acquiring) == 0)
        try model.runtime.unloadPlugin(plugin.id)
    }
}
