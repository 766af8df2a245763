import Engine
import Files
import Generation
import SeamHost
import Support
import TestSupport
import Testing

/// Encoders without a decoder and decoders without an encoder.
@Suite struct OneStackTests {
    /// The row of scores after the last token of a text, from a pass over the whole of it.
    private func scores(_ model: OpenModel, after text: [Int32]) throws -> [Float] {
        let batch = try Batch(count: 1, sourceLength: text.count, inputIDs: text, info: model.info)
        return Array(try model.logits(batch).suffix(model.info.vocabSize))
    }

    @Test func anEncoderGivesScoresAtEveryPosition() throws {
        let model = try OpenModel(TinyModel(.bert))
        #expect(model.info.architecture == .encoderOnly && model.info.hasHead)
        #expect(model.info.maskToken == TinyModel.unknown && model.info.maxSourcePositions == 32)
        let texts = makePairs(5).sources
        let batch = try Batch(sources: texts, info: model.info)
        let together = try model.logits(batch)
        let width = batch.sourceLength * model.info.vocabSize
        #expect(together.count == texts.count * width)
        for (row, text) in texts.enumerated() {
            let alone = try model.logits(try Batch(sources: [text], info: model.info))
            // Rows of other lengths are summed in another order; a few roundings of the largest score.
            let largest = alone.map(abs).max() ?? 0
            #expect(distance(Array(together[row * width..<row * width + alone.count]), alone) < 5e-6 * largest)
        }
    }

    @Test func anAdapterOfAnEncoderChangesScoresAndVectors() throws {
        let model = try OpenModel(TinyModel(.bert))
        let batch = try Batch(sources: makePairs(4).sources, info: model.info)
        func vectors() throws -> [Float] {
            let context = model.session.makeContext(recordsGradients: false)
            return try context.contiguous(try model.session.pool(context, batch)).floats
        }
        let before = (scores: try model.logits(batch), vectors: try vectors())
        #expect(before.vectors.count == 4 * model.info.dModel)
        let adapter = try model.attach("repcali")
        #expect(distance(try vectors(), before.vectors) < 1e-5, "it starts as the identity")
        for entry in adapter.parameters.entries { randomise(entry.tensor, mean: 1, deviation: 0.3) }
        #expect(distance(try model.logits(batch), before.scores) > 0.01)
        #expect(distance(try vectors(), before.vectors) > 0.01)
        try model.session.detach(adapter)
        #expect(bitEqual(try vectors(), before.vectors))
    }

    /// Greedy search by whole passes over each prompt alone: neither a state nor padding takes part.
    private func continued(_ model: OpenModel, _ prompt: [Int32], _ options: GenerationOptions) throws -> [Int32] {
        var tokens: [Int32] = []
        while tokens.count < options.maxNewTokens {
            let row = try scores(model, after: prompt + tokens)
            tokens.append(Int32(row.indices.max { row[$0] < row[$1] }!))
            if options.eosTokens.contains(tokens.last!) { break }
        }
        return tokens
    }

    @Test(arguments: TinyModel.decoders) func stepsAreThoseOfWholePasses(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        #expect(model.info.architecture == .decoderOnly && model.backbone.hasState)
        let prompts = makePairs(6).sources
        var options = try model.session.defaultGenerationOptions()
        options.maxNewTokens = 12
        let found = try model.session.generate(try Batch(sources: prompts, info: model.info), options: options)
        #expect(found.map { $0[0].tokens } == (try prompts.map { try continued(model, $0, options) }))
    }

    /// A beam's score is the sum of the logarithms that whole passes give its tokens.
    @Test(arguments: TinyModel.decoders) func beamsCarryTheirScores(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let prompts = makePairs(4).sources
        var options = try model.session.defaultGenerationOptions()
        (options.maxNewTokens, options.beams, options.numReturnSequences, options.lengthPenalty) = (8, 3, 3, 0)
        let found = try model.session.generate(try Batch(sources: prompts, info: model.info), options: options)
        for (prompt, beams) in zip(prompts, found) {
            for beam in beams {
                let target = beam.tokens
                let batch = try Batch(sources: [prompt], targets: [target], info: model.info)
                let score = try model.session.score(batch)[0]
                #expect(abs(Double(beam.score) - score.logProbability) < 1e-4)
                #expect(score.tokenCount == target.count)
            }
        }
    }

    @Test(arguments: TinyModel.decoders + [TinyModel(.bert)])
    func aSavedModelGivesTheSameScores(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let batch = try Batch(sources: [[3, 4, 1]], info: model.info)
        let path = model.scratch["saved"]
        try BackboneFolder.save(model.backbone, to: path)
        let opened = Session(backbone: try Backbone(runtime: model.runtime, path: path))
        let context = opened.makeContext(recordsGradients: false)
        let logits = try context.contiguous(try opened.forward(context, batch).logits).floats
        #expect(bitEqual(logits, try model.logits(batch)))
    }

    @Test func whatAStackLacksIsRefused() throws {
        let encoder = try OpenModel(TinyModel(.bert))
        expectError(.unsupported, "the backbone has no decoder to generate with") {
            try encoder.session.defaultGenerationOptions()
        }
        let decoder = try OpenModel(TinyModel(.llama))
        let batch = try Batch(sources: [[3, 4]], info: decoder.info)
        let context = decoder.session.makeContext(recordsGradients: false)
        expectError(.unsupported, "the backbone has no encoder") { try decoder.session.encode(context, batch) }
        expectError(.unsupported, "\"encoder.output\"") { try decoder.attach("repcali") }
        expectError(.invalidArgument, "the option 'pooling' is 'max'") {
            try Backbone(runtime: decoder.runtime, path: decoder.path, options: ["pooling": "max"])
        }
    }
}
