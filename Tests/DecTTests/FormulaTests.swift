import Engine
import FewShot
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// Scores and starting values against the formulas in f64, for every option.
@Suite struct FormulaTests {
    static let options: [JSON] = [
        ["projection_width": 8], ["projection_width": 1], ["projection_width": 8, "lambda": 0.7],
        ["projection_width": 8, "calibration": false], ["projection_width": 8, "radii": false],
        ["projection_width": 8, "model_scores": false], ["train_prototypes": true],
        ["radii": false, "model_scores": false],
    ]

    private func values(_ adapter: Adapter, _ name: String) -> [Double]? {
        adapter.parameters[name]?.floats.map(Double.init)
    }

    private func project(_ h: ArraySlice<Double>, _ w: [Double]) -> [Double] {
        stride(from: 0, to: w.count, by: h.count).map { row in zip(w[row...], h).map { $0 * $1 }.reduce(0, +) }
    }

    private func length(_ x: [Double]) -> Double { x.map { $0 * $0 }.reduce(0, +).squareRoot() }

    private func expected(_ adapter: Adapter, _ given: ClassExamples) -> [Float] {
        let (w, z) = (values(adapter, "projection")!, values(adapter, "prototypes")!)
        let (c, lambda) = (values(adapter, "calibration")!, values(adapter, "model_weight")![0])
        let radii = values(adapter, "radii") ?? [Double](repeating: 0, count: given.classes)
        let (hidden, scores) = (given.hidden.map(Double.init), given.scores.map(Double.init))
        return given.labels.indices.flatMap { row in
            let projected = project(hidden[row * given.width..<(row + 1) * given.width], w)
            let size = max(length(projected), 1e-12)
            return (0..<given.classes).map { k in
                let apart = projected.indices.map { projected[$0] / size - z[k * projected.count + $0] }
                return Float(radii[k] - length(apart) + lambda * scores[row * given.classes + k] / c[k])
            }
        }
    }

    @Test(arguments: options) func scoresFollowTheFormula(_ options: JSON) throws {
        let model = try OpenModel()
        let adapter = try Adapter(backbone: model.backbone, id: "dect", options: options, classes: 3, seed: 4)
        var given = ClassExamples(11)
        // A state that W maps to 0 has no direction.
        for index in 0..<given.width { given.hidden[index] = 0 }
        for (index, name) in ["radii", "calibration"].enumerated() {
            if let tensor = adapter.parameters[name] { randomise(tensor, mean: 1, deviation: 0.2, seed: UInt64(index)) }
        }
        let found = try classScores(adapters: [adapter], scores: given.scores, hidden: given.hidden)
        // Some thirty f32 roundings of numbers below 8: 30 x 2^-24 x 8 = 1.5e-5.
        #expect(distance(found, expected(adapter, given)) < 1.5e-5)
    }

    @Test(arguments: options) func preparationFollowsTheFormula(_ options: JSON) throws {
        let model = try OpenModel()
        let adapter = try Adapter(backbone: model.backbone, id: "dect", options: options, classes: 3, seed: 4)
        let given = ClassExamples(10)
        try train(adapter, given, learningRate: 0)

        let weight = values(adapter, "model_weight")![0]
        switch (options["model_scores"]?.boolValue, options["lambda"]?.doubleValue) {
        case (false, _): #expect(weight == 0)
        case (_, let lambda?): #expect(Float(weight) == Float(lambda))
        default: #expect(Float(weight) == 0.3, "3 classes of 10 examples")
        }
        let mean = given.emptyScores.map(Double.init).reduce(0, +) / 3
        let isCalibrated = options["calibration"] != false && options["model_scores"] != false
        let scale = isCalibrated ? given.emptyScores.map { Float(Double($0) / mean) } : [1, 1, 1]
        #expect(distance(adapter.parameters["calibration"]!.floats, scale) < 1e-6)
        guard let radii = adapter.parameters["radii"] else {
            #expect(options["radii"] == false)
            return
        }
        let w = values(adapter, "projection")!
        let projected = (0..<10).map { project(given.hidden.map(Double.init)[$0 * 16..<($0 + 1) * 16], w) }
        let wanted = (0..<3).map { k in
            let own = projected.indices.filter { given.labels[$0] == k }.map { projected[$0] }
            let centre = own[0].indices.map { axis in own.map { $0[axis] }.reduce(0, +) / Double(own.count) }
            return Float(own.map { length(zip($0, centre).map { $0 - $1 }) }.reduce(0, +) / Double(own.count))
        }
        #expect(distance(radii.floats, wanted) < 1e-5)
        #expect(wanted.min()! > 0.1, "they matter")
    }

    @Test func aSecondFitForgetsTheCalibrationOfTheFirst() throws {
        let model = try OpenModel()
        let adapter = try Adapter(backbone: model.backbone, id: "dect", classes: 3)
        var given = ClassExamples(6)
        try train(adapter, given, learningRate: 0)
        #expect(adapter.parameters["calibration"]!.floats != [1, 1, 1])
        _ = try fit(adapters: [adapter], scores: given.scores, hidden: given.hidden, labels: given.labels)
        #expect(adapter.parameters["calibration"]!.floats == [1, 1, 1])
        given.emptyScores = [-1, -1, -1]
        try train(adapter, given)
        #expect(adapter.parameters["calibration"]!.floats == [1, 1, 1])
    }
}

/// A fit with all that the examples hold.
@discardableResult
func train(_ adapter: Adapter, _ given: ClassExamples, learningRate: Double = 0.01) throws -> [Double] {
    var options = HeadTrainingOptions()
    options.learningRate = learningRate
    return try fit(
        adapters: [adapter], scores: given.scores, hidden: given.hidden, labels: given.labels,
        emptyScores: given.emptyScores, options: options)
}
