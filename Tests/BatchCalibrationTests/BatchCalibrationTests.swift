import Engine
import FewShot
import Files
import Glibc
import SeamHost
import Support
import TestSupport
import Testing

/// Scores and what is fitted, against the formula in f64.
@Suite struct BatchCalibrationTests {
    private func calibration(
        _ model: OpenModel, _ options: JSON = .null, _ kind: ScoreKind = .logits, classes: Int = 3
    ) throws -> Adapter {
        try Adapter(
            backbone: model.backbone, id: "batch-calibration", options: options, classes: classes, scoreKind: kind)
    }

    /// log p of every example and class.
    private func logarithms(_ given: ClassExamples) -> [Double] {
        (0..<given.labels.count).flatMap { row -> [Double] in
            let scores = given.scores[row * 3..<(row + 1) * 3].map(Double.init)
            let sum = log(scores.map { exp($0) }.reduce(0, +))
            return scores.map { $0 - sum }
        }
    }

    private func logarithmsOfMeans(_ logarithms: [Double]) -> [Double] {
        (0..<3).map { k in
            let own = stride(from: k, to: logarithms.count, by: 3).map { exp(logarithms[$0]) }
            return log(own.reduce(0, +) / Double(own.count))
        }
    }

    private func fit(_ adapter: Adapter, _ given: ClassExamples) throws {
        _ = try FewShot.fit(
            adapters: [adapter], scores: given.scores, hidden: given.hidden, labels: given.labels)
    }

    @Test(arguments: [1, 0.3, -2.0]) func theFormula(_ gamma: Double) throws {
        let model = try OpenModel()
        let adapter = try calibration(model, ["gamma": .double(gamma)])
        let (given, asked) = (ClassExamples(20), ClassExamples(7, seed: 2))
        #expect(adapter.parameters.trainableCount == 0)
        try fit(adapter, given)
        let prior = logarithmsOfMeans(logarithms(given))
        let expected = logarithms(asked).enumerated().map { Float($1 - gamma * prior[$0 % 3]) }
        let found = try classScores(adapters: [adapter], scores: asked.scores, hidden: asked.hidden)
        // A few roundings of numbers below 16.
        #expect(distance(found, expected) < 1e-5)
        // One text's answer is the same whoever else is asked about.
        let alone = try classScores(
            adapters: [adapter], scores: Array(asked.scores[..<3]), hidden: Array(asked.hidden[..<16]))
        #expect(bitEqual(alone, Array(found[..<3])))
    }

    @Test func probabilitiesAreTakenAsSuch() throws {
        let model = try OpenModel()
        var given = ClassExamples(20)
        let plain = try calibration(model)
        try fit(plain, given)
        let expected = try classScores(adapters: [plain], scores: given.scores, hidden: given.hidden)
        // Of other words too: they need not sum to 1.
        given.scores = given.scores.map { exp($0) / 7 }
        let adapter = try calibration(model, .null, .probabilities)
        try fit(adapter, given)
        #expect(
            distance(try classScores(adapters: [adapter], scores: given.scores, hidden: given.hidden), expected) < 1e-5)
        // None that is not finite where one is 0.
        given.scores = given.scores.enumerated().map { $0 % 3 == 1 ? 0 : $1 }
        try fit(adapter, given)
        let found = try classScores(adapters: [adapter], scores: given.scores, hidden: given.hidden)
        #expect(found.allSatisfy { $0.isFinite })
    }

    @Test func gammaIsSearched() throws {
        let model = try OpenModel()
        let given = ClassExamples(31, seed: 5)
        let (own, prior) = (logarithms(given), logarithmsOfMeans(logarithms(given)))
        func right(_ gamma: Double) -> Int {
            given.labels.indices.count { row in
                let scores = (0..<3).map { own[row * 3 + $0] - gamma * prior[$0] }
                return scores.firstIndex(of: scores.max()!) == Int(given.labels[row])
            }
        }
        for start in [1, 0, 7.5] {
            let adapter = try calibration(model, ["search_gamma": true, "gamma": .double(start)])
            try fit(adapter, given)
            let candidates = [start] + (-50...50).map { Double($0) / 10 }
            let most = candidates.map(right).max()!
            let best = candidates.filter { right($0) == most }.min { abs($0 - start) < abs($1 - start) }!
            #expect(abs(Double(adapter.parameters["gamma"]!.floats[0]) - best) < 1e-6)
            #expect(right(best) > right(0) || best == 0)
        }
    }

    @Test func whatItCannotCalibrate() throws {
        let model = try OpenModel()
        expectError(.unsupported, "it calibrates probabilities, and the scores here are similarities") {
            try calibration(model, .null, .similarities)
        }
        expectError(.invalidArgument, "needs at least 2 classes") { try calibration(model, classes: 0) }
    }
}
