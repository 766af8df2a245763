import Engine
import FewShot
import Files
import Glibc
import Support
import TestSupport
import Testing

/// A data set with what scikit-learn makes of it (Fixtures/make_classifier_fixtures.py).
struct ModelCase: Sendable, CustomTestStringConvertible {
    let json: JSON
    var testDescription: String { json["name"]?.stringValue ?? "" }
    var classes: Int { json["classes"]?.intValue ?? 0 }
    var width: Int { json["width"]?.intValue ?? 0 }

    /// NaN where it is missing, which no comparison takes.
    func double(_ key: String) -> Double { json[key]?.doubleValue ?? .nan }
    func doubles(_ key: String) -> [Double] { json[key]?.arrayValue?.compactMap(\.doubleValue) ?? [] }
    func floats(_ key: String) -> [Float] { doubles(key).map { Float($0) } }
    func integers(_ key: String) -> [Int] { json[key]?.arrayValue?.compactMap(\.intValue) ?? [] }

    static func all(_ group: String) -> [ModelCase] {
        let path = FileSystem.join(FileSystem.parent(#filePath), "Fixtures", "classifier_fixtures.json")
        let cases = (try? JSON.read(path))?[group]?.arrayValue ?? []
        return cases.map { ModelCase(json: $0) }
    }
}

@Suite struct ClassifierTests {
    @Test func theFixturesAreThere() {
        #expect(ModelCase.all("models").count == 9)
        #expect(ModelCase.all("metrics").count == 7)
    }

    /// Tolerance 3e-3 of the largest coefficient: f32 products against f64, whose sums run in another order in each of the
    /// BLAS kernels (1.1e-3 with AVX-512, below 1e-3 with AVX2).
    @Test(arguments: ModelCase.all("models")) func logisticRegression(_ fixture: ModelCase) throws {
        var options = LogisticRegression.Options()
        options.c = fixture.double("c")
        options.standardize = fixture.json["standardize"]?.boolValue ?? false
        let features = fixture.floats("features")
        let model = try LogisticRegression(
            features: features, labels: fixture.integers("labels"), classes: fixture.classes, width: fixture.width,
            options: options)
        var coefficients = model.coefficients
        var intercepts = model.intercepts
        if fixture.classes == 2 {
            let width = fixture.width
            coefficients = (0..<width).map { coefficients[width + $0] - coefficients[$0] }
            intercepts = [intercepts[1] - intercepts[0]]
        }
        let expected = fixture.doubles("coefficients")
        // Features of different sizes have coefficients of different sizes: compared in each column.
        for column in 0..<fixture.width {
            let rows = stride(from: column, to: expected.count, by: fixture.width)
            let largest = rows.map { abs(expected[$0]) }.max() ?? 0
            for place in rows { #expect(abs(Double(coefficients[place]) - expected[place]) <= 3e-3 * largest) }
        }
        #expect(coefficients.count == expected.count)
        let offsets = fixture.doubles("intercepts")
        let scale = (offsets.map(abs).max() ?? 0) + 1
        for (found, expected) in zip(intercepts, offsets) { #expect(abs(Double(found) - expected) <= 1e-3 * scale) }
        #expect(model.converged)
        #expect(try model.predictions(fixture.floats("held_out")) == fixture.integers("predictions"))
    }

    @Test(arguments: ModelCase.all("models")) func nearestClassMean(_ fixture: ModelCase) throws {
        let model = try NearestClassMean(
            features: fixture.floats("features"), labels: fixture.integers("labels"), classes: fixture.classes,
            width: fixture.width)
        #expect(distance(model.means, fixture.floats("centroids")) <= 1e-5 * 1000)
        #expect(try model.predictions(fixture.floats("held_out")) == fixture.integers("nearest"))
    }

    /// At the minimum the gradient vanishes; it is computed here in f64 from features whose mean is far from zero and
    /// whose deviations are 0.1 and 100. Tolerance 1e-4 of the size of a term in each of its sums.
    @Test func aLargeBadlyScaledProblemConverges() throws {
        let (count, width, classes) = (2000, 48, 20)
        var random = SeededGenerator(seed: 3)
        let centres = (0..<classes * width).map { _ in random.normal() }
        let scales = (0..<width).map { $0 % 7 == 0 ? 100.0 : 0.1 }
        let labels = (0..<count).map { $0 % classes }
        var features: [Float] = []
        for label in labels {
            for column in 0..<width {
                let value = centres[label * width + column] + 2 * random.normal()
                features.append(Float(300 + scales[column] * value))
            }
        }
        let model = try LogisticRegression(features: features, labels: labels, classes: classes, width: width)
        #expect(model.converged)
        let logits = try model.scores(features)
        var gradient = model.coefficients.map { Double($0) }
        for row in 0..<count {
            let powers = logits[row * classes..<(row + 1) * classes].map { exp(Double($0)) }
            let sum = powers.reduce(0, +)
            for label in 0..<classes {
                let target: Double = label == labels[row] ? 1 : 0
                let slope = powers[label] / sum - target
                for column in 0..<width {
                    let feature = Double(features[row * width + column]) - 300
                    gradient[label * width + column] += slope * feature
                }
            }
        }
        for (place, slope) in gradient.enumerated() {
            #expect(abs(slope) <= 1e-4 * Double(count) * scales[place % width])
        }
        let largest = model.intercepts.map(abs).max() ?? 0
        #expect(abs(model.intercepts.reduce(0, +)) < 1e-3 * largest)
    }

    @Test func separableDataOfAnySizeStaysFinite() throws {
        for scale: Float in [1e-20, 1, 1e15] {
            let features: [Float] = [-2 * scale, -scale, scale, 2 * scale]
            let model = try LogisticRegression(features: features, labels: [0, 0, 1, 1], classes: 2, width: 1)
            let values = model.coefficients + model.intercepts
            #expect(values.allSatisfy { $0.isFinite })
            if scale >= 1 { #expect(try model.predictions(features) == [0, 0, 1, 1]) }
        }
        let constant = try LogisticRegression(
            features: [5, 5, 5, 5], labels: [0, 1, 1, 1], classes: 2, width: 1)
        #expect(constant.coefficients == [0, 0])
        let odds = Double(constant.intercepts[1] - constant.intercepts[0])
        #expect(abs(odds - log(3.0)) < 1e-4)
    }

    @Test func mistakesAreExplained() throws {
        func fit(_ features: [Float], _ labels: [Int], classes: Int = 2, width: Int = 1) throws {
            _ = try NearestClassMean(features: features, labels: labels, classes: classes, width: width)
        }
        expectError(.shape, "features", "2 x 1", "3") { try fit([1, 2, 3], [0, 1]) }
        expectError(.numeric, "features", "row 1", "nan") { try fit([1, .nan], [0, 1]) }
        expectError(.invalidArgument, "labels", "0 to 1", "2") { try fit([1, 2], [0, 2]) }
        expectError(.invalidArgument, "class 1", "no examples") { try fit([1, 2], [0, 0]) }
        expectError(.invalidArgument, "classes", "1") { try fit([1, 2], [0, 0], classes: 1) }
        expectError(.shape, "width", "0") { try fit([], [], width: 0) }
        let model = try NearestClassMean(features: [0, 0, 1, 1], labels: [0, 1], classes: 2, width: 2)
        #expect(try model.predictions([0.4, 0.4, 0.6, 0.6, 0.5, 0.5]) == [0, 1, 0])
        #expect(try model.predictions([]) == [])
        expectError(.shape, "features", "3") { try model.scores([1, 2, 3]) }
        expectError(.numeric, "row 0, column 1", "inf") { try model.scores([1, .infinity]) }
        var options = LogisticRegression.Options()
        options.c = 0
        expectError(.invalidArgument, "c above 0") {
            try LogisticRegression(features: [0, 1], labels: [0, 1], classes: 2, width: 1, options: options)
        }
        options.c = 1
        options.maximumIterations = 0
        let unfinished = try LogisticRegression(
            features: [0, 9], labels: [0, 1], classes: 2, width: 1, options: options)
        #expect(!unfinished.converged)
    }
}

@Suite struct ZeroShotTests {
    @Test func calibrationDividesByTheEmptyInput() throws {
        // 0.5 / (0.1 / 0.2), 0.3 / (0.3 / 0.2), ...
        let scores = try ZeroShot.calibrated([0.5, 0.3, 0.2, 0.6], empty: [0.1, 0.3])
        for (found, expected) in zip(scores, [1.0, 0.2, 0.4, 0.4]) { #expect(abs(Double(found) - expected) < 1e-6) }
        #expect(try ZeroShot.predictions([0.5, 0.3, 0.2, 0.6, 1, 1], classes: 2) == [0, 1, 0])
    }

    @Test func mistakesAreExplained() {
        expectError(.numeric, "empty", "0.0", "column 1") { try ZeroShot.calibrated([1, 1], empty: [1, 0]) }
        expectError(.shape, "empty") { try ZeroShot.calibrated([1], empty: []) }
        expectError(.shape, "scores", "3") { try ZeroShot.calibrated([1, 1, 1], empty: [1, 1]) }
        expectError(.numeric, "scores", "row 1, column 0") { try ZeroShot.predictions([1, 2, .nan, 2], classes: 2) }
        expectError(.shape, "classes", "0") { try ZeroShot.predictions([1], classes: 0) }
    }
}

@Suite struct ClassificationMetricsTests {
    /// f64 sums in another order: 1e-12.
    @Test(arguments: ModelCase.all("metrics")) func metrics(_ fixture: ModelCase) throws {
        let metrics = try ClassificationMetrics(
            predictions: fixture.integers("predictions"), labels: fixture.integers("labels"), classes: fixture.classes)
        #expect(abs(metrics.accuracy - fixture.double("accuracy")) < 1e-12)
        #expect(abs(metrics.macroF1 - fixture.double("macro_f1")) < 1e-12)
        let rows = fixture.json["confusion"]?.arrayValue ?? []
        let confusion = rows.map { $0.arrayValue?.compactMap(\.intValue) ?? [] }
        #expect(metrics.confusion == confusion)
    }

    @Test(arguments: ModelCase.all("spreads")) func spreads(_ fixture: ModelCase) throws {
        let spread = try Spread(fixture.doubles("values"))
        #expect(abs(spread.mean - fixture.double("mean")) < 1e-12)
        let deviation = try #require(spread.deviation)
        #expect(abs(deviation - fixture.double("sd")) < 1e-12)
    }

    @Test func mistakesAreExplained() throws {
        #expect(try Spread([3]).deviation == nil)
        expectError(.invalidArgument, "values") { try Spread([]) }
        expectError(.numeric, "values", "nan") { try Spread([1, .nan]) }
        expectError(.shape, "2", "1 labels") {
            try ClassificationMetrics(predictions: [0, 1], labels: [0], classes: 2)
        }
        expectError(.shape, "0 labels") { try ClassificationMetrics(predictions: [], labels: [], classes: 2) }
        expectError(.invalidArgument, "row 1", "0 to 1", "2") {
            try ClassificationMetrics(predictions: [0, 2], labels: [0, 0], classes: 2)
        }
    }
}
