import Engine
import Files
import Generation
import SeamHost
import Support
import TestSupport
import Testing

/// Rows of one batch that take different routes, against each row alone in a session with its route's adapters. Sums are
/// made in another order in a batch: 1e-5 of the largest number.
@Suite struct RouteTests {
    static let families = TinyModel.Family.allCases.map { TinyModel($0) }
    static let decoders = TinyModel.everyFamily + TinyModel.decoders

    /// A session with routes, and the adapters of each.
    private struct Routed {
        let model: OpenModel
        var session: Session { model.session }
        var info: BackboneInfo { model.info }
        private(set) var chains: [String: [Adapter]] = [:]

        init(_ family: TinyModel, prefixes: Bool = true) throws {
            model = try OpenModel(family)
            let targets = Set(model.info.points.filter(\.isProjection).map(\.name)).sorted()
            try add("everywhere", [("lora", ["r": 3, "targets": .array(targets.map { .string($0) })])])
            try add("above", [("lora", ["r": 2, "layers": [1]])])
            if model.info.architecture != .decoderOnly { try add("calibrated", [("repcali", ["norm": "none"])]) }
            guard prefixes else { return }
            try add("short", [("prefix-tuning", ["prefix_length": 2])])
            try add("long", [("prefix-tuning", ["prefix_length": 5]), ("lora", ["r": 2])])
        }

        private mutating func add(_ route: String, _ parts: [(String, JSON)]) throws {
            for (id, options) in parts {
                let adapter = try Adapter(
                    backbone: model.backbone, id: id, options: options,
                    prefixLength: session.prefixLength(of: route))
                randomise(adapter, deviation: 0.2, seed: UInt64(chains.count + 3))
                try session.attach(adapter, route: route)
                chains[route, default: []].append(adapter)
            }
        }

        /// A route for each row: every one twice or more, apart from each other, and the default one between them.
        func routes(_ count: Int) -> [String?] {
            let names: [String?] = session.routes + [nil]
            return (0..<count).map { names[($0 * (names.count - 1) + $0 / names.count) % names.count] }
        }

        func alone(_ route: String?) throws -> Session {
            let session = Session(backbone: model.backbone)
            try session.attach(all: chains[route ?? ""] ?? [])
            return session
        }
    }

    private func largest(_ values: [Float]) -> Float { values.map(abs).max() ?? 0 }

    private func batch(_ info: BackboneInfo, _ rows: [Int], routes: [String?] = []) throws -> Batch {
        let pairs = makePairs((rows.max() ?? 0) + 1)
        let (sources, targets) = (rows.map { pairs.sources[$0] }, rows.map { pairs.targets[$0] })
        guard info.architecture != .encoderOnly else { return try Batch(sources: sources, routes: routes, info: info) }
        return try Batch(sources: sources, targets: targets, routes: routes, info: info)
    }

    /// The numbers of one row up to its last token.
    private func values(_ x: Tensor, row: Int, _ length: Int? = nil, in context: Context) throws -> [Float] {
        let own = try context.slice(x, axis: 0, start: row, length: 1)
        guard let length else { return try context.contiguous(own).floats }
        return try context.contiguous(try context.slice(own, axis: 1, start: 0, length: length)).floats
    }

    // MARK: Passes

    @Test(arguments: families) func everyRowIsWhatItIsAlone(_ family: TinyModel) throws {
        let routed = try Routed(family)
        let (session, info) = (routed.session, routed.info)
        let routes = routed.routes(14)
        let all = try batch(info, Array(routes.indices), routes: routes)
        let context = session.makeContext(recordsGradients: false)
        let mixed = try session.forward(context, all)
        let scores = info.architecture == .encoderOnly ? [] : try session.score(all)
        let encoded = info.architecture == .decoderOnly ? nil : try session.encodeAdapted(context, all)
        let pooled = info.architecture == .encoderOnly ? try session.pool(context, all) : nil
        var differences = 0
        for (row, route) in routes.enumerated() {
            let alone = try routed.alone(route)
            let one = try batch(info, [row])
            let expected = try alone.forward(context, one)
            let length = expected.logits.shape[1]
            for (name, found, wanted) in [
                ("logits", mixed.logits, expected.logits), ("hidden", mixed.hidden, expected.hidden),
            ] {
                let wanted = try values(wanted, row: 0, in: context)
                let found = try values(found, row: row, length, in: context)
                #expect(distance(found, wanted) < 1e-5 * largest(wanted), "\(name) of row \(row), \(route ?? "-")")
            }
            let plain = try Session(backbone: routed.model.backbone).forward(context, one).logits
            let difference = distance(
                try values(plain, row: 0, in: context), try values(expected.logits, row: 0, in: context))
            if difference > 1e-3 { differences += 1 }
            if let encoded {
                let wanted = try alone.encodeAdapted(context, one)
                let found = try values(encoded, row: row, wanted.shape[1], in: context)
                let expected = try values(wanted, row: 0, in: context)
                #expect(distance(found, expected) < 1e-5 * largest(expected), "encoded row \(row)")
            }
            if let pooled {
                let wanted = try values(try alone.pool(context, one), row: 0, in: context)
                #expect(distance(try values(pooled, row: row, in: context), wanted) < 1e-5 * largest(wanted))
            }
            if !scores.isEmpty {
                let wanted = try alone.score(one)[0]
                #expect(scores[row].tokenCount == wanted.tokenCount && scores[row].correctCount == wanted.correctCount)
                #expect(abs(scores[row].logProbability - wanted.logProbability) < 1e-4)
            }
        }
        #expect(differences == routes.count - routes.filter { $0 == nil }.count, "every route does something")
    }

    /// With gradients what the adapters give is put together, and not written in place.
    @Test(arguments: [TinyModel(.t5), TinyModel(.bert), TinyModel(.gpt2)])
    func recordedPassesGiveTheSame(_ family: TinyModel) throws {
        let routed = try Routed(family)
        let routes = routed.routes(9)
        let all = try batch(routed.info, Array(routes.indices), routes: routes)
        let context = routed.session.makeContext(recordsGradients: false)
        let plain = try context.contiguous(try routed.session.forward(context, all).logits).floats
        for adapter in routed.chains.values.joined() { try adapter.unfreeze() }
        let recording = routed.session.makeContext(recordsGradients: true)
        let logits = try routed.session.forward(recording, all).logits
        #expect(distance(try recording.contiguous(logits).floats, plain) < 1e-5 * largest(plain))
        try recording.backward(logits, seed: try recording.full(1, .f32, logits.shape))
        for (route, adapters) in routed.chains {
            for variable in adapters.flatMap(\.parameters.variables) {
                #expect(variable.tensor.gradient?.value != nil, "\(variable.name) of \(route)")
            }
        }
        for adapter in routed.chains.values.joined() { adapter.freeze() }
    }

    @Test func oneRouteForAllRowsIsTheSessionWithItsAdapters() throws {
        let routed = try Routed(TinyModel(.llama))
        for route in routed.session.routes {
            let context = routed.session.makeContext(recordsGradients: false)
            let own = try batch(routed.info, [0, 1, 2], routes: [route, route, route])
            let found = try context.contiguous(try routed.session.forward(context, own).logits).floats
            let expected = try routed.alone(route).forward(context, try batch(routed.info, [0, 1, 2])).logits
            #expect(bitEqual(found, try context.contiguous(expected).floats))
        }
    }

    // MARK: Generation

    private func searches(_ session: Session) throws -> [GenerationOptions] {
        var greedy = try session.defaultGenerationOptions()
        greedy.maxNewTokens = 9
        var beams = greedy
        (beams.beams, beams.numReturnSequences) = (3, 2)
        return [greedy, beams]
    }

    @Test(arguments: decoders) func generationIsThatOfEachRowAlone(_ family: TinyModel) throws {
        let routed = try Routed(family)
        let routes = routed.routes(12)
        let sources = makePairs(routes.count).sources
        for options in try searches(routed.session) {
            let batch = try Batch(sources: sources, routes: routes, info: routed.info)
            let found = try routed.session.generate(batch, options: options)
            for (row, route) in routes.enumerated() {
                let one = try Batch(sources: [sources[row]], info: routed.info)
                let expected = try routed.alone(route).generate(one, options: options)[0]
                #expect(found[row].map(\.tokens) == expected.map(\.tokens), "row \(row), \(route ?? "-")")
                for (found, expected) in zip(found[row], expected) {
                    #expect(abs(found.score - expected.score) < 1e-4)
                }
            }
        }
    }

    /// What is drawn, and the tokens that a progress tells, are those of the caller's rows.
    @Test func drawsAndProgressAreInTheCallersOrder() throws {
        let model = try OpenModel(TinyModel(.llama))
        for route in ["a", "b"] {
            try model.session.attach(try Adapter(backbone: model.backbone, id: "lora"), route: route)
        }
        let sources = makePairs(6).sources
        var options = try model.session.defaultGenerationOptions()
        (options.maxNewTokens, options.sample, options.numReturnSequences, options.seed) = (8, true, 2, 3)
        // Adapters that change nothing, so that nothing but the order can.
        let plain = try Session(backbone: model.backbone).generate(
            try Batch(sources: sources, info: model.info), options: options)
        let routes = ["b", nil, "a", "b", "a", nil]
        var told = [[Int32]](repeating: [], count: 12)
        let found = try model.session.generate(
            try Batch(sources: sources, routes: routes, info: model.info), options: options
        ) { progress in
            for (place, token) in (progress.tokens ?? []).enumerated() { if let token { told[place].append(token) } }
            return true
        }
        #expect(found.map { $0.map(\.tokens) } == plain.map { $0.map(\.tokens) })
        #expect(told == found.flatMap { $0 }.map(\.tokens))
    }

    /// The room behind a prefix is that of the rows that have it.
    @Test func theRoomForNewTokensIsEachRowsOwn() throws {
        let model = try OpenModel(TinyModel(.gpt2))
        let prefix = try Adapter(
            backbone: model.backbone, id: "prefix-tuning", options: ["prefix_length": 20])
        try model.session.attach(prefix, route: "long")
        let positions = model.info.maxTargetPositions
        var options = try model.session.defaultGenerationOptions()
        options.eosTokens = []
        options.maxLength = positions
        let sources: [[Int32]] = [[3, 4, 5], [3, 4, 5]]
        let batch = try Batch(sources: sources, routes: ["long", nil], info: model.info)
        let found = try model.session.generate(batch, options: options)
        #expect(found.map { $0[0].tokens.count } == [positions - 20 - 3, positions - 3])
        // One that has ended may stand beside eight others for some steps, beyond its own positions.
        let nine = try Batch(
            sources: [[Int32]](repeating: [3, 4, 5], count: 9), routes: ["long"] + [String?](repeating: nil, count: 8),
            info: model.info)
        #expect(try model.session.generate(nine, options: options)[8][0].tokens == found[1][0].tokens)
        options.maxNewTokens = positions - 20 - 3 + 1
        expectError(.invalidArgument, "max_new_tokens must be at most \(positions - 23) positions") {
            try model.session.generate(batch, options: options)
        }
        let alone = try Batch(sources: [[3, 4, 5]], info: model.info)
        // Of the default route there is more room.
        #expect(try model.session.generate(alone, options: options)[0][0].tokens.count == positions - 22)
    }

    // MARK: Classes

    @Test func classesAreThoseOfEachRowsHead() throws {
        let model = try OpenModel(TinyModel(.bert))
        var heads: [String?: [Adapter]] = [:]
        func add(_ route: String?, _ id: String, classes: Int = 0) throws {
            let adapter = try Adapter(
                backbone: model.backbone, id: id, seam: classes > 0 ? "decoder.output" : nil, classes: classes)
            randomise(adapter, deviation: 0.5, seed: UInt64(heads.count + 1))
            try model.session.attach(adapter, route: route)
            heads[route, default: []].append(adapter)
        }
        try add(nil, "linear-head", classes: 3)
        try add("a", "lora")
        try add("a", "linear-head", classes: 3)
        try add("two", "linear-head", classes: 2)
        try add("none", "lora")
        let sources = makePairs(5).sources
        let routes = ["a", nil, "a", nil, "a"]
        let context = model.session.makeContext(recordsGradients: false)
        let classes: [Int32] = [0, 1, 2, 0, 1]
        let all = try Batch(sources: sources, classes: classes, routes: routes, info: model.info)
        let found = try model.session.classify(context, all)
        let scores = try model.session.score(all)
        for (row, route) in routes.enumerated() {
            let alone = Session(backbone: model.backbone)
            try alone.attach(all: heads[route]!)
            let one = try Batch(sources: [sources[row]], classes: [classes[row]], info: model.info)
            let wanted = try values(try alone.classify(context, one), row: 0, in: context)
            #expect(distance(try values(found, row: row, in: context), wanted) < 1e-5 * largest(wanted))
            let expected = try alone.score(one)[0].logProbability
            #expect(abs(scores[row].logProbability - expected) < 1e-5)
        }
        for (route, words) in [("two", "one of 2 classes"), ("none", "has no adapter on decoder.output")] {
            let other = try Batch(
                sources: [[3], [4]], classes: [0, 1], routes: [nil, route], info: model.info)
            expectError(
                .invalidArgument, "rows of routes that need different seams", "the default route has one of 3 classes",
                "route \"\(route)\"", words
            ) { try model.session.classify(context, other) }
        }
        #expect(try model.session.classes(of: try Batch(sources: [[3]], routes: ["two"], info: model.info)) == 2)
    }

    // MARK: Misuse

    @Test func routesComeAndGo() throws {
        let model = try OpenModel(TinyModel(.llama))
        let (session, info) = (model.session, model.info)
        let plain = try model.logits(try batch(info, [0, 1]))
        let adapter = try Adapter(backbone: model.backbone, id: "lora")
        randomise(adapter, deviation: 0.2)
        let head = try Adapter(backbone: model.backbone, id: "prefix-tuning", options: ["prefix_length": 2])
        #expect(session.routes.isEmpty)
        expectError(.notFound, "no route \"a\": the session has the default one alone") {
            try model.logits(try batch(info, [0], routes: ["a"]))
        }
        try session.attach(adapter, route: "a")
        // One adapter on several routes, and in any order on each.
        try session.attach(all: [head, adapter], route: "b")
        #expect(session.routes == ["a", "b"] && session.adapters.isEmpty)
        #expect(session.adapters(of: "b").map(\.factory.id) == ["prefix-tuning", "lora"])
        #expect(session.prefixLength(of: "b")[PrefixAttention.decoder.rawValue] == 2)
        #expect(bitEqual(try model.logits(try batch(info, [0, 1])), plain), "the default route has none of it")
        try session.move(adapter, to: 0, route: "b")
        #expect(session.adapters(of: "b").map(\.factory.id) == ["lora", "prefix-tuning"])
        expectError(.alreadyExists, "already attached") { try session.attach(adapter, route: "a") }
        expectError(.notFound, "is not attached to route \"a\"") { try session.detach(head, route: "a") }
        expectError(.notFound, "no route \"c\": the session has \"a\", \"b\" and the default one") {
            try model.logits(try batch(info, [0, 1], routes: [nil, "c"]))
        }
        expectError(.shape, "routes must hold 2 names, one for each row, found 1") {
            try batch(info, [0, 1], routes: ["a"])
        }
        expectError(.invalidArgument, "must have 1 to 100 characters, found 101") {
            try session.attach(adapter, route: String(repeating: "x", count: 101))
        }
        // All or none.
        expectError(.invalidArgument, "attach a prefix first") {
            try session.attach(
                all: [
                    adapter, try Adapter(backbone: model.backbone, id: "gate", prefixLength: [0, 2, 0]),
                ], route: "new")
        }
        #expect(session.routes == ["a", "b"])
        try session.detach(adapter, route: "a")
        #expect(session.routes == ["b"], "a route goes with its last adapter")
        try session.removeRoute("b")
        #expect(session.routes.isEmpty)
        expectError(.notFound, "no route \"b\"") { try session.removeRoute("b") }
        #expect(bitEqual(try model.logits(try batch(info, [0, 1])), plain))
    }

    @Test func mergedWeightsAreOfAllRoutes() throws {
        let model = try OpenModel(TinyModel(.llama))
        let (session, backbone) = (model.session, model.backbone)
        let (own, other) = (
            try Adapter(backbone: backbone, id: "lora"), try Adapter(backbone: backbone, id: "lora")
        )
        try session.attach(own)
        try session.attach(other, route: "a")
        expectError(.invalidArgument, "cannot be merged", "while the session has route \"a\"") {
            try session.merge(own)
        }
        try session.removeRoute("a")
        try session.merge(own)
        expectError(.invalidArgument, "is merged into the weights", "attached to route \"a\"") {
            try session.attach(other, route: "a")
        }
        try session.unmerge(own)
        try session.attach(other, route: "a")
    }

    /// What the encoder gives is kept for rows of routes whose adapters have no part in it.
    @Test func theSeamCacheIsOfRoutes() throws {
        let model = try OpenModel(TinyModel(.marian))
        let inside = try Adapter(backbone: model.backbone, id: "lora", options: ["stack": "encoder"])
        let calibrated = try Adapter(backbone: model.backbone, id: "repcali")
        for (route, adapter) in [("inside", inside), ("calibrated", calibrated)] {
            randomise(adapter, deviation: 0.2)
            try model.session.attach(adapter, route: route)
        }
        #expect(
            try model.session.trainingStart(ofRoutes: [nil]).hasConstantEncoder, "other routes have no part in it")
        #expect(try model.session.trainingStart(ofRoutes: [nil, "calibrated"]).hasConstantEncoder)
        #expect(try model.session.trainingStart(ofRoutes: [nil, "inside"]) == TrainingStart())
        let store = StateStore()
        let cache = SeamCache(session: model.session, store: store)
        func check(_ routes: [String?]) throws {
            let all = try batch(model.info, [0, 1, 2, 3], routes: routes)
            let context = model.session.makeContext(recordsGradients: false)
            let plain = try model.session.forward(context, all).logits
            let kept = try cache.states(of: all, examples: [0, 1, 2, 3])
            let found = try model.session.forward(context, all, kept: kept).logits
            let wanted = try context.contiguous(plain).floats
            #expect(distance(try context.contiguous(found).floats, wanted) < 1e-5 * largest(wanted))
        }
        try check([nil, "calibrated", nil, "calibrated"])
        #expect(store.memoryBytes > 0 && cache.encodedCount == 4)
        try check([nil, "calibrated", nil, "calibrated"])
        #expect(cache.encodedCount == 4)
        try check([nil, "inside", nil, "calibrated"])
        #expect(store.memoryBytes == 0)
    }

    /// Each route has the mean over its own labels and, of the sum of these, the gradient that it has alone: whole, and where
    /// the scores of the vocabulary are made in pieces.
    @Test(arguments: [TinyModel.Family.t5, .bart, .gpt2, .llama].map { TinyModel($0) }, [false, true])
    func theLossIsThatOfEachRoute(_ family: TinyModel, inPieces: Bool) throws {
        let routed = try Routed(family)
        let session = routed.session
        if inPieces { session.scoresAtOnce = 4 * routed.info.vocabSize }
        let routes = routed.routes(12)
        let all = try batch(routed.info, Array(routes.indices), routes: routes)
        for adapter in session.allAdapters { try adapter.unfreeze() }
        func gradients(_ adapters: [Adapter]) throws -> [[Float]] {
            let context = session.makeContext(recordsGradients: false)
            return try adapters.flatMap(\.parameters.variables).map { variable in
                try variable.tensor.gradient?.value.map { try context.contiguous($0).floats } ?? []
            }
        }
        let context = session.makeContext(recordsGradients: true)
        let mixed = try session.loss(context, all, labelSmoothing: 0.1, training: true)
        try context.backward(mixed.value)
        var found: [String: [[Float]]] = [:]
        for name in session.routes { found[name] = try gradients(session.adapters(of: name)) }
        clearGradients(session.allAdapters.flatMap(\.parameters.variables))
        var (sum, total) = (0.0, 0.0)
        for route in mixed.routes {
            let rows = routes.indices.filter { routes[$0] ?? "" == route.name }
            let name = route.name.isEmpty ? nil : route.name
            let own = try batch(routed.info, rows, routes: rows.map { _ in name })
            let alone = session.makeContext(recordsGradients: true)
            let expected = try session.loss(alone, own, labelSmoothing: 0.1, training: true)
            #expect(expected.routes.count == 1 && expected.tokenCount == route.tokenCount)
            #expect(abs(expected.mean - route.loss) < 1e-5 * route.loss)
            #expect(abs(Double(expected.value.floats[0]) - expected.mean) < 1e-6 * route.loss)
            (sum, total) = (sum + route.loss, total + route.loss * Double(route.tokenCount))
            guard let name else { continue }
            try alone.backward(expected.value)
            let wanted = try gradients(session.adapters(of: name))
            let largest = wanted.joined().reduce(0) { max($0, abs($1)) }
            #expect(largest > 0)
            for (one, other) in zip(try #require(found[name]), wanted) {
                #expect(distance(one, other) < 1e-5 * largest, "\(name)")
            }
            clearGradients(session.allAdapters.flatMap(\.parameters.variables))
        }
        #expect(mixed.routes.count == session.routes.count + 1)
        #expect(abs(Double(mixed.value.floats[0]) - sum) < 1e-5 * sum)
        #expect(abs(mixed.mean - total / Double(mixed.tokenCount)) < 1e-9)
    }
}
