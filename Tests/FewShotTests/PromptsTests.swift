import Datasets
import Engine
import FewShot
import Files
import Glibc
import SeamHost
import Support
import TestSupport
import Testing

/// Adapters on decoder.output that read the answers to several prompts about each text (Fixtures/prompts-plugin).
@Suite struct PromptsTests {
    private let model: OpenModel
    private let count = 5
    private let prompts = 3
    private let classes = 2
    private let width = 16
    private let scores, hidden: [Float]
    private let labels: [Int32] = [0, 1, 1, 0, 1]
    private let emptyScores: [Float] = [-1, 0.5, 2, 3, -0.25, 1]

    init() throws {
        model = try OpenModel()
        try model.runtime.loadPlugin(try compilePlugin("prompts-plugin/prompts.c", into: model.scratch.path))
        var random = SeededGenerator(seed: 7, stream: "prompts")
        scores = (0..<5 * 3 * 2).map { _ in Float(2 * random.normal()) }
        hidden = (0..<5 * 3 * 16).map { _ in Float(random.normal()) }
    }

    private func adapter(_ id: String, prompts: Int? = nil) throws -> Adapter {
        try Adapter(backbone: model.backbone, id: id, classes: classes, prompts: prompts ?? self.prompts)
    }

    private func train(_ adapters: [Adapter], epochs: Int = 1, rate: Double = 0.01, prepares: Bool = false) throws
        -> [Double]
    {
        var options = HeadTrainingOptions()
        (options.epochs, options.learningRate, options.prepares) = (epochs, rate, prepares)
        return try fit(
            adapters: adapters, scores: scores, hidden: hidden, labels: labels, emptyScores: emptyScores,
            options: options)
    }

    /// Logarithms of the probabilities of each prompt of each text, in f64.
    private func logProbabilities(_ text: Int, _ prompt: Int) -> [Double] {
        let start = (text * prompts + prompt) * classes
        let own = scores[start..<start + classes].map(Double.init)
        let total = log(own.reduce(0) { $0 + exp($1) })
        return own.map { $0 - total }
    }

    /// Sums of three f32 numbers below 10.
    @Test func theMeanOverThePrompts() throws {
        let found = try classScores(adapters: [try adapter("test-prompt-mean")], scores: scores, hidden: hidden)
        let wanted = (0..<count).flatMap { text in
            (0..<classes).map { k in
                Float((0..<prompts).reduce(0.0) { $0 + logProbabilities(text, $1)[k] } / Double(prompts))
            }
        }
        #expect(found.count == count * classes && distance(found, wanted) < 1e-5)
    }

    /// The loss of the weighing adapter in f64.
    private func loss(_ weights: [Double], _ projection: [Double]) -> Double {
        let powers = weights.map { exp($0) }
        let sum = powers.reduce(0, +)
        let losses = (0..<count).map { text -> Double in
            let out = (0..<classes).map { k -> Double in
                let own = (0..<prompts).reduce(0.0) { $0 + powers[$1] / sum * logProbabilities(text, $1)[k] }
                return (0..<width).reduce(own) { total, column in
                    let mean = (0..<prompts).reduce(0.0) {
                        $0 + Double(hidden[(text * prompts + $1) * width + column]) / Double(prompts)
                    }
                    return total + mean * projection[k * width + column]
                }
            }
            return log(out.reduce(0) { $0 + exp($1) }) - out[Int(labels[text])]
        }
        return losses.reduce(0, +) / Double(count)
    }

    /// The first update of Adam with a large epsilon and rate is the gradient itself. Finite differences in f64 against f32: 1e-4 of gradients near 0.1.
    @Test func gradientsAreThoseOfFiniteDifferences() throws {
        let adapter = try adapter("test-prompt-weights")
        var random = SeededGenerator(seed: 8, stream: "weights")
        let start = ["weights": prompts, "projection": classes * width].mapValues { count in
            (0..<count).map { _ in Float(0.3 * random.normal()) }
        }
        for (name, values) in start { adapter.parameters[name]!.assign(values) }
        var options = HeadTrainingOptions()
        (options.epochs, options.prepares) = (1, false)
        // The first update is rate * g / (|g| + epsilon): with these g itself, but for 1e-4 of it.
        (options.learningRate, options.optimizer.epsilon) = (1e4, 1e4)
        let losses = try fit(
            adapters: [adapter], scores: scores, hidden: hidden, labels: labels, options: options)
        let (weights, projection) = (start["weights"]!.map(Double.init), start["projection"]!.map(Double.init))
        #expect(abs(losses[0] - loss(weights, projection)) < 1e-5)
        func difference(_ change: (Double) -> Double) -> Double { (change(1e-4) - change(-1e-4)) / 2e-4 }
        var largest = 0.0
        for (name, values) in start {
            let found = adapter.parameters[name]!.floats
            for index in values.indices {
                let expected = difference { step in
                    var (weights, projection) = (weights, projection)
                    if name == "weights" { weights[index] += step } else { projection[index] += step }
                    return loss(weights, projection)
                }
                largest = max(largest, abs(expected))
                #expect(abs(Double(values[index] - found[index]) - expected) < 1e-4, "\(name) \(index)")
            }
        }
        #expect(largest > 0.05)
    }

    @Test func startsFromTheExamplesOfAllPrompts() throws {
        let adapter = try adapter("test-prompt-weights")
        let losses = try train([adapter], epochs: 20, rate: 0, prepares: true)
        let means = (0..<prompts).map { prompt in
            (0..<count).reduce(Float(0)) { sum, text in
                let place = (text * prompts + prompt) * classes
                return sum + (scores[place] + scores[place + 1]) / Float(count * classes)
            }
        }
        #expect(distance(adapter.parameters["weights"]!.floats, means) < 1e-5)
        #expect(adapter.parameters["empty"]!.floats == emptyScores)
        #expect(losses.count == 20)
        let trained = try train([adapter], epochs: 20, rate: 0.05)
        #expect(trained.last! < trained[0] - 0.05)
    }

    /// What leaves it goes on as the answer to one prompt, with the mean of the hidden states.
    @Test func anAdapterOfOnePromptBehindIt() throws {
        let first = try adapter("test-prompt-mean")
        let head = try Adapter(backbone: model.backbone, id: "dect", classes: classes)
        let losses = try train([first, head], epochs: 10, prepares: true)
        #expect(losses.last! < losses[0])
        let averaged = try classScores(adapters: [first], scores: scores, hidden: hidden)
        let hiddenMean = (0..<count * width).map { place -> Float in
            let (text, column) = (place / width, place % width)
            return (0..<prompts).reduce(0) { $0 + hidden[(text * prompts + $1) * width + column] } / Float(prompts)
        }
        let alone = try classScores(adapters: [head], scores: averaged, hidden: hiddenMean)
        let both = try classScores(adapters: [first, head], scores: scores, hidden: hidden)
        #expect(distance(both, alone) < 1e-5)
    }

    @Test func onePromptHasItsAxisToo() throws {
        let adapter = try adapter("test-prompt-mean", prompts: 1)
        let found = try classScores(adapters: [adapter], scores: scores, hidden: Array(repeating: 0, count: 15 * 16))
        let wanted = (0..<15).flatMap { logProbabilities($0 / prompts, $0 % prompts).map { Float($0) } }
        #expect(distance(found, wanted) < 1e-5)
    }

    @Test func savedWithItsPrompts() throws {
        let adapter = try adapter("test-prompt-weights")
        adapter.parameters["weights"]!.assign([1, 2, -1])
        try AdapterFolder.save(
            adapter, backbone: model.backbone, isBackboneTrained: false, notes: "", to: model.scratch["saved"])
        #expect(try JSON.read(model.scratch["saved/adapter_config.json"])["prompts"] == 3)
        let loaded = try AdapterFolder.load(model.scratch["saved"], backbone: model.backbone)
        #expect(loaded.prompts == 3)
        #expect(
            try classScores(adapters: [loaded], scores: scores, hidden: hidden)
                == classScores(adapters: [adapter], scores: scores, hidden: hidden))
        let one = try Adapter(backbone: model.backbone, id: "dect", classes: 2)
        try AdapterFolder.save(
            one, backbone: model.backbone, isBackboneTrained: false, notes: "", to: model.scratch["one"])
        #expect(try JSON.read(model.scratch["one/adapter_config.json"])["prompts"] == nil)
    }

    @Test func whatDoesNotFitIsRefused() throws {
        expectError(.unsupported, "adapter \"dect\" on decoder.output reads one prompt about each text, found 2") {
            try adapter("dect", prompts: 2)
        }
        expectError(.invalidArgument, "the number of prompts must be 1 ... 1048576, found 0") {
            try adapter("test-prompt-mean", prompts: 0)
        }
        let three = try adapter("test-prompt-weights")
        expectError(.incompatible, "adapter 1 was made for 3 prompts, and behind the first adapter there is one") {
            try classScores(adapters: [try adapter("test-prompt-mean"), three], scores: scores, hidden: hidden)
        }
        expectError(.shape, "scores must hold 5 x 3 x 2 = 30 numbers, found 31") {
            try fit(adapters: [three], scores: scores + [0], hidden: hidden, labels: labels)
        }
        expectError(.shape, "hidden must hold 5 x 3 x 16 = 240 numbers, found 0") {
            try fit(adapters: [three], scores: scores, hidden: [], labels: labels)
        }
        expectError(.shape, "the scores of an empty text must be 6 numbers, found 2") {
            try fit(adapters: [three], scores: scores, hidden: hidden, labels: labels, emptyScores: [0, 0])
        }
        var wrong = scores
        wrong[9] = .nan
        expectError(.numeric, "scores of example 1 must be finite, found NaN or infinity at column 1 of prompt 1") {
            try fit(adapters: [three], scores: wrong, hidden: hidden, labels: labels)
        }
        let encoder = try OpenModel(TinyModel(.bert))
        try encoder.runtime.loadPlugin(try compilePlugin("prompts-plugin/prompts.c", into: encoder.scratch.path))
        let other = try Adapter(backbone: encoder.backbone, id: "test-prompt-mean", classes: 2, prompts: 3)
        expectError(.unsupported, "was made for 3 prompts, and a text in a session has one") {
            try encoder.session.attach(other)
        }
        try encoder.session.attach(
            try Adapter(backbone: encoder.backbone, id: "test-prompt-mean", classes: 2, prompts: 1))
    }

    // MARK: Tasks

    private func task(_ templates: String) throws -> ClassificationTask {
        let text = "{\(templates), \"labels\": {\"a\": \"x\", \"b\": [\"y\", \"z\"]}}"
        return try ClassificationTask(try JSON.parse(text, name: "task"), name: "task")
    }

    @Test func tasksOfSeveralPrompts() throws {
        let two = try task("\"templates\": [\"{text} one\", \"{text} two\"]")
        #expect(two.templates.map(\.source) == ["{text} one", "{text} two"])
        #expect(try ClassificationTask(two.json, name: "task").json == two.json)
        let one = try task("\"templates\": [\"{text} one\"]")
        #expect(one.json["template"] == "{text} one" && one.json["templates"] == nil)
        expectError(.format, "\"template\" and \"templates\" are both there") {
            try task("\"template\": \"{text}\", \"templates\": [\"{text} one\"]")
        }
        expectError(.invalidArgument, "a task must have 1 ... 1000 templates, found 0") {
            try task("\"templates\": []")
        }
        expectError(.invalidArgument, "the template \"{text}\" is given twice") {
            try task("\"templates\": [\"{text}\", \"{text}\"]")
        }
        expectError(.invalidArgument, "all templates of a task must have {text_b} or none") {
            try task("\"templates\": [\"{text}\", \"{text} {text_b}\"]")
        }
        expectError(.format, "\"templates\" must be strings, found an integer") { try task("\"templates\": [1]") }
    }

    /// Each prompt has a source and a cache of its own; a text is asked for once with each.
    @Test func eachPromptIsAskedOnce() throws {
        let task = try task("\"templates\": [\"{text} one\", \"{text} two\"]")
        func sources() -> [FakeAnswers] {
            [FakeAnswers(words: 3), FakeAnswers(words: 3) { text in [Float(text.utf8.count), 100] }]
        }
        let cache = model.scratch["cache"]
        let first = sources()
        let extractor = try FeatureExtractor(task: task, sources: first, cacheFolder: cache)
        var told: [[Int]] = []
        let texts = [InputText("a"), InputText("bcd"), InputText("a")]
        let features = try extractor.features(of: texts) {
            told.append([$0, $1])
            return true
        }
        #expect(first.map(\.queryCount) == [2, 2] && extractor.queryCount == 4)
        #expect(told.first == [0, 4] && told.last == [4, 4])
        #expect((features.count, features.prompts, features.classes) == (3, 2, 2))
        // FakeAnswers gives the words of a text of n letters n, n - 1 and n - 2.
        #expect(features.scores == [1, 0, 1, 0, 3, 2, 3, 2, 1, 0, 1, 0])
        #expect(features.hidden == [1, 1.25, 1, 100, 3, 3.25, 3, 100, 1, 1.25, 1, 100])
        #expect(features.averaged.hidden == [1, 50.625, 3, 51.625, 1, 50.625] && features.averaged.prompts == 1)
        let second = sources()
        let again = try FeatureExtractor(task: task, sources: second, cacheFolder: cache)
        #expect(try again.features(of: texts).hidden == features.hidden && again.queryCount == 0)
        expectError(.invalidArgument, "a task of 2 prompts needs as many sources of answers, found 1") {
            try FeatureExtractor(task: task, sources: [first[0]])
        }
        let classifier = Classifier(extractor: extractor)
        #expect(try classifier.scores(texts) == [1, 0, 3, 2, 1, 0], "the mean without an adapter")
        expectError(.incompatible, "was made for 1 prompt about each text, the task has 2") {
            try classifier.attach(try adapter("dect", prompts: 1))
        }
    }
}
