import Engine
import FewShot
import SeamHost
import Support
import TestSupport
import Testing

/// What is refused of the features, and adapters that run one after another.
@Suite struct FeatureTests {
    private func train(_ adapters: [Adapter], _ given: ClassExamples, epochs: Int = 30) throws -> [Double] {
        var options = HeadTrainingOptions()
        options.epochs = epochs
        return try fit(
            adapters: adapters, scores: given.scores, hidden: given.hidden, labels: given.labels,
            emptyScores: given.emptyScores, options: options)
    }

    @Test func badFeaturesAreRefused() throws {
        let model = try OpenModel()
        let adapter = try Adapter(backbone: model.backbone, id: "dect", classes: 3)
        func expectRefusal(_ code: ErrorCode, _ sentence: String, _ change: (inout ClassExamples) -> Void) {
            var given = ClassExamples(6)
            change(&given)
            expectError(code, sentence) { try train([adapter], given) }
        }
        expectRefusal(.shape, "scores must hold 6 x 3 = 18 numbers, found 17") { $0.scores.removeLast() }
        expectRefusal(.shape, "hidden must hold 6 x 16 = 96 numbers, found 97") { $0.hidden.append(0) }
        expectRefusal(.shape, "the scores of an empty text must be 3 numbers, found 2") { $0.emptyScores.removeLast() }
        expectRefusal(.numeric, "scores of example 2 must be finite, found NaN or infinity at column 1") {
            $0.scores[7] = .nan
        }
        expectRefusal(.numeric, "hidden of example 5 must be finite, found NaN or infinity at column 15") {
            $0.hidden[95] = -.infinity
        }
        expectRefusal(.numeric, "empty text must be finite, found inf for class 2") { $0.emptyScores[2] = .infinity }
        expectRefusal(.invalidArgument, "the label of example 3 must be 0 ... 2, found 3") { $0.labels[3] = 3 }
        expectRefusal(.invalidArgument, "the label of example 0 must be 0 ... 2, found -1") { $0.labels[0] = -1 }
        expectRefusal(.invalidArgument, "every class needs an example, and class 1 has none") {
            $0.labels = [0, 2, 0, 2, 0, 2]
        }
        expectRefusal(.invalidArgument, "there are no examples") { $0 = ClassExamples(0) }
        let given = ClassExamples(6)
        expectError(.shape, "hidden must hold 6 x 16 = 96 numbers, found 0") {
            try classScores(adapters: [adapter], scores: given.scores, hidden: [])
        }
        expectError(.shape, "scores must hold 6 x 3 = 18 numbers, found 19") {
            try classScores(adapters: [adapter], scores: given.scores + [0], hidden: given.hidden)
        }
    }

    @Test func badAdaptersAreRefused() throws {
        let model = try OpenModel()
        let given = ClassExamples(6)
        expectError(.invalidArgument, "there is no adapter") { try train([], given) }
        let three = try Adapter(backbone: model.backbone, id: "dect", classes: 3)
        expectError(.invalidArgument, "\"dect\" is given twice") { try train([three, three], given) }
        let two = try Adapter(backbone: model.backbone, id: "dect", classes: 2)
        expectError(.incompatible, "adapter 1 was made for 2 classes and d_model 16, the first one for 3 and 16") {
            try train([three, two], given)
        }
        try three.unfreeze()
        expectError(.invalidArgument, "\"dect\" is in training elsewhere") { try train([three], given) }
        #expect(!three.parameters.variables.isEmpty, "it still is")
        three.freeze()
        let other = try Adapter(backbone: model.backbone, id: "repcali", classes: 3)
        expectError(.invalidArgument, "\"repcali\" is on encoder.output, not on decoder.output") {
            try train([other], given)
        }
    }
}

/// With a C plugin whose adapter adds a number to each class's score.
@Suite struct CompositionTests {
    private let model: OpenModel

    init() throws {
        model = try OpenModel()
        try model.runtime.loadPlugin(try compilePlugin("head-plugin/class_bias.c", into: model.scratch.path))
    }

    private func bias(_ start: String, id: String = "test-class-bias") throws -> Adapter {
        try Adapter(backbone: model.backbone, id: id, options: ["start": .string(start)], classes: 3)
    }

    private func train(_ adapters: [Adapter], _ given: ClassExamples, rate: Double = 0.01) throws -> [Double] {
        var options = HeadTrainingOptions()
        options.learningRate = rate
        return try fit(
            adapters: adapters, scores: given.scores, hidden: given.hidden, labels: given.labels,
            emptyScores: given.emptyScores, options: options)
    }

    private func means(_ scores: [Float]) -> [Float] {
        (0..<3).map { k in
            stride(from: k, to: scores.count, by: 3).map { scores[$0] }.reduce(0, +) / Float(scores.count / 3)
        }
    }

    /// Each starts from what the ones before it make of the scores, and the sum of all is what comes out.
    @Test func adaptersRunInOrder() throws {
        let given = ClassExamples(9)
        let (first, second) = (try bias("mean"), try bias("mean"))
        _ = try train([first, second], given, rate: 0)
        let mean = means(given.scores)
        // A mean of nine numbers below 16 in another order.
        #expect(distance(first.parameters["bias"]!.floats, mean) < 1e-5)
        #expect(distance(second.parameters["bias"]!.floats, mean.map { 2 * $0 }) < 2e-5)
        #expect(first.parameters["had_empty_scores"]!.floats == [1])
        #expect(second.parameters["had_empty_scores"]!.floats == [0])
        let found = try classScores(adapters: [first, second], scores: given.scores, hidden: given.hidden)
        let wanted = given.scores.indices.map { given.scores[$0] + 3 * mean[$0 % 3] }
        #expect(distance(found, wanted) < 4e-5)

        let head = try Adapter(backbone: model.backbone, id: "dect", classes: 3)
        let losses = try train([first, head, second], given)
        #expect(losses.last! < losses[0])
        #expect(first.parameters["bias"]!.floats != mean, "all of them are trained")
    }

    @Test func whatAPluginPreparesIsChecked() throws {
        let given = ClassExamples(9)
        func expectRefusal(_ start: String, _ code: ErrorCode, _ words: String) throws {
            let adapter = try bias(start)
            let first = try bias("mean")
            expectError(code, words) { try train([first, adapter], given) }
            for entry in first.parameters.entries + adapter.parameters.entries {
                #expect(entry.tensor.floats.allSatisfy { $0 == 0 }, "\(start): \(entry.name)")
            }
            do { _ = try train([adapter], given) } catch let error as SeamError {
                #expect(error.origin == "org.seamkit.test.class-bias")
            }
        }
        try expectRefusal("shape", .plugin, "must give parameter \"bias\" as f32 [3], found f32 [9, 3]")
        try expectRefusal("infinite", .numeric, "gives parameter \"bias\" NaN or infinity at element 0")
        try expectRefusal("fail", .unsupported, "not with these examples")
    }

    @Test func nothingIsAValueLeftAlone() throws {
        let adapter = try bias("nothing")
        adapter.parameters["bias"]!.assign([1, 2, 3])
        _ = try train([adapter], ClassExamples(9), rate: 0)
        #expect(adapter.parameters["bias"]!.floats == [1, 2, 3])
    }

    /// A table that ends before `prepare` is read no further.
    @Test func anOlderPluginStartsAsItIs() throws {
        let adapter = try bias("fail", id: "test-older-class-bias")
        _ = try train([adapter], ClassExamples(9), rate: 0)
        #expect(adapter.parameters["bias"]!.floats == [0, 0, 0])
    }
}
