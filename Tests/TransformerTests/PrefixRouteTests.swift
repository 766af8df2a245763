import Engine
import Files
import Generation
import SeamHost
import Support
import TestSupport
import Testing

/// Rows of one batch behind prefixes of different lengths, and behind none, against each row alone.
@Suite struct PrefixRouteTests {
    static let families = TinyModel.everyFamily + TinyModel.decoders + [TinyModel(.bert)]
    private static let lengths: [(route: String, tokens: Int64)] = [("long", 5), ("short", 2)]
    private let routes: [String?] = ["short", nil, "long", "long", "short", nil]

    /// A session with a prefix on each route, and the adapters by route.
    private func routed(_ model: OpenModel) throws -> (session: Session, adapters: [String: Adapter]) {
        let session = Session(backbone: model.backbone)
        var adapters: [String: Adapter] = [:]
        for (index, (route, tokens)) in Self.lengths.enumerated() {
            let adapter = try Adapter(
                backbone: model.backbone, id: "prefix-tuning",
                options: ["prefix_length": .int(tokens), "reparameterization": "none"])
            randomise(adapter, deviation: 1, seed: UInt64(index + 1))
            try session.attach(adapter, route: route)
            adapters[route] = adapter
        }
        return (session, adapters)
    }

    private func alone(_ model: OpenModel, _ adapter: Adapter?) throws -> Session {
        let session = Session(backbone: model.backbone)
        if let adapter { try session.attach(adapter) }
        return session
    }

    /// Scores of a decoder, hidden states of an encoder alone: [rows, length, width].
    private func values(_ session: Session, _ batch: Batch) throws -> (values: [Float], shape: Shape) {
        let context = session.makeContext(recordsGradients: false)
        let result =
            session.backbone.info.architecture == .encoderOnly
            ? try session.encode(context, batch) : try session.forward(context, batch).logits
        return (try context.contiguous(result).floats, result.shape)
    }

    @Test(arguments: families) func everyRowIsAsItIsAlone(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let (session, adapters) = try routed(model)
        let pairs = makePairs(routes.count)
        let isPair = model.info.architecture == .encoderDecoder
        func batch(_ rows: Range<Int>, routes: [String?] = []) throws -> Batch {
            try Batch(
                sources: Array(pairs.sources[rows]), targets: isPair ? Array(pairs.targets[rows]) : nil, routes: routes,
                info: model.info)
        }
        let (found, shape) = try values(session, try batch(0..<routes.count, routes: routes))
        for (row, route) in routes.enumerated() {
            let single = try alone(model, route.flatMap { adapters[$0] })
            let (expected, own) = try values(single, try batch(row..<row + 1))
            let start = row * shape[1] * shape[2]
            let part = Array(found[start..<start + own[1] * own[2]])
            let largest = expected.map(abs).max() ?? 0
            #expect(distance(part, expected) < 1e-5 * largest, "row \(row), \(route ?? "no prefix")")
            if row == 0 {
                let plain = try values(try alone(model, nil), try batch(0..<1)).values
                #expect(distance(plain, expected) > 1e-3 * largest, "the prefix matters")
            }
        }
    }

    /// With a decoding state: greedy and by beams.
    @Test(arguments: TinyModel.everyFamily + TinyModel.decoders, [1, 3])
    func generationIsAsItIsAlone(_ family: TinyModel, beams: Int) throws {
        let model = try OpenModel(family)
        let (session, adapters) = try routed(model)
        let sources = makePairs(routes.count).sources
        var options = try session.defaultGenerationOptions()
        (options.maxNewTokens, options.beams) = (8, beams)
        let found = try session.generate(
            try Batch(sources: sources, routes: routes, info: model.info), options: options)
        for (row, route) in routes.enumerated() {
            let single = try alone(model, route.flatMap { adapters[$0] })
            let expected = try single.generate(try Batch(sources: [sources[row]], info: model.info), options: options)
            #expect(found[row].map(\.tokens) == expected[0].map(\.tokens), "row \(row)")
            for (one, other) in zip(found[row], expected[0]) { #expect(abs(one.score - other.score) < 1e-4) }
        }
    }

    /// Rows of other routes that join, with prefixes of other lengths, when those that are there have seen tokens.
    @Test(arguments: TinyModel.everyFamily + TinyModel.decoders) func rowsThatJoin(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let (session, adapters) = try routed(model)
        let batch = try ContinuousBatch(session: session, capacity: 16)
        let isContinuation = model.info.architecture == .decoderOnly
        var texts: [(row: ContinuousBatch.Row, route: String?, source: [Int32], target: [Int32])] = []
        func add(_ sources: [[Int32]], _ routes: [String?]) throws {
            for (index, row) in try batch.add(sources, routes: routes).enumerated() {
                texts.append((row, routes[index], sources[index], model.info.decoderStartToken.map { [$0] } ?? []))
            }
        }
        func step(_ token: Int32) throws {
            for index in texts.indices { texts[index].target.append(token + Int32(index)) }
            try batch.step(Dictionary(uniqueKeysWithValues: texts.map { ($0.row, $0.target.last!) }))
        }
        func compare() throws {
            for (row, route, source, target) in texts {
                let single = try alone(model, route.flatMap { adapters[$0] })
                let text = isContinuation ? source + target : source
                let whole = try Batch(
                    count: 1, sourceLength: text.count, inputIDs: text,
                    targetLength: isContinuation ? 0 : target.count, decoderInputIDs: isContinuation ? nil : target,
                    info: model.info)
                let expected = Array(try values(single, whole).values.suffix(model.info.vocabSize))
                let largest = expected.map(abs).max() ?? 0
                #expect(distance(try batch.logits(of: row), expected) < 1e-5 * largest, "\(row), \(route ?? "none")")
            }
        }
        try add([[3, 4, 5], [6, 7]], ["long", nil])
        try step(8)
        try step(5)
        try compare()
        try add([[8, 9, 10, 11], [5]], ["short", "long"])
        try compare()
        try step(4)
        try compare()
        try batch.remove([texts.remove(at: 0).row])
        try step(9)
        try compare()
    }

    /// A prefix takes positions, and no room in the decoding state.
    @Test func theStateHoldsNothingOfThePrefix() throws {
        let model = try OpenModel(TinyModel(.gpt2))
        let (session, _) = try routed(model)
        // 32 positions, 5 of them the longest prefix's: as many tokens as are left fit into the state.
        var options = try session.defaultGenerationOptions()
        (options.maxNewTokens, options.minNewTokens) = (24, 24)
        let batch = try Batch(sources: [[3, 4, 5]], routes: ["long"], info: model.info)
        #expect(try session.generate(batch, options: options)[0][0].tokens.count == 24)
        options.maxNewTokens = 25
        expectError(.invalidArgument, "max_new_tokens must be at most") {
            try session.generate(batch, options: options)
        }
    }
}
