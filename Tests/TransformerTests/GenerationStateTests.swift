import Engine
import Files
import Generation
import SeamHost
import Support
import TestSupport
import Testing

/// Steps a session by running whole prefixes through its forward: slow, without state, and the same for any backbone.
private final class PrefixStepper: DecoderStepper {
    private let session: Session
    private var sources: [[Int32]]
    private var prefixes: [[Int32]]
    var vocabularySize: Int { session.backbone.info.vocabSize }

    init(_ session: Session, _ sources: [[Int32]]) {
        self.session = session
        self.sources = sources
        prefixes = sources.map { _ in [] }
    }

    func step(tokens: [Int32], into logits: inout [Float]) throws {
        for (row, token) in tokens.enumerated() { prefixes[row].append(token) }
        for row in tokens.indices {
            // Row by row: neither padding nor neighbours take part.
            let batch = try Batch(
                count: 1, sourceLength: sources[row].count, inputIDs: sources[row], targetLength: prefixes[row].count,
                decoderInputIDs: prefixes[row], info: session.backbone.info)
            let context = session.makeContext(recordsGradients: false)
            let scores = try context.contiguous(try session.forward(context, batch).logits).floats
            logits.replaceSubrange(
                row * vocabularySize..<(row + 1) * vocabularySize, with: scores.suffix(vocabularySize))
        }
    }

    func reorder(rows: [Int32]) throws {
        sources = rows.map { sources[Int($0)] }
        prefixes = rows.map { prefixes[Int($0)] }
    }
}

@Suite struct GenerationStateTests {
    private func expectTheSameTokens(_ session: Session, _ sources: [[Int32]], _ options: GenerationOptions) throws {
        let batch = try Batch(sources: sources, info: session.backbone.info)
        let found = try session.generate(batch, options: options)
        let expected = try Generation.generate(
            stepper: PrefixStepper(session, sources), batch: sources.count, options: options)
        #expect(found.map { $0.map(\.tokens) } == expected.map { $0.map(\.tokens) })
        for (one, other) in zip(found.flatMap { $0 }, expected.flatMap { $0 }) {
            #expect(abs(one.score - other.score) < 1e-4)
        }
    }

    private func searches(_ session: Session, maxNewTokens: Int) throws -> [GenerationOptions] {
        var greedy = try session.defaultGenerationOptions()
        greedy.maxNewTokens = maxNewTokens
        var beams = greedy
        (beams.beams, beams.numReturnSequences) = (3, 2)
        var sampling = greedy
        (sampling.sample, sampling.numReturnSequences, sampling.seed) = (true, 2, 5)
        return [greedy, beams, sampling]
    }

    @Test(arguments: TinyModel.everyFamily) func aDecodingStateChangesNoToken(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        #expect(model.backbone.hasState)
        let adapter = try model.attach("repcali", ["initialization": "paper"])
        for entry in adapter.parameters.entries { randomise(entry.tensor, mean: 1, deviation: 0.3) }
        for options in try searches(model.session, maxNewTokens: 10) {
            try expectTheSameTokens(model.session, makePairs(5).sources, options)
        }
    }

    @Test func anOpaqueBackboneGeneratesWithoutState() throws {
        let scratch = try ScratchFolder()
        let runtime = try makeRuntime()
        try runtime.loadPlugin(try compilePlugin("opaque-backbone/tiny_opaque.c", into: scratch.path))
        for seed in 1...5 {
            let backbone = try Backbone(
                runtime: runtime, id: "tiny-opaque", path: nil, options: ["seed": .int(Int64(seed))])
            #expect(!backbone.hasState)
            let session = Session(backbone: backbone)
            for options in try searches(session, maxNewTokens: 8) {
                try expectTheSameTokens(session, makePairs(4, vocabulary: 16).sources, options)
            }
        }
    }

    @Test func limitsAndCancelling() throws {
        let model = try OpenModel()
        let batch = try Batch(sources: [[3, 4, 1]], info: model.info)
        var options = try model.session.defaultGenerationOptions()
        options.maxNewTokens = 33
        expectError(.invalidArgument, "max_new_tokens must be at most the backbone's 32 target positions, found 33") {
            try model.session.generate(batch, options: options)
        }
        options.maxNewTokens = 32
        options.minNewTokens = 32
        #expect(try model.session.generate(batch, options: options)[0][0].tokens.count == 32)
        expectError(.cancelled, "generation was cancelled after 3 tokens") {
            try model.session.generate(batch, options: options, progress: { $0.done < 3 })
        }
    }
}
