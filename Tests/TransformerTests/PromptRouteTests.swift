import Engine
import Files
import Generation
import SeamHost
import Support
import TestSupport
import Testing

/// Rows of one batch with vectors of different numbers before a decoder's text and prefixes of different lengths on its
/// attention, against each row alone. Sums are made in another order in a batch: 1e-5 of the largest logit.
@Suite struct PromptRouteTests {
    static let families = TinyModel.everyFamily + TinyModel.decoders
    private let routes: [String?] = ["one", "four", nil, "one", "prompt", "prefix"]
    /// By route, vectors and tokens of a prefix.
    private static let lengths: [(route: String, vectors: Int64, prefix: Int64)] = [
        ("one", 1, 3), ("four", 4, 2), ("prompt", 3, 0), ("prefix", 0, 3),
    ]

    private func routed(_ model: OpenModel) throws -> (session: Session, adapters: [String: [Adapter]]) {
        let session = Session(backbone: model.backbone)
        var adapters: [String: [Adapter]] = [:]
        for (route, vectors, prefix) in Self.lengths {
            let wanted: [(String, Int64, JSON)] = [
                ("prompt-tuning", vectors, ["prompt_length": .int(vectors), "stack": "decoder"]),
                (
                    "prefix-tuning", prefix,
                    ["prefix_length": .int(prefix), "attention": "decoder", "reparameterization": "none"]
                ),
            ]
            for (id, count, options) in wanted where count > 0 {
                let adapter = try Adapter(backbone: model.backbone, id: id, options: options)
                randomise(adapter, deviation: 0.7, seed: UInt64(vectors + 10 * prefix))
                try session.attach(adapter, route: route)
                adapters[route, default: []].append(adapter)
            }
        }
        return (session, adapters)
    }

    private func alone(_ model: OpenModel, _ adapters: [Adapter]) throws -> Session {
        let session = Session(backbone: model.backbone)
        try session.attach(all: adapters)
        return session
    }

    @Test(arguments: families) func everyRowIsAsItIsAlone(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let (session, adapters) = try routed(model)
        let pairs = makePairs(routes.count)
        let isPair = model.info.architecture == .encoderDecoder
        let context = session.makeContext(recordsGradients: false)
        func logits(_ session: Session, _ rows: Range<Int>, routes: [String?] = []) throws -> Tensor {
            let batch = try Batch(
                sources: Array(pairs.sources[rows]), targets: isPair ? Array(pairs.targets[rows]) : nil, routes: routes,
                info: model.info)
            return try context.contiguous(try session.forward(context, batch).logits)
        }
        let all = try logits(session, 0..<routes.count, routes: routes)
        for (row, route) in routes.enumerated() {
            let expected = try logits(try alone(model, adapters[route ?? ""] ?? []), row..<row + 1)
            let start = row * all.shape[1] * all.shape[2]
            let found = Array(all.floats[start..<start + expected.elementCount])
            let largest = expected.floats.map(abs).max() ?? 0
            #expect(distance(found, expected.floats) < 1e-5 * largest, "row \(row), \(route ?? "no adapter")")
        }
    }

    /// With a decoding state: the scores that greedy search compares.
    @Test(arguments: families) func generationIsAsItIsAlone(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let (session, adapters) = try routed(model)
        let sources = makePairs(routes.count).sources
        var options = try session.defaultGenerationOptions()
        (options.maxNewTokens, options.beams) = (8, 1)
        let found = try session.generate(
            try Batch(sources: sources, routes: routes, info: model.info), options: options)
        for (row, route) in routes.enumerated() {
            let expected = try alone(model, adapters[route ?? ""] ?? []).generate(
                try Batch(sources: [sources[row]], info: model.info), options: options)[0][0]
            #expect(found[row][0].tokens == expected.tokens, "row \(row), \(route ?? "no adapter")")
            #expect(abs(found[row][0].score - expected.score) < 1e-5 * max(1, abs(expected.score)))
        }
    }
}
