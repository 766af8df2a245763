import Engine
import Files
import Generation
import Glibc
import SeamHost
import Support
import TestSupport
import Testing

/// Rows that join a decoding state and leave it while others go on have the logits that each has alone.
@Suite struct ContinuousBatchTests {
    static let families = TinyModel.everyFamily + TinyModel.decoders

    /// A continuous batch and, for each of its rows, what it was given, from which whole passes without a state compute
    /// what it must have.
    private final class Script {
        let batch: ContinuousBatch
        private var session: Session { batch.session }
        private var info: BackboneInfo { session.backbone.info }
        private(set) var rows: [ContinuousBatch.Row] = []
        private var sources: [ContinuousBatch.Row: [Int32]] = [:]
        private var targets: [ContinuousBatch.Row: [Int32]] = [:]
        private var routes: [ContinuousBatch.Row: String] = [:]
        /// Which the rows take in turn; nil: the default one.
        private let known: [String?]
        private var random = SeededGenerator(seed: 3, stream: "script")
        /// The largest difference to a row alone, as a part of its largest logit.
        private(set) var worst: Float = 0

        init(_ session: Session, capacity: Int = 20, routes: [String?] = [nil]) throws {
            known = routes
            batch = try ContinuousBatch(session: session, capacity: capacity)
        }

        private func text(_ length: Int) -> [Int32] {
            (0..<length).map { _ in Int32.random(in: 3..<Int32(min(info.vocabSize, 24)), using: &random) }
        }

        func add(_ lengths: Int...) throws {
            let texts = lengths.map { text($0) }
            let taken = lengths.indices.map { known[(rows.count + $0) % known.count] }
            let added = try batch.add(texts, routes: taken)
            for (index, row) in added.enumerated() {
                (sources[row], targets[row]) = (texts[index], info.decoderStartToken.map { [$0] } ?? [])
                routes[row] = taken[index]
            }
            rows += added
            try compare()
        }

        func step(_ count: Int = 1) throws {
            for _ in 0..<count {
                let tokens = Dictionary(uniqueKeysWithValues: rows.map { ($0, text(1)[0]) })
                try batch.step(tokens)
                for (row, token) in tokens { targets[row]!.append(token) }
                try compare()
            }
        }

        /// The rows at these places leave.
        func remove(_ places: Int...) throws {
            try batch.remove(places.map { rows[$0] })
            for place in places.sorted(by: >) { rows.remove(at: place) }
            #expect(batch.rows == rows)
            if !rows.isEmpty { try compare() }
        }

        /// The rows that take a route leave.
        func remove(taking route: String) throws {
            try batch.remove(rows.filter { routes[$0] == route })
            rows.removeAll { routes[$0] == route }
            if !rows.isEmpty { try compare() }
        }

        private func compare() throws {
            #expect(batch.rows == rows)
            for row in rows {
                let expected = try alone(sources[row]!, targets[row]!, routes[row])
                let largest = expected.map(abs).max() ?? 0
                worst = max(worst, distance(try batch.logits(of: row), expected) / largest)
                let isContinuation = info.architecture == .decoderOnly
                #expect(
                    try batch.length(of: row) == targets[row]!.count + (isContinuation ? sources[row]!.count : 0))
            }
        }

        private func alone(_ source: [Int32], _ target: [Int32], _ route: String?) throws -> [Float] {
            let isContinuation = info.architecture == .decoderOnly
            let text = isContinuation ? source + target : source
            let batch = try Batch(
                count: 1, sourceLength: text.count, inputIDs: text, targetLength: isContinuation ? 0 : target.count,
                decoderInputIDs: isContinuation ? nil : target, routes: [route], info: info)
            let context = session.makeContext(recordsGradients: false)
            let logits = try context.contiguous(try session.forward(context, batch).logits).floats
            return Array(logits.suffix(info.vocabSize))
        }

        /// Rows join alone and together, in the middle of others and before them, with shorter and longer texts than
        /// those that are there; the longest leaves, all leave, and a batch of equal rows begins anew.
        func run() throws {
            try add(4, 2)
            try step(2)
            try add(3)
            try step()
            try add(9, 1, 5)
            try step(2)
            try remove(3)
            try step()
            try remove(0, 4)
            try add(2)
            try step(2)
            try remove(1, 0, 2)
            try step()
            try add(6)
            try add(6)
            try step()
            try remove(0, 1, 2)
            #expect(batch.rows.isEmpty)
            try add(3, 3)
            try step(2)
        }
    }

    @Test(arguments: families) func rowsHaveTheirOwnLogits(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        #expect(model.backbone.canJoinRows)
        let script = try Script(model.session)
        try script.run()
        #expect(script.worst < 1e-5)
    }

    /// Adapters on projections, and one that changes tokens only, inside and around the layers.
    @Test(arguments: [TinyModel.Family.t5, .bart, .gpt2, .llama].map { TinyModel($0) })
    func adaptersSeeEachRow(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        try model.runtime.loadPlugin(try compilePlugin("low-rank-plugin/low_rank.c", into: model.scratch.path))
        for id in ["lora", "steer"] {
            let adapter = try model.attach(id)
            for entry in adapter.parameters.entries { randomise(entry.tensor, deviation: 0.3) }
        }
        if !family.family.isDecoderOnly {
            let adapter = try model.attach("repcali")
            for entry in adapter.parameters.entries { randomise(entry.tensor, mean: 1, deviation: 0.3) }
        }
        let script = try Script(model.session)
        try script.run()
        #expect(script.worst < 1e-5)
    }

    @Test(arguments: [TinyModel.Family.t5, .bart, .gpt2, .llama].map { TinyModel($0) })
    func prefixesStandBeforeEachRow(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let adapter = try model.attach("prefix-tuning", ["prefix_length": 3])
        for entry in adapter.parameters.entries { randomise(entry.tensor, deviation: 0.5) }
        let script = try Script(model.session)
        try script.run()
        #expect(script.worst < 1e-5)
    }

    /// Rows of three routes, that join in any order: LoRA and a long prefix, another LoRA and a short prefix, and nothing.
    @Test(arguments: [TinyModel.Family.t5, .bart, .gpt2, .llama].map { TinyModel($0) })
    func rowsTakeTheirRoutes(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        for (route, tokens) in [("long", 3), ("short", 1)] {
            for (id, options) in [("lora", .null), ("prefix-tuning", ["prefix_length": .int(Int64(tokens))])]
                as [(String, JSON)]
            {
                let adapter = try Adapter(backbone: model.backbone, id: id, options: options)
                for entry in adapter.parameters.entries {
                    randomise(entry.tensor, deviation: 0.4, seed: UInt64(tokens))
                }
                try model.session.attach(adapter, route: route)
            }
        }
        let script = try Script(model.session, routes: ["long", nil, "short"])
        try script.run()
        #expect(script.worst < 1e-5)
        // Routes may come and go while rows are there, but for those that rows take.
        try script.add(3, 4)
        let adapter = try Adapter(backbone: model.backbone, id: "lora")
        for entry in adapter.parameters.entries { randomise(entry.tensor, deviation: 0.4) }
        try model.session.attach(adapter, route: "new")
        try script.add(2)
        try script.step()
        #expect(script.worst < 1e-5)
        try script.remove(taking: "long")
        try model.session.removeRoute("long")
        try script.step(2)
        #expect(script.worst < 1e-5)
        try model.session.removeRoute("short")
        expectError(.invalidArgument, "route \"short\" has left the session while rows that take it were decoded") {
            try script.step()
        }
        #expect(script.batch.rows.isEmpty)
    }

    /// Rows with one vector before them, four and none, that join in any order.
    @Test(arguments: [TinyModel.Family.t5, .bart, .gpt2, .llama].map { TinyModel($0) })
    func vectorsStandBeforeEachRow(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        for (route, length) in [("one", 1), ("four", 4)] {
            let options: JSON = ["prompt_length": .int(Int64(length)), "stack": "both"]
            let adapter = try Adapter(backbone: model.backbone, id: "prompt-tuning", options: options)
            for entry in adapter.parameters.entries { randomise(entry.tensor, deviation: 0.5, seed: UInt64(length)) }
            try model.session.attach(adapter, route: route)
        }
        let script = try Script(model.session, routes: ["one", nil, "four"])
        try script.run()
        #expect(script.worst < 1e-5)
    }

    @Test func aBackboneInCDoesTheSame() throws {
        let scratch = try ScratchFolder()
        let runtime = Runtime()
        try runtime.loadPlugin(try compilePlugin("state-backbone/tiny_state.c", into: scratch.path))
        let open = try Backbone(runtime: runtime, id: "tiny-state", path: nil)
        let script = try Script(Session(backbone: open))
        try script.run()
        #expect(script.worst < 1e-5)
        let closed = try Backbone(runtime: runtime, id: "tiny-closed-state", path: nil)
        #expect(closed.hasState && !closed.canJoinRows)
        expectError(.unsupported, "\"tiny-closed-state\" lets no row join others that are being decoded") {
            try ContinuousBatch(session: Session(backbone: closed), capacity: 8)
        }
    }

    /// Which tokens the model generated itself is known by row: those of a row that joins are none of them.
    @Test func generatedTokensAreMarkedByRow() throws {
        let model = try OpenModel(TinyModel(.llama))
        try model.runtime.loadPlugin(try compilePlugin("marking-plugin/marking.c", into: model.scratch.path))
        let batch = try ContinuousBatch(session: model.session, capacity: 8)
        let row = try batch.add([[3, 4]])[0]
        let none = try model.attach("marking", ["at": 0, "stack": "decoder"])
        expectError(.unsupported, "of 3 tokens 0 are generated, attention_mask known, position_ids known") {
            try batch.add([[5, 6, 7]])
        }
        #expect(batch.rows == [row], "what fails before it joins takes nothing with it")
        try model.session.detach(none)
        try batch.step([row: 5])
        let marking = try Adapter(backbone: model.backbone, id: "marking", options: ["at": 1, "stack": "decoder"])
        try model.session.attach(marking, route: "marked")
        let other = try batch.add([[5, 6, 7, 8]], routes: ["marked"])[0]
        expectError(.unsupported, "of 1 tokens 1 are generated") { try batch.step([row: 5, other: 6]) }
        #expect(batch.rows.isEmpty, "a step that failed leaves no state to go on with")
    }

    /// The keys and values of rows are those of the adapters that they were computed with.
    @Test func adaptersOfRowsDoNotChange() throws {
        let model = try OpenModel(TinyModel(.llama))
        let session = model.session
        func prefix(_ length: Int64, route: String) throws -> Adapter {
            let adapter = try Adapter(
                backbone: model.backbone, id: "prefix-tuning", options: ["prefix_length": .int(length)])
            randomise(adapter, deviation: 0.5, seed: UInt64(length))
            try session.attach(adapter, route: route)
            return adapter
        }
        let first = try prefix(3, route: "a")
        let script = try Script(session, routes: ["a", nil])
        try script.add(4, 2)
        try script.step()
        // That of a route which no row takes any more may become another.
        try script.remove(0)
        try session.detach(first, route: "a")
        let second = try prefix(5, route: "a")
        try script.add(3, 3)
        try script.step(2)
        #expect(script.worst < 1e-5)
        _ = try prefix(2, route: "b")
        try script.step()
        // Those of rows that are there may not.
        try session.attach(try Adapter(backbone: model.backbone, id: "lora"), route: "a")
        let words = "the adapters of route \"a\" have changed while rows that take it were decoded"
        expectError(.invalidArgument, words) { try script.step() }
        #expect(script.batch.rows.isEmpty)
        let next = try Script(session, routes: ["a", nil])
        try next.add(4, 2)
        try session.detach(second, route: "a")
        expectError(.invalidArgument, words) { try next.add(3) }
        #expect(next.batch.rows.isEmpty)
        let row = try next.batch.add([[3, 4]])[0]
        let merged = try model.attach("lora")
        expectError(.invalidArgument, "the adapters of the default route have changed") {
            try next.batch.step([row: 5])
        }
        for route in session.routes { try session.removeRoute(route) }
        let other = try next.batch.add([[3, 4]])[0]
        try session.merge(merged)
        expectError(.invalidArgument, "the adapters of the default route have changed") {
            try next.batch.step([other: 5])
        }
    }

    /// Sources that are no token ids, and rows of a batch with padding.
    @Test func rowsOfABatchJoin() throws {
        let model = try OpenModel(TinyModel(.gpt2))
        let batch = try ContinuousBatch(session: model.session, capacity: 12)
        let padded = try Batch(
            count: 2, sourceLength: 4, inputIDs: [0, 3, 4, 5, 6, 7, 0, 0], attentionMask: [0, 1, 1, 1, 1, 1, 0, 0],
            info: model.info)
        let rows = try batch.add(padded)
        let plain = try batch.add([[3, 4, 5], [6, 7]])
        #expect(rows.map(\.number) == [0, 1] && ContinuousBatch.Row(number: 2) == plain[0])
        for (one, other) in zip(rows, plain) {
            #expect(try batch.length(of: one) == batch.length(of: other))
            #expect(distance(try batch.logits(of: one), try batch.logits(of: other)) < 1e-5)
        }
    }

    @Test func whatDoesNotFitIsRefused() throws {
        let model = try OpenModel(TinyModel(.gpt2))
        for capacity in [0, -1, 33] {
            expectError(
                .invalidArgument, "must be 1 ... 32, the backbone's positions, found \(capacity)"
            ) { try ContinuousBatch(session: model.session, capacity: capacity) }
        }
        let batch = try ContinuousBatch(session: model.session, capacity: 4)
        expectError(.invalidArgument, "text 1 has 5 tokens, and a row on its route has room for 4") {
            try batch.add([[3], [3, 4, 5, 6, 7]])
        }
        expectError(.invalidArgument, "the batch is empty") { try batch.add([]) }
        expectError(.invalidArgument, "source 1 has no token") { try batch.add([[3], []]) }
        expectError(.invalidArgument, "token id 24 in row 0 is outside the vocabulary") { try batch.add([[24]]) }
        #expect(batch.rows.isEmpty)
        let rows = try batch.add([[3, 4], [5, 6, 7]])
        let before = try batch.logits(of: rows[0])
        expectError(.invalidArgument, "row 1 was given no token") { try batch.step([rows[0]: 3]) }
        expectError(.invalidArgument, "the token 24 of row 0 is outside the vocabulary of 24") {
            try batch.step([rows[0]: 24, rows[1]: 3])
        }
        #expect(try batch.logits(of: rows[0]) == before)
        try batch.step([rows[0]: 3, rows[1]: 3])
        expectError(.invalidArgument, "row 1 has 4 tokens, as many as it has room for: remove it") {
            try batch.step([rows[0]: 3, rows[1]: 3])
        }
        try batch.remove([rows[1], rows[1]])
        expectError(.invalidArgument, "row 1 is not in the batch, or has left it") { try batch.remove([rows[1]]) }
        expectError(.invalidArgument, "row 1 is not in the batch") { try batch.logits(of: rows[1]) }
        expectError(.invalidArgument, "row 1 is not in the batch") { try batch.step([rows[0]: 3, rows[1]: 3]) }
        try batch.step([rows[0]: 3])
        batch.removeAll()
        expectError(.invalidArgument, "row 0 is not in the batch") { try batch.length(of: rows[0]) }
        try batch.step([:])
        // A prefix takes positions from the rows of its route.
        let adapter = try Adapter(backbone: model.backbone, id: "prefix-tuning", options: ["prefix_length": 30])
        try model.session.attach(adapter, route: "long")
        expectError(.invalidArgument, "text 0 has 3 tokens, and a row on its route has room for 2") {
            try batch.add([[3, 4, 5]], routes: ["long"])
        }
        let short = try batch.add([[3, 4], [3, 4]], routes: ["long", nil])
        expectError(.invalidArgument, "row 2 has 2 tokens, as many as it has room for: remove it") {
            try batch.step([short[0]: 3, short[1]: 3])
        }
        expectError(.notFound, "there is no route \"other\"") { try batch.add([[3]], routes: ["other"]) }
        expectError(.shape, "routes must hold 1 names, one for each row, found 2") {
            try batch.add([[3]], routes: [nil, nil])
        }
        let encoder = try OpenModel(TinyModel(.bert))
        expectError(.unsupported, "no decoder to generate with") {
            try ContinuousBatch(session: encoder.session, capacity: 4)
        }
        let marian = try OpenModel(TinyModel(.marian))
        expectError(.invalidArgument, "the start token -1 is outside the vocabulary of 24") {
            try ContinuousBatch(session: marian.session, capacity: 4).add([[3]], start: -1)
        }
    }

    // MARK: Generation

    /// Every row with options of its own gets what it gets alone, whoever is beside it.
    @Test(arguments: families) func requestsGetWhatTheyGetAlone(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let sources = makePairs(7).sources
        let options = try sources.indices.map { index in
            var options = try model.session.defaultGenerationOptions()
            options.maxNewTokens = 3 + index
            if index % 3 == 1 { (options.sample, options.seed, options.temperature) = (true, UInt64(index), 0.7) }
            if index % 3 == 2 { (options.repetitionPenalty, options.noRepeatNgramSize) = (1.3, 2) }
            return options
        }
        let generation = try ContinuousGeneration(session: model.session, capacity: 24)
        var found: [ContinuousBatch.Row: GeneratedSequence] = [:]
        var newest: [ContinuousBatch.Row: [Int32]] = [:]
        var reasons: [ContinuousBatch.Row: FinishReason] = [:]
        var requests: [ContinuousBatch.Row: Int] = [:]
        func add(_ indices: [Int]) throws {
            for index in indices {
                requests[try generation.add([sources[index]], options: options[index])[0]] = index
            }
        }
        try add([0, 1])
        for step in 0..<20 {
            if step < 5 { try add([step + 2]) }
            for each in try generation.step() {
                newest[each.row, default: []].append(try #require(each.token))
                #expect(each.count == newest[each.row]?.count && (each.finishReason != nil) == (each.sequence != nil))
                reasons[each.row] = each.finishReason
                if let sequence = each.sequence { found[each.row] = sequence }
            }
        }
        #expect(generation.rows.isEmpty && found.count == sources.count)
        for (row, index) in requests {
            let batch = try Batch(sources: [sources[index]], info: model.info)
            let alone = try model.session.generate(batch, options: options[index])[0][0]
            let sequence = try #require(found[row])
            #expect(sequence.tokens == alone.tokens && newest[row] == alone.tokens)
            #expect(abs(sequence.score - alone.score) < 1e-4)
            let endsByToken = alone.tokens.last.map { options[index].eosTokens.contains($0) } ?? false
            #expect(reasons[row] == (endsByToken ? .stop : .length))
        }
    }

    @Test func requestsThatDoNotFitAreRefused() throws {
        let model = try OpenModel(TinyModel(.llama))
        let generation = try ContinuousGeneration(session: model.session, capacity: 8)
        var options = try model.session.defaultGenerationOptions()
        options.maxNewTokens = 6
        options.eosTokens = []
        expectError(.invalidArgument, "a prompt of 4 tokens and 6 new ones do not fit into the 8 tokens") {
            try generation.add([[3, 4, 5, 6]], options: options)
        }
        let row = try generation.add([[3, 4, 5]], options: options)[0]
        var beams = options
        beams.beams = 2
        expectError(.unsupported, "num_beams and num_return_sequences must be 1, found 2 and 1") {
            try generation.add([[3]], options: beams)
        }
        // The last word may not be chosen either, so that nothing is left: the row leaves, the other goes on.
        var nothing = options
        nothing.suppressTokens = (0..<24).map { $0 }
        let lost = try generation.add([[3]], options: nothing)[0]
        let steps = try generation.step()
        #expect(steps.map(\.row) == [row, lost] && steps[0].failure == nil && steps[1].token == nil)
        #expect(steps[1].failure?.code == .numeric)
        #expect(generation.rows == [row])
        #expect(try generation.remove(row)?.tokens.count == 1)
        expectError(.invalidArgument, "row 0 is not in the batch") { try generation.remove(row) }
        #expect(try generation.step().isEmpty)
    }

    /// A published model of 135 million weights, whose file SEAM_SMOLLM names.
    @Test(.enabled(if: getenv("SEAM_SMOLLM") != nil)) func rowsOfAPublishedModelHaveTheirOwnLogits() throws {
        let runtime = try makeRuntime()
        let backbone = try Backbone(runtime: runtime, path: String(cString: getenv("SEAM_SMOLLM")))
        let script = try Script(Session(backbone: backbone), capacity: 64)
        try script.add(7)
        try script.step(2)
        try script.add(30, 12)
        try script.step()
        try script.remove(0)
        try script.step()
        #expect(script.worst < 1e-5, "found \(script.worst)")
    }
}
