import Datasets
import FewShot
import Support
import TestSupport
import Testing

@Suite struct ShotsTests {
    private func data(_ labels: [String]) throws -> LabelledTexts {
        let rows = labels.enumerated().map { "text \($0),\($1)\n" }.joined()
        let scratch = try ScratchFolder()
        return try LabelledTexts(scratch.write("data.csv", "text,label\n" + rows))
    }

    @Test func drawsAreThoseOfTheDescription() throws {
        // As a program of a few lines of Python computes them from xoshiro256** and SplitMix64.
        let data = try data((0..<30).map { ["a", "b", "c"][$0 % 3] })
        let shots = try Shots(from: data, perClass: 2, developmentPerClass: 1, seed: 42)
        #expect(shots.training == [18, 10, 20, 27, 4, 8])
        #expect(shots.development == [24, 22, 5])
    }

    @Test func classesAreEvenAndDrawsNested() throws {
        let data = try data((0..<90).map { $0 < 50 ? "a" : $0 < 70 ? "b" : "c" })
        for perClass in [1, 4, 16] {
            let shots = try Shots(from: data, perClass: perClass, developmentPerClass: 3, seed: 7)
            let classes = (0..<perClass).flatMap { _ in [0, 1, 2] }
            #expect(shots.training.map { data.labels[$0] } == classes)
            #expect(shots.development.map { data.labels[$0] } == [0, 1, 2, 0, 1, 2, 0, 1, 2])
            #expect(Set(shots.training + shots.development).count == 3 * perClass + 9)
            let larger = try Shots(from: data, perClass: 17, developmentPerClass: 3, seed: 7)
            #expect(Array(larger.training.prefix(3 * perClass)) == shots.training)
            #expect(larger.development == shots.development)
            #expect(try Shots(from: data, perClass: perClass, developmentPerClass: 3, seed: 8) != shots)
        }
    }

    @Test func everyRowIsEquallyLikely() throws {
        let data = try data(["a", "a", "a", "a", "b"])
        var counts = [Int](repeating: 0, count: 5)
        for seed in 0..<4000 { counts[try Shots(from: data, perClass: 1, seed: UInt64(seed)).training[0]] += 1 }
        // 1000 each, with a standard deviation of 27.
        #expect(counts[..<4].allSatisfy { (860...1140).contains($0) })
    }

    @Test func tooFewExamples() throws {
        let data = try data(["a", "a", "b", "a"])
        expectError(.invalidArgument, "\"b\"", "1 example", "2 shots") { try Shots(from: data, perClass: 2, seed: 0) }
        expectError(.invalidArgument, "\"b\"", "1 for development") {
            try Shots(from: data, perClass: 1, developmentPerClass: 1, seed: 0)
        }
        expectError(.invalidArgument, "1 or more", "0") { try Shots(from: data, perClass: 0, seed: 0) }
        expectError(.invalidArgument, "1 or more") {
            try Shots(from: data, perClass: .max, developmentPerClass: .max, seed: 0)
        }
    }
}
