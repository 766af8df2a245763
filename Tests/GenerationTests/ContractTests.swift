import Generation
import Glibc
import Support
import Testing

func exponential(_ x: Double) -> Double { exp(x) }

/// Errors, cancellation and the calls a stepper gets.
@Suite struct ContractTests {
    private var greedy: GenerationOptions {
        GenerationOptions(decoderStartToken: 0, eosTokens: [2], padToken: 1)
    }

    private func failure(
        _ options: GenerationOptions, batch: Int = 2, stepper: some DecoderStepper = HashModel(batch: 2, vocabulary: 20)
    ) -> SeamError? {
        do {
            _ = try generate(stepper: stepper, batch: batch, options: options)
            return nil
        } catch {
            return error as? SeamError
        }
    }

    @Test func refusesWrongOptionsByName() {
        let wrong: [(String, (inout GenerationOptions) -> Void)] = [
            ("max_new_tokens", { $0.maxNewTokens = 0 }), ("min_new_tokens", { $0.minNewTokens = -1 }),
            ("num_beams", { $0.beams = 0 }), ("length_penalty", { $0.lengthPenalty = .nan }),
            ("temperature", { ($0.sample, $0.temperature) = (true, 0) }),
            ("top_k", { ($0.sample, $0.topK) = (true, -1) }),
            ("top_p", { ($0.sample, $0.topP) = (true, 1.5) }), ("min_p", { ($0.sample, $0.minP) = (true, -0.1) }),
            ("repetition_penalty", { $0.repetitionPenalty = 0 }),
            ("no_repeat_ngram_size", { $0.noRepeatNgramSize = -2 }),
            ("num_return_sequences", { $0.numReturnSequences = 0 }),
            ("num_return_sequences", { $0.numReturnSequences = 2 }),
            ("decoder_start_token_id", { $0.decoderStartToken = 20 }), ("pad_token_id", { $0.padToken = -1 }),
            ("eos_token_id", { $0.eosTokens = [99] }), ("bad_words_ids", { $0.badWords = [[20]] }),
            ("forced_bos_token_id", { $0.forcedBosToken = 20 }), ("forced_eos_token_id", { $0.forcedEosTokens = [20] }),
            ("num_return_sequences", { ($0.beams, $0.numReturnSequences) = (2, 3) }),
            ("eos_token_id", { ($0.beams, $0.eosTokens) = (2, Array(0..<20)) }),
            ("max_new_tokens", { $0.maxNewTokens = 1 << 31 }), ("num_beams", { $0.beams = 1 << 31 }),
            ("num_beams", { $0.beams = .max }),
            ("num_return_sequences", { ($0.sample, $0.numReturnSequences) = (true, 1 << 31) }),
        ]
        for (name, change) in wrong {
            var options = greedy
            change(&options)
            let error = failure(options)
            #expect(error?.code == .invalidArgument)
            #expect(error?.message.hasPrefix("option \(name): expected ") == true, "\(name): \(error?.message ?? "")")
        }
        var unused = greedy
        (unused.temperature, unused.topK, unused.topP, unused.minP) = (0, -1, 1.5, -1)
        #expect(failure(unused) == nil, "settings of sampling decide nothing in a greedy search")
        var both = greedy
        (both.beams, both.sample) = (2, true)
        #expect(failure(both)?.code == .unsupported)
        #expect(failure(greedy, batch: 0)?.message == "argument batch: expected 1 or more, found 0")
    }

    @Test func aSearchThatNoMemoryHoldsIsRefused() {
        var options = greedy
        options.maxNewTokens = Int(Int32.max)
        for batch in [1 << 20, 1 << 40] {
            let error = failure(options, batch: batch)
            #expect(error?.code == .outOfMemory)
            #expect(error?.message.contains("max_new_tokens 2147483647 for a batch of \(batch) needs ") == true)
        }
    }

    /// 2^-1e308 is 0, and a score divided by it minus infinity.
    @Test func aPenaltyThatLeavesNoScoreIsNamed() {
        var options = greedy
        (options.beams, options.lengthPenalty, options.minNewTokens) = (2, -1e308, 3)
        let error = failure(options)
        #expect(error?.code == .numeric)
        #expect(error?.message.hasPrefix("option length_penalty: expected a number that leaves") == true)
    }

    @Test func forbiddenEverythingIsAnError() {
        var options = greedy
        options.badWords = (0..<20).map { [$0] }
        options.minNewTokens = 5
        for beams in [1, 3] {
            options.beams = beams
            #expect(failure(options)?.code == .numeric)
        }
    }

    @Test func badLogitsAreAnError() {
        final class Broken: DecoderStepper {
            let vocabularySize = 11
            let value: Float
            let size: Int?
            init(_ value: Float, size: Int? = nil) { (self.value, self.size) = (value, size) }
            func step(tokens: [Int32], into logits: inout [Float]) {
                if let size { logits = [Float](repeating: 0, count: size) }
                logits[3] = value
                logits[10] = value
            }
            func reorder(rows: [Int32]) {}
        }
        var options = greedy
        for beams in [1, 3] {
            options.beams = beams
            #expect(failure(options, stepper: Broken(.nan))?.code == .numeric)
            #expect(failure(options, stepper: Broken(.infinity))?.code == .numeric)
            #expect(failure(options, stepper: Broken(0, size: 12))?.code == .shape)
        }
    }

    /// What is told before each step is what the results hold, token by token.
    @Test func tellsTheNewestTokens() throws {
        for sample in [false, true] {
            var options = greedy
            (options.sample, options.maxNewTokens, options.numReturnSequences) = (sample, 12, sample ? 2 : 1)
            var told: [GenerationProgress] = []
            let results = try generate(stepper: HashModel(batch: 3, vocabulary: 20), batch: 3, options: options) {
                told.append($0)
                return true
            }.flatMap(\.self)
            #expect(told.map(\.done) == Array(told.indices) && told.allSatisfy { $0.total == 12 })
            #expect(told[0].tokens == nil && told.dropFirst().allSatisfy { $0.tokens?.count == results.count })
            for (index, result) in results.enumerated() {
                let streamed = told.dropFirst().compactMap { $0.tokens![index] }
                // The last step's tokens come with the results.
                #expect(streamed == Array(result.tokens.prefix(streamed.count)))
                #expect(streamed.count >= result.tokens.count - 1)
            }
            #expect(results.contains { $0.tokens.count < 12 }, "no row ends early, so the comparison shows less")
        }
        var options = greedy
        options.beams = 2
        _ = try generate(stepper: HashModel(batch: 1, vocabulary: 20), batch: 1, options: options) {
            #expect($0.tokens == nil)
            return true
        }
    }

    @Test func cancelsBeforeAStep() {
        var options = greedy
        options.eosTokens = []
        for beams in [1, 2] {
            options.beams = beams
            let model = HashModel(batch: 1, vocabulary: 20)
            var error: SeamError?
            do {
                _ = try generate(stepper: model, batch: 1, options: options) { $0.done < 4 }
            } catch let found {
                error = found as? SeamError
            }
            #expect(error?.code == .cancelled)
            #expect(model.stepRows.count == 4)
        }
    }

    @Test func firstStepHasOneRowPerItemAndFinishedItemsLeave() throws {
        var options = greedy
        options.beams = 3
        options.maxNewTokens = 30
        let model = HashModel(batch: 6, vocabulary: 20, bonus: 4, bonusToken: 2)
        _ = try generate(stepper: model, batch: 6, options: options)
        #expect(model.stepRows[0] == 6)
        #expect(model.stepRows[1] == 18)
        #expect(model.stepRows.dropFirst() == model.stepRows.dropFirst().sorted(by: >)[...])
        #expect(model.stepRows.last! < 18)
    }

    @Test func anItemDoesNotDependOnItsBatch() throws {
        final class OneItem: DecoderStepper {
            let base: HashModel
            init(_ item: Int) throws {
                base = HashModel(batch: item + 1, vocabulary: 30, bonus: 4, bonusToken: 2)
                try base.reorder(rows: [Int32(item)])
            }
            var vocabularySize: Int { base.vocabularySize }
            func step(tokens: [Int32], into logits: inout [Float]) throws {
                try base.step(tokens: tokens, into: &logits)
            }
            func reorder(rows: [Int32]) throws { try base.reorder(rows: rows) }
        }
        for beams in [1, 4] {
            var options = greedy
            options.beams = beams
            options.maxNewTokens = 25
            let together = try generate(
                stepper: HashModel(batch: 8, vocabulary: 30, bonus: 4, bonusToken: 2), batch: 8, options: options)
            for item in 0..<8 {
                #expect(try generate(stepper: OneItem(item), batch: 1, options: options) == [together[item]])
            }
        }
    }

    @Test func logProbabilitiesCanBeLeftOut() throws {
        var options = greedy
        options.wantsLogProbabilities = false
        let without = try generate(stepper: HashModel(batch: 2, vocabulary: 20), batch: 2, options: options)
        options.wantsLogProbabilities = true
        let with = try generate(stepper: HashModel(batch: 2, vocabulary: 20), batch: 2, options: options)
        #expect(without.map { $0[0].tokens } == with.map { $0[0].tokens })
        #expect(without.allSatisfy { $0[0].tokenLogProbabilities.isEmpty && $0[0].score == 0 })
    }
}
