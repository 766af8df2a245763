import Engine
import FewShot
import Files
import Glibc
import SeamHost
import Support
import TestSupport
import Testing

/// Scores, what is prepared and what is refused, against the formula in f64. Exact transport and gradients are compared
/// in python/tests/test_multi_prompting_decoder.py.
@Suite struct MultiPromptingDecoderTests {
    private static let (prompts, classes, prototypes, width) = (2, 3, 2, 4)
    private static let options: JSON = ["projection_width": 4, "prototypes": 2, "iterations": 30]

    private func decoder(_ model: OpenModel, _ options: JSON = options) throws -> Adapter {
        try Adapter(
            backbone: model.backbone, id: "multi-prompting-decoder", options: options, classes: Self.classes,
            prompts: Self.prompts, scoreKind: .logits, seed: 3)
    }

    /// Examples of each prompt, row by row of a text: the hidden states, scores and labels of half as many texts.
    private func examples(_ texts: Int, seed: UInt64 = 1) -> ClassExamples {
        var given = ClassExamples(texts * Self.prompts, classes: Self.classes, seed: seed)
        given.labels = (0..<texts).map { Int32($0 % Self.classes) }
        return given
    }

    private func unit(_ x: [Double]) -> [Double] {
        let length = x.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return x.map { $0 / length }
    }

    private func cosine(_ a: [Double], _ b: [Double]) -> Double { zip(unit(a), unit(b)).reduce(0) { $0 + $1.0 * $1.1 } }

    /// The plan's similarities, weighted, of P rows with Q columns.
    private func matched(_ alike: [[Double]]) -> Double {
        var plan = alike.map { $0.map { exp(($0 - 1) / 0.1) } }
        for _ in 0..<30 {
            for p in plan.indices {
                let sum = plan[p].reduce(0, +) * Double(plan.count)
                plan[p] = plan[p].map { $0 / sum }
            }
            for q in plan[0].indices {
                let sum = plan.reduce(0) { $0 + $1[q] } * Double(plan[0].count)
                for p in plan.indices { plan[p][q] /= sum }
            }
        }
        return zip(plan, alike).reduce(0) { $0 + zip($1.0, $1.1).reduce(0) { $0 + $1.0 * $1.1 } }
    }

    private func expected(_ adapter: Adapter, _ given: ClassExamples) -> [Float] {
        func values(_ name: String) -> [Double] { adapter.parameters[name]!.floats.map(Double.init) }
        let (w, z, c) = (values("projection"), values("prototypes"), values("calibration"))
        let weight = values("score_weight")[0]
        let (prompts, classes, width, dModel) = (Self.prompts, Self.classes, Self.width, given.width)
        return given.labels.indices.flatMap { text in
            let directions = (0..<prompts).map { prompt in
                let start = (text * prompts + prompt) * dModel
                return (0..<width).map { row in
                    (0..<dModel).reduce(0) { $0 + w[row * dModel + $1] * Double(given.hidden[start + $1]) }
                }
            }
            return (0..<classes).map { k in
                let alike = directions.map { v in
                    (0..<Self.prototypes).map { q in
                        let start = (k * Self.prototypes + q) * width
                        return cosine(v, Array(z[start..<start + width]))
                    }
                }
                let own = (0..<prompts).reduce(0) {
                    $0 + Double(given.scores[(text * prompts + $1) * classes + k]) / c[$1 * classes + k]
                }
                return Float(matched(alike) + weight * own / Double(prompts))
            }
        }
    }

    @Test func theFormula() throws {
        let model = try OpenModel()
        let adapter = try decoder(model)
        let (given, asked) = (examples(12), examples(5, seed: 2))
        let empty = (0..<Self.prompts * Self.classes).map { 1 + 0.3 * Float($0) }
        let losses = try FewShot.fit(
            adapters: [adapter], scores: given.scores, hidden: given.hidden, labels: given.labels, emptyScores: empty)
        #expect(losses.last! < losses[0])
        for prompt in 0..<Self.prompts {
            let own = empty[prompt * Self.classes..<(prompt + 1) * Self.classes]
            let mean = own.reduce(0, +) / Float(Self.classes)
            let found = adapter.parameters["calibration"]!.floats[prompt * Self.classes..<(prompt + 1) * Self.classes]
            #expect(distance(Array(found), own.map { $0 / mean }) < 1e-6)
        }
        #expect(adapter.parameters["score_weight"]!.floats == [0.25], "one over 4 examples per class")
        let found = try classScores(adapters: [adapter], scores: asked.scores, hidden: asked.hidden)
        // Some dozens of f32 roundings of numbers below 8.
        #expect(distance(found, expected(adapter, asked)) < 1e-5)
    }

    @Test func whatIsRefused() throws {
        let model = try OpenModel()
        let adapter = try decoder(model)
        let given = examples(6)
        expectError(.numeric, "the multi-prompting decoder divides scores", "class 2 of prompt 1 is 0") {
            try FewShot.fit(
                adapters: [adapter], scores: given.scores, hidden: given.hidden, labels: given.labels,
                emptyScores: [1, 1, 1, 1, 1, 0])
        }
        expectError(.invalidArgument, "option \"prototypes\"") { try decoder(model, ["prototypes": 0]) }
        expectError(.invalidArgument, "needs at least 2 classes") {
            try Adapter(backbone: model.backbone, id: "multi-prompting-decoder", classes: 0)
        }
    }
}
