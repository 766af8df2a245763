import Generation
import Support
import Testing

@Suite struct SamplingTests {
    private func options(_ change: (inout GenerationOptions) -> Void) -> GenerationOptions {
        var options = GenerationOptions(decoderStartToken: 0, eosTokens: [2], padToken: 1)
        options.sample = true
        options.seed = 11
        change(&options)
        return options
    }

    /// Known answers of the reference implementation Random123 1.09 (file kat_vectors).
    @Test func philoxGivesTheKnownAnswers() {
        #expect(
            Philox(seed: 0).block(SIMD4(repeating: 0))
                == SIMD4(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
        #expect(
            Philox(seed: .max).block(SIMD4(repeating: .max))
                == SIMD4(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
        #expect(
            Philox(seed: 0x299f_31d0_a409_3822).block(SIMD4(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344))
                == SIMD4(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
    }

    /// The tokens and probabilities that the temperature, top-k and top-p warpers of Hugging Face leave.
    @Test func filtersAsHuggingFace() throws {
        let lines = fixtureLines().filter { $0[0] == "filter" }
        #expect(lines.count == 60)
        for line in lines {
            let vocabulary = Int(line[2])!
            let model = HashModel(batch: Int(line[1])! + 1, vocabulary: vocabulary, bonus: 1)
            var logits = [Float](repeating: 0, count: model.states.count * vocabulary)
            try model.step(tokens: model.states.map { _ in 0 }, into: &logits)
            let row = Array(logits.suffix(vocabulary))
            var sampler = Sampler(
                options: options {
                    $0.temperature = Float(line[3])!
                    $0.topK = Int(line[4])!
                    $0.topP = Double(line[5])!
                })
            try sampler.filter(row.span, largest: row.max()!)
            let kept = sampler.kept.sorted { $0.token < $1.token }
            let total = kept.reduce(0) { $0 + $1.weight }
            #expect(kept.map(\.token) == numbers(line[6]), "\(line[1...5])")
            for (entry, expected) in zip(kept, line[7].split(separator: ",")) {
                #expect((entry.weight / total - Double(expected)!).magnitude < 2e-6)
            }
        }
    }

    @Test func sameSeedGivesTheSameTokens() throws {
        func run(_ seed: UInt64) throws -> [[GeneratedSequence]] {
            try generate(
                stepper: HashModel(batch: 4, vocabulary: 50, bonus: 3, bonusToken: 2), batch: 4,
                options: options {
                    $0.seed = seed
                    $0.numReturnSequences = 3
                    $0.topP = 0.95
                })
        }
        #expect(try run(5) == run(5))
        #expect(try run(5) != run(6))
        let sequences = try run(5).flatMap { $0 }
        #expect(sequences.count == 12)
        #expect(Set(sequences.map(\.tokens.count)).count > 1)
    }

    /// Users rely on a seed to repeat a result, so another random stream is a breaking change.
    @Test func tokensOfASeedAreFixed() throws {
        let results = try generate(
            stepper: HashModel(batch: 2, vocabulary: 50), batch: 2, options: options { $0.maxNewTokens = 6 })
        #expect(results.map { $0[0].tokens } == [[46, 32, 9, 42, 12, 41], [14, 26, 48, 47, 20, 39]])
    }

    @Test func topOneIsGreedy() throws {
        var greedy = options { $0.topK = 1 }
        let sampled = try generate(stepper: HashModel(batch: 3, vocabulary: 40), batch: 3, options: greedy)
        greedy.sample = false
        let best = try generate(stepper: HashModel(batch: 3, vocabulary: 40), batch: 3, options: greedy)
        #expect(sampled.map { $0.map(\.tokens) } == best.map { $0.map(\.tokens) })
    }

    /// First tokens of many sequences follow the softmax: chi-squared with 7 degrees of freedom.
    @Test func drawsFollowTheSoftmax() throws {
        let count = 20000
        let model = HashModel(batch: 1, vocabulary: 8, scale: 2)
        let results = try generate(
            stepper: model, batch: 1,
            options: options {
                $0.maxNewTokens = 1
                $0.topK = 0
                $0.numReturnSequences = count
            })[0]
        var counts = [Int](repeating: 0, count: 8)
        var probability = [Double](repeating: 0, count: 8)
        for sequence in results {
            counts[Int(sequence.tokens[0])] += 1
            probability[Int(sequence.tokens[0])] = Double(sequence.tokenLogProbabilities[0])
        }
        let reference = HashModel(batch: 1, vocabulary: 8, scale: 2)
        var logits = [Float](repeating: 0, count: 8)
        try reference.step(tokens: [0], into: &logits)
        let weights = logits.map { exponential(Double($0)) }
        let total = weights.reduce(0, +)
        var chiSquared = 0.0
        for token in 0..<8 {
            let expected = weights[token] / total
            #expect((exponential(probability[token]) - expected).magnitude < 1e-6)
            let difference = Double(counts[token]) - expected * Double(count)
            chiSquared += difference * difference / (expected * Double(count))
        }
        #expect(chiSquared < 24.3)  // p = 0.001
    }

    /// Scores that a temperature makes infinite have no distribution: torch.multinomial refuses them.
    @Test(arguments: [Float(1e-40), .leastNonzeroMagnitude]) func infiniteScoresAreNotDrawn(temperature: Float) throws {
        let error = #expect(throws: SeamError.self) {
            try generate(
                stepper: HashModel(batch: 1, vocabulary: 8, scale: 2), batch: 1,
                options: options { $0.temperature = temperature })
        }
        #expect(error?.code == .numeric)
        #expect(error?.message.contains("divided by a temperature of \(temperature) is infinite") == true)
    }

    /// A temperature that is just high enough takes the best token, with a probability of 1.
    @Test func lowTemperaturesAreGreedySearch() throws {
        func run(_ change: (inout GenerationOptions) -> Void) throws -> [GeneratedSequence] {
            try generate(stepper: HashModel(batch: 1, vocabulary: 8, scale: 2), batch: 1, options: options(change))[0]
        }
        let drawn = try run { $0.temperature = 1e-30 }
        let best = try run { $0.sample = false }
        #expect(drawn.map(\.tokens) == best.map(\.tokens))
        #expect(drawn[0].score == 0)
    }
}
