import Engine
import Files
import Glibc
import SeamHost
import Support
import TestSupport
import Testing
import Trainer

/// Classifications by a head on an encoder-only model: data, training, folding and what is recorded.
@Suite struct ClassificationTests {
    /// Whether word 3 is in the text, or word 4.
    static func data(_ count: Int, seed: UInt64 = 1) -> TokenPairs {
        let words = makePairs(count, seed: seed).sources
        let classes = (0..<count).map { Int32($0 % 2) }
        return TokenPairs(
            sources: zip(words, classes).map { words, label in [3 + label] + words.map { max($0, 5) } },
            classes: classes)
    }

    static func fixture(
        _ spec: String = "prefix-tuning+gate", _ options: [String] = ["prefix_length=3"], steps: Int = 30
    ) throws -> RunFixture {
        var fixture = try RunFixture(TinyModel(.bert), adapters: [])
        try AdapterComposition(parsing: spec, options: options, defaultHead: "linear-head", in: fixture.model.runtime)
            .attach(to: fixture.model.session, classes: 2, seed: 1)
        try fixture.model.session.nameClasses(["no", "yes"])
        (fixture.data, fixture.development) = (data(24), data(9, seed: 5))
        fixture.options.training.totalSteps = steps
        fixture.options.batchSize = 8
        return fixture
    }

    @Test func aHeadWithAPrefixLearns() throws {
        // The prefix itself: at this learning rate a network before it would saturate.
        let options = ["prefix_length=3", "reparameterization=none"]
        let fixture = try Self.fixture("prefix-tuning+gate", options, steps: 120)
        let before = try score(fixture.model.session, fixture.data, batchSize: 8)
        let result = try fixture.run()
        let after = try score(fixture.model.session, fixture.data, batchSize: 8)
        #expect(after.loss < before.loss - 0.1 && after.accuracy > 0.7)
        #expect(after.isClassification && after.unit == "example" && after.accuracyName == "accuracy")
        #expect(after.tokens == 24 && after.examples == 24)
        let log = try fixture.log()
        #expect(
            log.last?["accuracy"]?.doubleValue == result.development?.accuracy && log.last?["token_accuracy"] == nil)
        #expect(log.first?["tokens"] == 8)
        let svg = try FileSystem.readText(FileSystem.join(fixture.output, "loss.svg"))
        #expect(svg.contains("nats per example"))
        let path = try #require(result.adapterPath)
        #expect(
            try AdapterFolder.folders(in: path).map(FileSystem.baseName) == [
                "1-prefix-tuning", "2-gate", "3-linear-head",
            ])
        let card = try FileSystem.readText(FileSystem.join(path, "README.md"))
        #expect(card.contains("nats per example, accuracy "))
    }

    /// The probabilities against the loss and accuracy that scoring gives.
    @Test func probabilitiesAreThoseThatAreScored() throws {
        let fixture = try Self.fixture()
        let session = fixture.model.session
        for adapter in session.adapters { randomise(adapter) }
        let logarithms = try classLogProbabilities(session, fixture.data, batchSize: 5)
        var (loss, right) = (0.0, 0)
        for (row, label) in fixture.data.classes.enumerated() {
            let own = logarithms[2 * row..<2 * row + 2].map(Double.init)
            #expect(abs(exp(own[0]) + exp(own[1]) - 1) < 1e-6)
            loss -= own[Int(label)] / 24
            if own[Int(label)] > own[1 - Int(label)] { right += 1 }
        }
        let summary = try score(session, fixture.data, batchSize: 24)
        // The scores of another batch differ in their last bits.
        #expect(abs(summary.loss - loss) < 1e-5 && summary.accuracy == Double(right) / 24)
        expectError(.cancelled, "cancelled after 5 texts") {
            try classLogProbabilities(session, fixture.data, batchSize: 5) { _ in false }
        }
    }

    @Test func namesOfClassesAreSaved() throws {
        let fixture = try Self.fixture("none", [], steps: 1)
        let path = try #require(try fixture.run().adapterPath)
        #expect(try AdapterFolder.readConfig(path).task == ["schema": 1, "labels": ["no": [], "yes": []]])
        let session = Session(backbone: fixture.model.backbone)
        #expect(try session.classLabels == nil)
        for adapter in try AdapterFolder.loadAll(path, backbone: session.backbone) { try session.attach(adapter) }
        #expect(try session.classLabels == ["no", "yes"])
        expectError(.invalidArgument, "must have 2 names, each another, found no, no") {
            try session.nameClasses(["no", "no"])
        }
        session.adapters[0].task = ["labels": ["no", "yes"]]
        #expect(try session.classLabels == ["no", "yes"], "as they were saved before")
        session.adapters[0].task = ["labels": ["no"]]
        expectError(.format, "has 2 classes and names 1 of them") { try session.classLabels }
        session.adapters[0].task = ["labels": ["no", 1]]
        expectError(.format, "must be strings") { try session.classLabels }
        session.adapters[0].task = ["labels": ["no": ["bad"]], "template": "{text}"]
        #expect(try session.classLabels == nil, "a classification by prompts")
    }

    /// The tiny model has 32 positions, of which the prefix takes 3.
    @Test func whatDoesNotFitIsRefusedBeforeTheRun() throws {
        var fixture = try Self.fixture()
        let limits = fixture.model.session.textLimits
        #expect(limits.source == 29 && limits.target == 29)
        func text(_ count: Int) -> [Int32] { [Int32](repeating: 5, count: count) }
        fixture.data = TokenPairs(sources: [text(29), text(30)], classes: [0, 1])
        expectError(
            .invalidArgument, "example 2: the source must have at most 29 tokens", "beside the prefix, found 30"
        ) {
            try fixture.run()
        }
        fixture.data = TokenPairs(sources: [text(29), text(2)], classes: [0, 2])
        expectError(.invalidArgument, "example 2: the class must be 0 ... 1", "found 2") { try fixture.run() }
        let pairs = makePairs(2)
        fixture.data = Self.data(4)
        fixture.development = TokenPairs(sources: pairs.sources + [text(31)], targets: pairs.targets + [text(1)])
        expectError(.invalidArgument, "example 3") { try fixture.run() }
        #expect(!FileSystem.exists(fixture.output))
        fixture.data = TokenPairs(sources: [text(29), text(29)], classes: [0, 1])
        fixture.development = nil
        fixture.options.training.totalSteps = 1
        try fixture.run()

        let gpt = try OpenModel(TinyModel(.gpt2))
        try gpt.attach("prefix-tuning", ["prefix_length": 2])
        let long = TokenPairs(sources: [text(20)], targets: [text(11)])
        expectError(.invalidArgument, "the source and target must have at most 30 tokens", "found 31") {
            try score(gpt.session, long, batchSize: 1)
        }
        let bert = try OpenModel(TinyModel(.bert))
        expectError(.invalidArgument, "needs an adapter on decoder.output") {
            try score(bert.session, Self.data(2), batchSize: 1)
        }
    }

    // MARK: Folding

    @Test func aSavedPrefixIsFolded() throws {
        var fixture = try Self.fixture()
        let path = try #require(try fixture.run().adapterPath)
        let folders = try AdapterFolder.folders(in: path)
        let file = try SafetensorsFile(FileSystem.join(folders[0], AdapterFolder.weightsName))
        #expect(file.tensors.map(\.name) == ["encoder.prefix"])
        let trained = try classLogProbabilities(fixture.model.session, fixture.data, batchSize: 8)
        func reopened(_ path: String) throws -> Session {
            let session = Session(backbone: fixture.model.backbone)
            for adapter in try AdapterFolder.loadAll(path, backbone: session.backbone) { try session.attach(adapter) }
            return session
        }
        let session = try reopened(path)
        #expect(bitEqual(try classLogProbabilities(session, fixture.data, batchSize: 8), trained))

        // The folded adapter trains on.
        let before = try score(session, fixture.data, batchSize: 8).loss
        var options = fixture.options
        options.output = fixture.scratch["further"]
        let further = try TrainingRun(session: session, data: fixture.data, development: nil, options: options)
        #expect(try further.run(resumes: false, observe: { _ in }, shouldContinue: { true }).isComplete)
        #expect(try score(session, fixture.data, batchSize: 8).loss < before)

        fixture = try Self.fixture()
        fixture.options.keepsReparameterization = true
        let kept = try #require(try fixture.run().adapterPath)
        let names = try SafetensorsFile(
            FileSystem.join(try AdapterFolder.folders(in: kept)[0], AdapterFolder.weightsName)
        ).tensors.map(\.name)
        #expect(names.count > 1 && !names.contains("encoder.prefix"))
        #expect(bitEqual(try classLogProbabilities(try reopened(kept), fixture.data, batchSize: 8), trained))
    }

    // MARK: Recording

    private func recorded(_ fixture: RunFixture) throws -> [JSON] {
        try FileSystem.readText(FileSystem.join(fixture.output, "recorded.jsonl")).split(separator: "\n").map {
            try JSON.parse(String($0), name: "recorded.jsonl")
        }
    }

    @Test func theWeightsOfAGateAreRecorded() throws {
        let fixture = try Self.fixture("prefix-tuning+gate", ["prefix_length=3", "scope=token-layer"], steps: 7)
        try fixture.run()
        let entries = try recorded(fixture)
        #expect(entries.compactMap { $0["step"]?.intValue } == Array(1...7))
        for entry in entries {
            #expect(entry["adapter"] == "gate" && entry["method"] == "weights" && entry["position"] == 2)
            #expect(entry["shape"] == [2, 3] && entry["values"]?.arrayValue?.count == 6)
        }
        guard case .tensor(let weights) = try fixture.model.session.adapters[1].call("weights") else {
            throw SeamError(.internal, "no tensor")
        }
        #expect(entries.last?["values"] == .array(weights.floats.map { .double(Double($0)) }))
        #expect(try fixture.log().allSatisfy { $0["event"] != "recorded" })
        let svg = try FileSystem.readText(FileSystem.join(fixture.output, "gate-weights.svg"))
        #expect(svg.contains("<svg ") && svg.contains(">token<") && svg.contains(">step<"))
    }

    @Test func longRunsAreRecordedAboutAHundredTimes() throws {
        var fixture = try Self.fixture("prefix-tuning+gate", ["prefix_length=1"], steps: 250)
        (fixture.options.batchSize, fixture.development) = (1, nil)
        try fixture.run()
        let steps = try recorded(fixture).compactMap { $0["step"]?.intValue }
        #expect(steps == [1] + Array(stride(from: 3, through: 249, by: 3)) + [250])
    }

    @Test func aResumedRunKeepsWhatWasRecorded() throws {
        let whole = try Self.fixture(steps: 9)
        try whole.run()
        let first = try Self.fixture(steps: 9)
        try first.run(stopAt: 4)
        #expect(try recorded(first).count == 4)
        var second = try Self.fixture(steps: 9)
        second.options.output = first.output
        try second.run(resumes: true)
        let (found, expected) = (
            try ScratchFolder.contents(of: second.output), try ScratchFolder.contents(of: whole.output)
        )
        #expect(Set(found.keys) == Set(expected.keys))
        for (name, bytes) in expected { #expect(found[name] == bytes, "\(name)") }
        // Other classes are other data.
        let third = try Self.fixture(steps: 9)
        try third.run(stopAt: 2)
        var other = try Self.fixture(steps: 9)
        other.options.output = third.output
        other.data = TokenPairs(sources: other.data.sources, classes: other.data.classes.map { 1 - $0 })
        expectError(.invalidArgument, "the run was started with data") { try other.run(resumes: true) }
    }
}
