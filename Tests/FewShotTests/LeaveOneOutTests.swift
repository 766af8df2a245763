import Engine
import FewShot
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// The choice of heads by leaving out examples; its numbers are compared with NumPy in
/// python/tests/test_choice_of_heads.py.
@Suite struct LeaveOneOutTests {
    /// A head on the states, which learns, and a constant of the scores.
    private func candidates(_ model: OpenModel) throws -> [[Adapter]] {
        try ["dect", "batch-calibration"].map {
            [try Adapter(backbone: model.backbone, id: $0, classes: 3, scoreKind: .logits, seed: 1)]
        }
    }

    private func measured(_ candidates: [[Adapter]], _ given: ClassExamples) throws -> LeaveOneOut {
        try LeaveOneOut(
            candidates: candidates, scores: given.scores, hidden: given.hidden, labels: given.labels,
            emptyScores: given.emptyScores)
    }

    @Test(arguments: [12, 90]) func theOneThatAnswersBest(_ count: Int) throws {
        let model = try OpenModel()
        let candidates = try candidates(model)
        let before = candidates.map { $0[0].parameters.entries.map(\.tensor.floats) }
        var given = ClassExamples(count)
        let states = try measured(candidates, given)
        #expect(states.best() == 0 && states.best(doubting: 0) == 0 && states.losses[0] < states.losses[1])
        for (index, label) in given.labels.enumerated() { given.scores[index * 3 + Int(label)] += 5 }
        for index in given.hidden.indices { given.hidden[index] = Float((index * 7919) % 1009) / 1009 - 0.5 }
        #expect(try measured(candidates, given).best() == 1)
        #expect(candidates.map { $0[0].parameters.entries.map(\.tensor.floats) } == before)
        #expect(throws: SeamError.self) {
            try LeaveOneOut(
                candidates: candidates, scores: given.scores, hidden: given.hidden, labels: given.labels,
                progress: { false })
        }
    }

    @Test func oneExampleOfEachClass() throws {
        let model = try OpenModel()
        let alone = try measured(try candidates(model), ClassExamples(3))
        #expect(alone.losses.isEmpty && alone.best(doubting: 0) == 0)
    }

    @Test func groups() {
        #expect(LeaveOneOut.groups([1, 0, 1, 2, 0]) == [[1], [4], [0], [2]])
        #expect(LeaveOneOut.groups([0, 1, 2]).isEmpty)
        for labels in [(0..<130).map { Int32($0 % 65) }, (0..<92).map { $0 < 2 ? Int32(0) : 1 }] {
            let groups = LeaveOneOut.groups(labels)
            #expect(groups.count == 16 && groups.flatMap(\.self).sorted() == Array(labels.indices))
            for group in groups {
                for label in Set(labels) {
                    #expect(group.count { labels[$0] == label } < labels.count { $0 == label })
                }
            }
        }
    }
}
