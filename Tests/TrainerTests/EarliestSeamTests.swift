import CSeam
import Engine
import Files
import Glibc
import SeamHost
import Support
import TestSupport
import Testing
import Trainer

/// Training from the lowest layer in which something is trained, with what flows into it kept for each example.
@Suite struct EarliestSeamTests {
    /// An adapter and where it sits.
    struct Case: Sendable, CustomTestStringConvertible {
        let family: TinyModel.Family
        let adapters: [(id: String, options: JSON)]
        /// What is kept: the encoder's output, and the first layer of each stack that is not.
        let start: TrainingStart
        let testDescription: String

        init(
            _ family: TinyModel.Family, _ adapters: [(String, JSON)], encoded: Bool = false, encoder: Int = 0,
            decoder: Int = 0
        ) {
            (self.family, self.adapters) = (family, adapters)
            start = TrainingStart(hasConstantEncoder: encoded, layers: [encoder, decoder])
            testDescription = "\(family.rawValue) \(adapters.map { "\($0.0) \($0.1)" })"
        }
    }

    static let cases = [
        Case(.llama, [("low-rank", ["layers": "2", "targets": "q,v"])], decoder: 2),
        // Of two adapters the lower one decides.
        Case(
            .llama,
            [("scale-input", ["layers": "2", "targets": "down"]), ("low-rank", ["layers": "1", "targets": "k"])],
            decoder: 1),
        Case(.gpt2, [("bias", ["layers": "1-2", "targets": "o,up"])], decoder: 1),
        // What leaves a layer is changed before the next one.
        Case(.gpt2, [("steer", ["layers": "1,2"])], decoder: 2),
        Case(.t5, [("low-rank", ["stack": "encoder", "layers": "2"])], encoder: 2),
        Case(
            .t5, [("low-rank", ["stack": "decoder", "layers": "2", "targets": "q,cross_q,cross_v"])], encoded: true,
            decoder: 2),
        Case(.bart, [("ia3", ["stack": "decoder", "layers": "1-2"])], encoded: true, decoder: 1),
        // The last layer's output: no layer runs in a step.
        Case(.bart, [("steer", ["stack": "decoder", "layers": "2"])], encoded: true, decoder: 3),
        Case(.bart, [("steer", ["stack": "encoder", "layers": "0"]), ("repcali", .null)], encoder: 1),
        // What leaves encoder.output flows into every layer of the decoder.
        Case(.t5, [("repcali", .null), ("low-rank", ["stack": "decoder", "layers": "2"])], encoded: true),
        Case(.bert, [("low-rank", ["layers": "2"]), ("linear-head", .null)], encoder: 2),
        Case(.bert, [("linear-head", .null)], encoded: true),
        Case(.t5, [("prefix-tuning", ["prefix_length": 2, "attention": "decoder"])], encoded: true),
    ]

    private func open(_ each: Case) throws -> OpenModel {
        var tiny = TinyModel(each.family)
        tiny.layers = 3
        let model = try OpenModel(tiny)
        try model.runtime.loadPlugin(
            try compilePlugin("low-rank-plugin/low_rank.c", into: model.scratch.path))
        // Nothing of it is trained, and it changes what flows below and above the others.
        try model.attach("steer-fixed")
        for entry in model.session.adapters[0].parameters.entries { randomise(entry.tensor, deviation: 0.1) }
        for (id, options) in each.adapters {
            let adapter = try Adapter(
                backbone: model.backbone, id: id, options: options, classes: id == "linear-head" ? 2 : 0,
                prefixLength: model.session.prefixLength, seed: 3)
            try model.session.attach(adapter)
        }
        return model
    }

    private func data(_ model: OpenModel) -> TokenPairs {
        let pairs = makePairs(9)
        guard model.info.architecture == .encoderOnly else {
            return TokenPairs(sources: pairs.sources, targets: pairs.targets)
        }
        return TokenPairs(sources: pairs.sources, classes: (0..<9).map { Int32($0 % 2) })
    }

    /// Rows meet neighbours of other lengths in each epoch.
    static let batches = [
        [0, 1, 2, 3], [4, 5, 6, 7, 8], [8, 3, 1, 0], [2, 7, 4, 6, 5], [5, 0, 4], [1, 2, 3], [6, 7, 8], [0, 8, 2, 4, 6],
        [1, 3], [5, 7],
    ]

    private func losses(_ model: OpenModel, _ cache: SeamCache?, byContent: Bool = false) throws -> [Double] {
        var options = TrainingOptions()
        (options.learningRate, options.schedule, options.totalSteps) = (0.01, .constant, 10)
        let data = data(model)
        let optimisation = try Optimisation(session: model.session, options: options)
        defer { optimisation.end() }
        return try Self.batches.map { indices in
            let batch = try data.batch(indices, info: model.info)
            let kept = try cache?.states(of: batch, examples: byContent ? nil : indices)
            return try optimisation.update(batch, kept: kept).loss
        }
    }

    @Test(arguments: cases) func theLossesAreThoseOfTheWholeModel(_ each: Case) throws {
        let expected = try losses(try open(each), nil)
        #expect(Set(expected).count == expected.count)
        for byContent in [false, true] {
            let model = try open(each)
            #expect(try model.session.trainingStart(ofRoutes: [nil]) == each.start)
            let cache = SeamCache(session: model.session)
            let found = try losses(model, cache, byContent: byContent)
            #expect(zip(found, expected).allSatisfy { abs($0 - $1) < 1e-5 }, "\(found) \(expected)")
            #expect(cache.encodedCount == 9 && cache.keptCount == 9)
        }
    }

    /// What memory has no room for goes into a file without a name, from which the same bits come back.
    @Test(arguments: [cases[0], cases[5]]) func whatMemoryDoesNotHoldIsInAFile(_ each: Case) throws {
        let whole = try open(each)
        let inMemory = StateStore()
        let all = SeamCache(session: whole.session, store: inMemory)
        let first = try losses(whole, all)
        #expect(inMemory.fileBytes == 0 && all.keptCount == 9)
        let model = try open(each)
        let folder = model.scratch["states"]
        try FileSystem.createDirectories(folder)
        let limit = inMemory.memoryBytes / 3
        let store = StateStore(memoryLimit: limit, folder: folder)
        let cache = SeamCache(session: model.session, store: store)
        #expect(try losses(model, cache) == first)
        #expect(cache.encodedCount == 9 && store.memoryBytes <= limit)
        #expect(store.memoryBytes + store.fileBytes == inMemory.memoryBytes)
        #expect(try FileSystem.list(folder) == [])
    }

    /// A full disk costs time and one sentence, no loss.
    @Test func whatTheDiskDoesNotHoldIsComputedAgain() throws {
        let each = Self.cases[0]
        let expected = try losses(try open(each), nil)
        for reserve in [0, Int.max / 4] {
            let model = try open(each)
            var sentences: [String] = []
            let full = NamelessFile(descriptor: Glibc.open("/dev/full", O_RDWR), in: "/dev", reserve: reserve)
            let store = StateStore(memoryLimit: 2000, file: full) { sentences.append($0) }
            let cache = SeamCache(session: model.session, store: store)
            let found = try losses(model, cache)
            #expect(zip(found, expected).allSatisfy { abs($0 - $1) < 1e-5 }, "\(found) \(expected)")
            #expect(cache.encodedCount > 9 && (1..<9).contains(cache.keptCount) && store.fileBytes == 0)
            #expect(sentences.count == 1 && sentences[0].hasSuffix("the disk is full"), "\(sentences)")
        }
    }

    /// A backbone in C, and the same one where it does not say that it can run a part of its layers: it is run as a whole.
    @Test func backbonesWithLayerRangesAndWithout() throws {
        let scratch = try ScratchFolder()
        let runtime = try makeRuntime()
        for source in ["points-backbone/points.c", "points-backbone/wrong_visits.c", "low-rank-plugin/low_rank.c"] {
            try runtime.loadPlugin(try compilePlugin(source, into: scratch.path))
        }
        func losses(_ id: String, isKept: Bool) throws -> [Double] {
            let backbone = try Backbone(runtime: runtime, id: id, path: nil)
            let session = Session(backbone: backbone)
            for (id, layers) in [("steer", "0"), ("low-rank", "1")] {
                try session.attach(
                    try Adapter(backbone: backbone, id: id, options: ["layers": .string(layers)], seed: 3))
            }
            #expect(try session.trainingStart(ofRoutes: [nil]).layer(.decoder) == (isKept ? 1 : 0))
            #expect(try SeamCache.isUseful(for: session, routes: [nil]) == isKept)
            let cache = SeamCache(session: session)
            let optimisation = try Optimisation(session: session, options: TrainingOptions())
            return try [[[3, 4, 1], [6, 1]], [[6, 1], [5, 3, 2, 1]], [[3, 4, 1], [5, 3, 2, 1]]].map {
                (sources: [[Int32]]) in
                let batch = try Batch(sources: sources, targets: sources, info: backbone.info)
                let kept = try cache.states(of: batch)
                #expect((kept != nil) == isKept)
                return try optimisation.update(batch, kept: kept).loss
            }
        }
        let (with, without) = (try losses("tiny-points", isKept: true), try losses("wrong-visits", isKept: false))
        #expect(zip(with, without).allSatisfy { abs($0 - $1) < 1e-5 } && Set(with).count == 3, "\(with) \(without)")
    }

    /// The lowest place of all routes that are trained; other routes are no part of it.
    @Test func theLowestOfAllRoutes() throws {
        var tiny = TinyModel(.llama)
        tiny.layers = 3
        let model = try OpenModel(tiny)
        func attach(_ route: String, _ id: String, _ options: JSON) throws {
            try model.session.attach(try Adapter(backbone: model.backbone, id: id, options: options), route: route)
        }
        try attach("high", "lora", ["layers": "2"])
        try attach("low", "lora", ["layers": "1"])
        func layer(_ routes: [String?]) throws -> Int {
            try model.session.trainingStart(ofRoutes: routes).layer(.decoder)
        }
        #expect(try layer(["high"]) == 2 && layer(["low"]) == 1 && layer(["high", "low"]) == 1)
        // Vectors that any route puts before the text stand in all rows of a batch.
        try attach("prompt", "prompt-tuning", ["prompt_length": 2])
        #expect(try layer(["high"]) == 0)
    }

    /// What a resumed run trains on is what the first one computed, in memory or in the file.
    @Test func aResumedRunEqualsAnUninterruptedOne() throws {
        func fixture(_ bytes: Int = StateStore.usualMemoryLimit) throws -> RunFixture {
            var tiny = TinyModel(.t5)
            tiny.layers = 3
            var fixture = try RunFixture(tiny, adapters: [])
            try fixture.model.attach("lora", ["stack": "decoder", "layers": "2"], seed: 3)
            fixture.options.seamCacheBytes = bytes
            fixture.options.evaluationInterval = 4
            return fixture
        }
        let whole = try fixture()
        #expect(try whole.run().encodedExamples == 11)
        for (stop, bytes) in [(2, 0), (5, 3000)] {
            let first = try fixture(bytes)
            try first.run(stopAt: stop)
            var second = try fixture(bytes)
            second.options.output = first.output
            #expect(try second.run(resumes: true).isComplete)
            let (expected, found) = (
                try ScratchFolder.contents(of: whole.output), try ScratchFolder.contents(of: second.output)
            )
            #expect(Set(found.keys) == Set(expected.keys))
            for (name, bytes) in expected { #expect(found[name] == bytes, "\(name)") }
        }
    }

    /// Examples that come up once are not kept.
    @Test func oneEpochKeepsNothing() throws {
        var fixture = try RunFixture()
        fixture.options.training.totalSteps = 3
        #expect(try fixture.run().encodedExamples == nil)
    }
}
