import Engine
import Files
import Generation
import SeamHost
import Support
import TestSupport
import Testing

/// Adapters at points inside the layers, of Tests/Fixtures/low-rank-plugin, on the families and on the C backbone of
/// Tests/Fixtures/points-backbone.
@Suite struct InsideLayersTests {
    static let families = [TinyModel.Family.t5, .bart, .bert, .gpt2, .llama].map { TinyModel($0) }

    private func open(_ family: TinyModel = TinyModel(.llama)) throws -> OpenModel {
        let model = try OpenModel(family)
        try model.runtime.loadPlugin(try compilePlugin("low-rank-plugin/low_rank.c", into: model.scratch.path))
        return model
    }

    private func batch(_ info: BackboneInfo) throws -> Batch {
        let pairs = makePairs(4, vocabulary: Int32(min(info.vocabSize, 24)))
        guard info.architecture == .encoderDecoder else { return try Batch(sources: pairs.sources, info: info) }
        return try Batch(sources: pairs.sources, targets: pairs.targets, info: info)
    }

    /// Everything that a family's layers project with.
    private func all(_ info: BackboneInfo) -> JSON {
        .array(Set(info.points.filter(\.isProjection).map(\.name)).sorted().map { .string($0) })
    }

    private func largest(_ values: [Float]) -> Float { values.map(abs).max() ?? 0 }

    // MARK: Running

    @Test(arguments: families) func anIdentityChangesNoBit(_ family: TinyModel) throws {
        let model = try open(family)
        let batch = try batch(model.info)
        let plain = try model.logits(batch)
        let adapters = try ["scale-input", "steer", "low-rank"].map { try model.attach($0, .null) }
        #expect(adapters[1].points.count == model.info.encoderLayers + model.info.decoderLayers)
        #expect(adapters[0].points.count == model.info.points.filter(\.isProjection).count, "no default: everywhere")
        #expect(Set(adapters[2].points.map(\.name)).isSubset(of: ["q", "v", "qkv"]))
        #expect(distance(try model.logits(batch), plain) == 0)
        for adapter in adapters { randomise(adapter.parameters.entries[0].tensor, deviation: 1) }
        randomise(adapters[2].parameters.entries[1].tensor, deviation: 1)
        #expect(distance(try model.logits(batch), plain) > 1e-3)
        for adapter in adapters { try model.session.detach(adapter) }
        #expect(bitEqual(try model.logits(batch), plain))
    }

    /// Merged weights, made by the plugin's fold_weight, give what the adapter gives: f32 rounds a product of a few
    /// dozen terms in each of a few layers, 3e-5 of the largest logit.
    @Test(arguments: families) func mergedWeightsGiveTheSame(_ family: TinyModel) throws {
        let model = try open(family)
        let (session, batch) = (model.session, try batch(model.info))
        let plain = try model.logits(batch)
        let before = model.backbone.parameters.handles
        for id in ["low-rank", "scale-input"] {
            let adapter = try model.attach(id, ["targets": all(model.info)])
            for entry in adapter.parameters.entries {
                randomise(entry.tensor, mean: id == "low-rank" ? 0 : 1, deviation: 0.3)
            }
            let running = try model.logits(batch)
            #expect(distance(running, plain) > 0.01 * largest(plain))
            try session.merge(adapter)
            #expect(session.isMerged(adapter) && session.adapters.contains { $0 === adapter })
            let merged = try model.logits(batch)
            #expect(distance(merged, running) < 3e-5 * largest(running), "\(id)")
            // Of this session alone.
            let other = OpenModel(model, session: Session(backbone: model.backbone))
            #expect(bitEqual(try other.logits(batch), plain))
            try session.unmerge(adapter)
            #expect(bitEqual(try model.logits(batch), running))
            try session.detach(adapter)
            #expect(bitEqual(try model.logits(batch), plain))
        }
        #expect(model.backbone.parameters.handles == before)
    }

    @Test func theBackboneInCDoesTheSame() throws {
        let scratch = try ScratchFolder()
        let runtime = Runtime()
        for source in ["points-backbone/points.c", "low-rank-plugin/low_rank.c"] {
            try runtime.loadPlugin(try compilePlugin(source, into: scratch.path))
        }
        let backbone = try Backbone(runtime: runtime, id: "tiny-points", path: nil)
        let session = Session(backbone: backbone)
        #expect(backbone.info.seams.contains("projection") && backbone.info.seams.contains("layer.output"))
        let batch = try Batch(sources: [[3, 4, 5, 6], [7, 8]], info: backbone.info)
        func logits() throws -> [Float] {
            let context = session.makeContext(recordsGradients: false)
            return try context.contiguous(try session.forward(context, batch).logits).floats
        }
        let plain = try logits()
        let adapter = try Adapter(backbone: backbone, id: "low-rank", options: ["targets": "q,o", "layers": [1]])
        #expect(
            adapter.parameters.entries.map(\.name) == [
                "decoder.1.q.a", "decoder.1.q.b", "decoder.1.o.a", "decoder.1.o.b",
            ])
        for entry in adapter.parameters.entries { randomise(entry.tensor, deviation: 0.3) }
        try session.attach(adapter)
        let running = try logits()
        #expect(distance(running, plain) > 0.01)
        try session.merge(adapter)
        #expect(distance(try logits(), running) < 3e-5 * largest(running))
        try session.unmerge(adapter)
        try session.detach(adapter)
        #expect(bitEqual(try logits(), plain))
    }

    /// A parameter that all points share comes first at each of them.
    @Test func sharedParametersComeFirst() throws {
        let model = try open()
        let batch = try batch(model.info)
        let shared = try model.attach("steer-along", ["layers": "0-1"])
        #expect(shared.parameters.entries.map(\.name) == ["direction", "decoder.0.amount", "decoder.1.amount"])
        shared.parameters["decoder.0.amount"]!.assign([0.5])
        shared.parameters["decoder.1.amount"]!.assign([-2])
        let found = try model.logits(batch)
        try model.session.detach(shared)
        let steer = try model.attach("steer", .null)
        let direction = shared.parameters["direction"]!.floats
        steer.parameters["decoder.0.vector"]!.assign(direction.map { 0.5 * $0 })
        steer.parameters["decoder.1.vector"]!.assign(direction.map { -2 * $0 })
        #expect(distance(try model.logits(batch), found) < 1e-5 * largest(found))
    }

    /// Adapters at one point run in the order attached: (W + D) after scaling is not what scaling after it is.
    @Test func orderAtAPoint() throws {
        let model = try open()
        let batch = try batch(model.info)
        let low = try model.attach("low-rank", ["targets": "up", "rank": 2])
        let low2 = try model.attach("low-rank", ["targets": "up", "rank": 2], seed: 4)
        for (seed, adapter) in [low, low2].enumerated() {
            for entry in adapter.parameters.entries { randomise(entry.tensor, deviation: 0.5, seed: UInt64(seed)) }
        }
        let both = try model.logits(batch)
        // Sums commute.
        try model.session.move(low2, to: 0)
        #expect(distance(try model.logits(batch), both) < 3e-5 * largest(both))
        let steer = try model.attach("steer", ["layers": [0]])
        randomise(steer.parameters.entries[0].tensor, deviation: 1)
        let along = try model.attach("scale-input", ["targets": "up", "layers": [0]])
        randomise(along.parameters.entries[0].tensor, mean: 1, deviation: 0.5)
        let all = try model.logits(batch)
        // A low-rank update reads what the scaling leaves, wherever it stands among the attached.
        try model.session.move(along, to: 0)
        #expect(distance(try model.logits(batch), all) < 3e-5 * largest(all))
    }

    // MARK: Merging

    @Test func whatCannotBeMergedIsRefused() throws {
        let model = try open()
        let session = model.session
        let steer = try model.attach("steer", .null)
        expectError(.unsupported, "adapter \"steer\" is not linear in the weights of projections: it cannot be merged")
        {
            try session.merge(steer)
        }
        let (first, second) = (
            try model.attach("low-rank", ["targets": "q"]), try model.attach("low-rank", ["targets": "q,up"])
        )
        expectError(
            .invalidArgument,
            "adapter \"low-rank\" cannot be merged while \"low-rank\" runs before it at \"decoder.0.q\" unmerged"
        ) { try session.merge(second) }
        expectError(.invalidArgument, "adapter \"low-rank\" is not merged") { try session.unmerge(first) }
        try session.merge(first)
        expectError(.invalidArgument, "adapter \"low-rank\" is merged already") { try session.merge(first) }
        expectError(.invalidArgument, "is merged into the weights: unmerge it before it is detached") {
            try session.detach(first)
        }
        try session.merge(second)
        expectError(.invalidArgument, "cannot be merged while \"low-rank\" runs before it") {
            try session.unmerge(first)
        }
        expectError(.invalidArgument, "merged adapters keep their order") { try session.move(second, to: 0) }
        expectError(.invalidArgument, "is merged into the weights: unmerge it before it is trained") {
            try session.requireUnmerged(toBe: "trained")
        }
        let scale = try Adapter(backbone: model.backbone, id: "scale-input", options: ["targets": "up"])
        expectError(.invalidArgument, "\"scale-input\" runs before it at \"decoder.0.up\"") {
            try session.attach(scale, at: 0)
        }
        #expect(session.adapters.count == 3)
        for adapter in [second, first] { try session.unmerge(adapter) }
        try session.requireUnmerged(toBe: "trained")

        // What reads the input that a merged one would have scaled.
        for adapter in [first, second] { try session.detach(adapter) }
        try session.attach(scale)
        try session.attach(second)
        expectError(.invalidArgument, "\"low-rank\" would read its input unchanged at \"decoder.0.up\"") {
            try session.merge(scale)
        }
        expectError(.notFound, "adapter \"low-rank\" is not attached") { try session.merge(first) }

        try second.unfreeze()
        try session.detach(scale)
        expectError(.invalidArgument, "in training: end that first") { try session.merge(second) }
        second.freeze()
        let broken = second.parameters.entries[0].tensor
        broken.assign([Float](repeating: .infinity, count: broken.elementCount))
        expectError(.numeric, "gives folded_weight of \"decoder.0.q\" NaN or infinity at element 0") {
            try session.merge(second)
        }
        #expect(!session.isMerged(second))
    }

    // MARK: Choosing

    @Test func layersAndTargets() throws {
        let model = try open(TinyModel(.t5, encoderLayers: 3))
        func paths(_ options: JSON) throws -> [String] {
            try Adapter(backbone: model.backbone, id: "low-rank", options: options).points.map(\.path)
        }
        #expect(
            try paths(["layers": [0], "targets": ["cross_k", "q"]]) == [
                "encoder.0.q", "decoder.0.q", "decoder.0.cross_k",
            ])
        #expect(
            try paths(["layers": "1-2,0", "targets": "q", "stack": "encoder"]) == [
                "encoder.0.q", "encoder.1.q", "encoder.2.q",
            ])
        #expect(try paths(["layers": 2, "targets": ["q"]]) == ["encoder.2.q"], "the decoder has no third layer")
        #expect(
            try paths(["stack": "both", "layers": 1]) == ["encoder.1.q", "encoder.1.v", "decoder.1.q", "decoder.1.v"])
        expectError(
            .notFound,
            "adapter \"low-rank\": the backbone has no layer 7, no projection \"gate\"; it has encoder layers 0 ... 2 with q, k, v, o, up, down and decoder layers 0 ... 1 with q, k, v, o, cross_q, cross_k, cross_v, cross_o, up, down"
        ) { try paths(["layers": [0, 7], "targets": "q,gate"]) }
        expectError(.notFound, "none of its targets (cross_q) is in the layers") {
            try paths(["layers": 2, "targets": "cross_q"])
        }
        for wrong: JSON in [
            "", "1-", "a", "-1", "3-1", [], [-1], [1.5], "0,,1", true, 1.5, "99999999999999999999", "0-70000",
        ] {
            expectError(.invalidArgument, "adapter \"low-rank\": option \"layers\" must be a list of layers from 0") {
                try paths(["layers": wrong])
            }
        }
        for wrong: JSON in ["", [], [1], 3, ["q", ""]] {
            expectError(.invalidArgument, "option \"targets\" must be a list of names of projections") {
                try paths(["targets": wrong])
            }
        }
        expectError(.invalidArgument, "option \"stack\" must be \"encoder\", \"decoder\" or \"both\", found \"all\"") {
            try paths(["stack": "all"])
        }
        expectError(.invalidArgument, "unknown option \"layer\"; known are rank, scale") { try paths(["layer": 1]) }
        expectError(.notFound, "has no projection \"q\"; it has encoder layers 0 ... 2 and decoder layers 0 ... 1") {
            try Adapter(backbone: model.backbone, id: "steer", options: ["targets": "q"])
        }
        let info = try Description.of("low-rank", in: model.runtime)
        #expect(info["point_options"]?.arrayValue?.map { $0["name"]?.stringValue } == ["layers", "targets", "stack"])
        #expect(info["point_options"]?.arrayValue?[1]["default"] == "q,v")
    }

    /// One matrix that does the work of several is taken or left as a whole, as PEFT does it.
    @Test func fusedMatrices() throws {
        let model = try open(TinyModel(.gpt2))
        let adapter = try Adapter(backbone: model.backbone, id: "low-rank", options: ["layers": [0]])
        #expect(adapter.points.map(\.path) == ["decoder.0.qkv"], "the default targets q and v are parts of it")
        expectError(
            .notFound, "no projection \"q\"", "\"q\" is part of \"qkv\", which is adapted as a whole: name that"
        ) {
            try Adapter(backbone: model.backbone, id: "low-rank", options: ["targets": "q,o"])
        }
    }

    // MARK: Saving

    @Test func savedAdaptersComeBack() throws {
        let model = try open()
        let batch = try batch(model.info)
        let adapter = try model.attach("low-rank", ["layers": [1], "targets": ["down", "q"], "rank": 2])
        for entry in adapter.parameters.entries { randomise(entry.tensor, deviation: 0.4) }
        let found = try model.logits(batch)
        let path = model.scratch["saved"]
        try AdapterFolder.save(adapter, backbone: model.backbone, isBackboneTrained: false, notes: "", to: path)
        let config = try JSON.read(FileSystem.join(path, "adapter_config.json"))
        #expect(
            config["points"] == ["decoder.1.q", "decoder.1.down"]
                && config["options"] == ["rank": 2, "scale": .double(1)])
        try model.session.detach(adapter)
        let loaded = try AdapterFolder.load(path, backbone: model.backbone)
        #expect(loaded.points == adapter.points)
        try model.session.attach(loaded)
        #expect(bitEqual(try model.logits(batch), found))

        func edited(_ points: JSON) throws {
            let members = config.objectValue!.map { $0.key == "points" ? (key: $0.key, value: points) : $0 }
            try FileSystem.atomicWriteFile(
                FileSystem.join(path, "adapter_config.json"), text: try JSON.object(members).serialized())
            _ = try AdapterFolder.load(path, backbone: model.backbone)
        }
        expectError(
            .incompatible,
            "adapter_config.json: adapter \"low-rank\" was made for the points \"decoder.9.q\", \"decoder.1.x\" of projection, which this backbone does not have; it has decoder layers 0 ... 1 with q"
        ) { try edited(["decoder.1.q", "decoder.9.q", "decoder.1.x"]) }
        expectError(.incompatible, "one twice") { try edited(["decoder.1.q", "decoder.1.q"]) }
        for wrong: JSON in [[], [1], "decoder.1.q"] { expectError(.format, "\"points\"") { try edited(wrong) } }
    }

    @Test func aBackboneWithoutThePointsIsRefused() throws {
        let (small, wide) = (try open(), try open(TinyModel(.llama, dModel: 32)))
        let adapter = try Adapter(backbone: small.backbone, id: "low-rank", options: ["targets": "down"])
        expectError(
            .incompatible, "made for the points \"decoder.0.down\" of 24 to 16", "which this backbone does not have"
        ) {
            try wide.session.attach(adapter)
        }
        let opaque = try open()
        try opaque.runtime.loadPlugin(try compilePlugin("opaque-backbone/tiny_opaque.c", into: opaque.scratch.path))
        let backbone = try Backbone(runtime: opaque.runtime, id: "tiny-opaque", path: nil)
        expectError(
            .unsupported, "backbone \"tiny-opaque\" has no seam \"projection\", which adapter \"low-rank\" needs"
        ) {
            try Adapter(backbone: backbone, id: "low-rank")
        }
    }

    // MARK: Decoding

    /// With a decoding state, in beams, and with prompts of several lengths: the tokens that whole passes give.
    @Test(arguments: [TinyModel(.llama), TinyModel(.gpt2), TinyModel(.t5), TinyModel(.bart)]) func decodingStates(
        _ family: TinyModel
    ) throws {
        let model = try open(family)
        for (id, mean) in [("low-rank", 0.0), ("scale-input", 1), ("steer", 0)] {
            let adapter = try model.attach(id, id == "steer" ? .null : ["targets": all(model.info)])
            for entry in adapter.parameters.entries { randomise(entry.tensor, mean: mean, deviation: 0.3) }
        }
        let sources = makePairs(3).sources
        for beams in [1, 3] {
            var options = try model.session.defaultGenerationOptions()
            (options.beams, options.maxNewTokens, options.eosTokens, options.wantsLogProbabilities) = (
                beams, 6, [], true
            )
            let found = try model.session.generate(try Batch(sources: sources, info: model.info), options: options)
            for (row, sequences) in found.enumerated() {
                let tokens = sequences[0].tokens
                let batch = try Batch(sources: [sources[row]], targets: [tokens], info: model.info)
                let score = try model.session.score(batch)[0]
                let total = sequences[0].tokenLogProbabilities.reduce(0) { $0 + Double($1) }
                #expect(abs(score.logProbability - total) < 1e-4 * Double(tokens.count))
                #expect(beams > 1 || score.correctCount == tokens.count)
            }
        }
    }

    /// The padding behind a text is hidden from no token of a decoder, and adapters are told of it all the same.
    @Test func paddingBehindATextIsNoToken() throws {
        let model = try open()
        let batch = try Batch(sources: [[5, 6, 7, 8], [9, 10]], info: model.info)
        let plain = try model.logits(batch)
        // In the last layer, so that no position sees what it makes of another.
        let steer = try model.attach("steer", ["layers": [1]])
        randomise(steer.parameters.entries[0].tensor, deviation: 1)
        let found = try model.logits(batch)
        let width = model.info.vocabSize
        for row in 0..<2 {
            for position in 0..<4 {
                let place = (row * 4 + position) * width
                let same = plain[place..<place + width] == found[place..<place + width]
                #expect(same == (row == 1 && position >= 2), "row \(row), position \(position)")
            }
        }
    }

    /// With a state a step is all given or all generated; without one the whole row is read anew, padding first.
    @Test func generatedTokensAreMarked() throws {
        let scratch = try ScratchFolder()
        let runtime = try makeRuntime()
        for source in ["points-backbone/points.c", "marking-plugin/marking.c"] {
            try runtime.loadPlugin(try compilePlugin(source, into: scratch.path))
        }
        try TinyModel(.t5).write(to: scratch["t5"])
        try TinyModel(.llama).write(to: scratch["llama"])
        func message(_ backbone: Backbone, _ sources: [[Int32]], at: Int64, stack: String) throws -> String {
            let session = Session(backbone: backbone)
            try session.attach(
                try Adapter(backbone: backbone, id: "marking", options: ["at": .int(at), "stack": .string(stack)]))
            var options = try session.defaultGenerationOptions()
            (options.maxNewTokens, options.eosTokens) = (4, [])
            let batch = try Batch(sources: sources, info: backbone.info)
            let error = try #require(throws: SeamError.self) { _ = try session.generate(batch, options: options) }
            #expect(error.code == .unsupported && error.origin == "org.seamkit.test.marking")
            return error.message
        }
        let points = try Backbone(runtime: runtime, id: "tiny-points", path: nil)
        let llama = try Backbone(runtime: runtime, path: scratch["llama"])
        let t5 = try Backbone(runtime: runtime, path: scratch["t5"])
        let ragged: [[Int32]] = [[3, 4], [5, 6, 7]]
        for (backbone, at, words) in [
            (points, 0, "of 3 tokens 0 are generated, attention_mask known, position_ids known"),
            (points, 2, "of 5 tokens 2 are generated"), (llama, 0, "of 3 tokens 0 are generated"),
            (llama, 1, "of 1 tokens 1 are generated"), (t5, 0, "of 1 tokens 0 are generated"),
            (t5, 1, "of 1 tokens 1 are generated"),
        ] as [(Backbone, Int64, String)] {
            #expect(try message(backbone, ragged, at: at, stack: "decoder").contains(words))
        }
        #expect(try message(t5, ragged, at: -1, stack: "encoder").contains("of 0 tokens -1 are generated"))
    }

    /// In teacher forcing the tokens that are labels stand for generated ones.
    @Test func labelsAreMarkedAsGenerated() throws {
        let scratch = try ScratchFolder()
        let runtime = try makeRuntime()
        try runtime.loadPlugin(try compilePlugin("marking-plugin/marking.c", into: scratch.path))
        try TinyModel(.t5).write(to: scratch["t5"])
        try TinyModel(.llama).write(to: scratch["llama"])
        let llama = try Backbone(runtime: runtime, path: scratch["llama"])
        let t5 = try Backbone(runtime: runtime, path: scratch["t5"])
        func expect(_ backbone: Backbone, _ batch: Batch, at: Int64, _ words: String) throws {
            let session = Session(backbone: backbone)
            try session.attach(
                try Adapter(backbone: backbone, id: "marking", options: ["at": .int(at), "stack": "decoder"]))
            let context = session.makeContext(recordsGradients: true)
            let error = try #require(throws: SeamError.self) {
                _ = try session.forward(context, batch, training: true)
            }
            #expect(error.message.contains(words), "\(error.message)")
        }
        let (sources, targets): ([[Int32]], [[Int32]]) = ([[3, 4], [5, 6, 7]], [[8, 1], [9, 10, 11, 1]])
        // A row of a decoder is the source, then the target; of an encoder-decoder the start token, then the target
        // without its end.
        let rows = try Batch(sources: sources, targets: targets, info: llama.info)
        try expect(
            llama, rows, at: 2, "of 7 tokens 2 are generated, attention_mask known, position_ids known, padding 3")
        let pairs = try Batch(sources: sources, targets: targets, info: t5.info)
        try expect(t5, pairs, at: 1, "of 4 tokens 1 are generated, attention_mask known, position_ids known, padding 2")
        // Without labels padding is known, and what was generated is not.
        let pad = t5.info.padToken!
        let given = try Batch(
            count: 1, sourceLength: 2, inputIDs: [3, 4], targetLength: 4, decoderInputIDs: [pad, 8, pad, pad],
            info: t5.info)
        #expect(given.generatedMask == nil && given.decoderMask == [1, 1, 0, 0])
        try expect(
            t5, given, at: -1, "of 0 tokens -1 are generated, attention_mask known, position_ids known, padding 2")
        // What has a label is no padding.
        let labelled = try Batch(
            count: 1, sourceLength: 2, inputIDs: [3, 4], targetLength: 3, labels: [8, 9, 1],
            decoderInputIDs: [pad, 8, pad], info: t5.info)
        #expect(labelled.decoderMask == nil && labelled.generatedMask == [0, 1, 1])
    }

    /// What flows into the encoder.output seam depends on adapters inside the encoder, so that nothing is kept of it.
    @Test func encodersWithAdaptersInsideAreNotConstant() throws {
        let model = try open(TinyModel(.t5))
        let batch = try batch(model.info)
        let store = StateStore()
        let cache = SeamCache(session: model.session, store: store)
        let inDecoder = try model.attach("low-rank", ["stack": "decoder"])
        #expect(try cache.states(of: batch, examples: [0, 1, 2, 3])?.encoded != nil)
        #expect(store.memoryBytes > 0 && cache.encodedCount == 4)
        let adapter = try model.attach("low-rank", ["stack": "encoder"])
        #expect(try cache.states(of: batch, examples: [0, 1, 2, 3]) == nil)
        #expect(store.memoryBytes == 0 && cache.encodedCount == 4)
        try model.session.detach(adapter)
        #expect(try cache.states(of: batch, examples: [0, 1, 2, 3])?.encoded != nil)
        #expect(inDecoder.points.allSatisfy { $0.stack == .decoder })
    }
}

extension OpenModel {
    /// The same model with another session.
    fileprivate init(_ other: OpenModel, session: Session) {
        self = other
        self.session = session
    }
}
