import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing
import Trainer

/// A run on a tiny model with pairs of several lengths.
struct RunFixture {
    let model: OpenModel
    let scratch: ScratchFolder
    var options: RunOptions
    var data: TokenPairs
    var development: TokenPairs?

    init(
        _ family: TinyModel = TinyModel(.marian), adapters: [JSON] = [["seed": "positions", "max_positions": 6]],
        trainsBackbone: Bool = false, seed: UInt64 = 0
    ) throws {
        model = try OpenModel(family)
        scratch = try ScratchFolder()
        for adapter in adapters { try model.attach("repcali", adapter, backboneFrozen: !trainsBackbone, seed: seed) }
        options = RunOptions(output: scratch["run"])
        options.training.totalSteps = 10
        options.training.learningRate = 0.02
        options.training.trainsBackbone = trainsBackbone
        options.training.schedule = .linear
        options.batchSize = 4
        options.seed = seed
        let (train, dev) = (makePairs(11), makePairs(5, seed: 2))
        data = TokenPairs(sources: train.sources, targets: train.targets)
        development = TokenPairs(sources: dev.sources, targets: dev.targets)
    }

    var output: String { options.output }

    /// - Parameter steps: stops there and leaves a checkpoint.
    @discardableResult
    func run(resumes: Bool = false, stopAt steps: Int = .max, observe: (RunEvent) throws -> Void = { _ in }) throws
        -> RunResult
    {
        let run = try TrainingRun(session: model.session, data: data, development: development, options: options)
        var done = 0
        return try run.run(
            resumes: resumes,
            observe: { event in
                if case .started(_, let first) = event { done = first }
                if case .step(let report, _, _) = event { done = report.step }
                try observe(event)
            }, shouldContinue: { done < steps })
    }

    func log() throws -> [JSON] {
        try FileSystem.readText(FileSystem.join(output, "log.jsonl")).split(separator: "\n").map {
            try JSON.parse(String($0), name: "log.jsonl")
        }
    }
}

@Suite struct TrainingRunTests {
    @Test func theOutputFolder() throws {
        var fixture = try RunFixture()
        fixture.options.evaluationInterval = 4
        fixture.options.notes = "- data: letters"
        var events: [String] = []
        let result = try fixture.run { event in
            switch event {
            case .started(let steps, let first): events.append("started \(steps) \(first)")
            case .step(let report, let total, let seconds):
                #expect(total == 10)
                #expect(seconds > 0)
                events.append("step \(report.step)")
            case .evaluated(let step, _): events.append("evaluated \(step)")
            case .checkpoint(let step, _): events.append("checkpoint \(step)")
            }
        }
        #expect(
            events == [
                "started 10 0", "step 1", "step 2", "step 3", "step 4", "evaluated 4", "step 5", "step 6", "step 7",
            ]
                + ["step 8", "evaluated 8", "step 9", "step 10", "evaluated 10"])
        #expect(result.isComplete && result.steps == 10 && result.backbonePath == nil)
        #expect(result.encodedExamples == 11)
        let path = try #require(result.adapterPath)
        #expect(path == FileSystem.join(fixture.output, "adapter"))
        #expect(Set(try FileSystem.list(fixture.output)) == ["adapter", "log.jsonl", "loss.svg"])
        #expect(
            Set(try FileSystem.list(path))
                == ["adapter_config.json", "adapter_model.safetensors", "README.md"])
        let card = try FileSystem.readText(FileSystem.join(path, "README.md"))
        for words in ["- data: letters", "- steps: 10, batch size 4, seed 0", "- development loss: "] {
            #expect(card.contains(words))
        }
        let loaded = try AdapterFolder.load(path, backbone: fixture.model.backbone)
        for (one, other) in zip(loaded.parameters.entries, fixture.model.session.adapters[0].parameters.entries) {
            #expect(bitEqual(one.tensor.floats, other.tensor.floats))
        }
        #expect(fixture.model.session.variables.isEmpty)
    }

    @Test func theLogAndThePlot() throws {
        var fixture = try RunFixture()
        fixture.options.evaluationInterval = 5
        let result = try fixture.run()
        let log = try fixture.log()
        let steps = log.filter { $0["event"] == "step" }
        let evaluations = log.filter { $0["event"] == "evaluation" }
        #expect(steps.count + evaluations.count == log.count)
        #expect(steps.compactMap { $0["step"]?.intValue } == Array(1...10))
        #expect(evaluations.compactMap { $0["step"]?.intValue } == [5, 10])
        for entry in steps {
            for key in ["loss", "grad_norm", "learning_rate"] { #expect(entry[key]?.doubleValue?.isFinite == true) }
        }
        // Epochs of three batches: 4, 4 and 3 examples; every epoch counts every label once.
        let tokens = steps.compactMap { $0["tokens"]?.intValue }
        let all = fixture.data.targets.map(\.count).reduce(0, +)
        for epoch in 0..<3 { #expect(tokens[3 * epoch..<3 * epoch + 3].reduce(0, +) == all) }
        #expect(evaluations.last?["loss"]?.doubleValue == result.development?.loss)
        #expect(steps.first?["learning_rate"] == .double(0.02))

        let svg = try FileSystem.readText(FileSystem.join(fixture.output, "loss.svg"))
        try expectWellFormed(svg)
        #expect(svg.contains("<svg xmlns=\"http://www.w3.org/2000/svg\""))
        #expect(svg.components("<polyline") == 3)
        #expect(!svg.contains("nan") && !svg.contains("inf"))
    }

    /// Every line says the revision that it is of: a later version may go on with the file.
    @Test func aLogIsReadAsItWasWritten() throws {
        let fixture = try RunFixture()
        _ = try fixture.run()
        let log = try fixture.log()
        #expect(!log.isEmpty && log.allSatisfy { $0["schema"] == 1 })
        let entries = try RunFolder.logEntries(in: fixture.output)
        #expect(entries.count == log.count)
        #expect(
            entries.compactMap(\.trainingLoss)
                == log.compactMap { $0["event"] == "step" ? $0["loss"]?.doubleValue : nil })
        let path = FileSystem.join(fixture.output, "log.jsonl")
        let step = #"{"event":"step","step":1,"loss":2.5,"grad_norm":1.0,"learning_rate":0.1,"tokens":6}"#
        func refuse(_ code: ErrorCode, _ sentence: String, _ line: String) throws {
            try FileSystem.atomicWriteFile(path, text: step + "\n" + line + "\n")
            expectError(code, "log.jsonl: " + sentence) { try RunFolder.logEntries(in: fixture.output) }
        }
        try refuse(.incompatible, "schema must be 1, which this version reads, found 2", #"{"schema":2}"#)
        try refuse(.format, "\"loss\" is missing, it must be a number", #"{"event":"step","step":1}"#)
        try refuse(
            .format, "\"event\" must be one of step, evaluation, recorded, saved, found \"end\"", #"{"event":"end"}"#)
    }

    @Test func plotsOfAnythingAreWellFormed() throws {
        var plot = LossPlot(title: "a < b & \"c\" > d")
        try expectWellFormed(plot.svg)
        plot.training = [.init(step: 1, loss: 2)]
        try expectWellFormed(plot.svg)
        plot.training = (1...100).map {
            .init(step: $0, loss: $0 == 50 ? .infinity : $0 == 60 ? .nan : 1e-9 * Double($0))
        }
        plot.development = [.init(step: 100, loss: 1e6)]
        try expectWellFormed(plot.svg)
        #expect(!plot.svg.contains("nan") && !plot.svg.contains("inf"))
    }

    @Test func severalAdaptersAndTheBackbone() throws {
        var fixture = try RunFixture(adapters: [["lambda": 0.5], ["norm": "none"]], trainsBackbone: true)
        fixture.options.training.backboneLearningRate = 0.01
        let result = try fixture.run()
        #expect(
            Set(try FileSystem.list(fixture.output)) == ["adapter", "backbone", "log.jsonl", "loss.svg"])
        #expect(result.encodedExamples == nil)
        let batch = try Batch(sources: [[3, 4, 1]], targets: [[5, 1]], info: fixture.model.info)
        let expected = try fixture.model.logits(batch)
        // A new session from the folders alone.
        let log = Log(fixture.model.runtime)
        let saved = try #require(result.backbonePath)
        let backbone = try Backbone(runtime: fixture.model.runtime, path: saved)
        let session = Session(backbone: backbone)
        for adapter in try AdapterFolder.loadAll(try #require(result.adapterPath), backbone: backbone) {
            try session.attach(adapter)
        }
        let context = session.makeContext(recordsGradients: false)
        #expect(bitEqual(try context.contiguous(try session.forward(context, batch).logits).floats, expected))
        #expect(log.warnings.isEmpty, "the adapters belong to the saved backbone")
    }

    @Test func equalSeedsGiveEqualBytes() throws {
        func bytes(seed: UInt64, initialisation: UInt64) throws -> [String: [UInt8]] {
            var fixture = try RunFixture(adapters: [["initialization": "paper"]], seed: initialisation)
            fixture.options.seed = seed
            return try ScratchFolder.contents(of: try #require(try fixture.run().adapterPath))
        }
        let first = try bytes(seed: 1, initialisation: 1)
        #expect(try bytes(seed: 1, initialisation: 1) == first)
        let name = AdapterFolder.weightsName
        #expect(try bytes(seed: 2, initialisation: 1)[name] != first[name], "another order of examples")
        #expect(try bytes(seed: 1, initialisation: 2)[name] != first[name], "other initial values")
    }

    @Test func aLossThatIsNotFiniteStopsAndKeepsTheLogOnly() throws {
        var fixture = try RunFixture(adapters: [["norm": "none"]])
        fixture.options.training.learningRate = 1e38
        fixture.options.training.schedule = .constant
        expectError(.numeric, "of step ", "the learning rate may be too high") { try fixture.run() }
        #expect(try FileSystem.list(fixture.output) == ["log.jsonl", "loss.svg"])
        #expect(try !fixture.log().isEmpty)
        #expect(fixture.model.session.variables.isEmpty)
    }

    @Test func wrongRunsAreRefused() throws {
        var fixture = try RunFixture()
        fixture.options.batchSize = 0
        expectError(.invalidArgument, "batch_size must be positive, found 0") { try fixture.run() }
        fixture.options.batchSize = 4
        fixture.options.training.totalSteps = 0
        expectError(.invalidArgument, "steps must be positive, found 0") { try fixture.run() }
        fixture.options.training.totalSteps = 5
        fixture.data = TokenPairs(sources: [], targets: [])
        expectError(.invalidArgument, "the training data has no examples") { try fixture.run() }
        #expect(!FileSystem.exists(fixture.output))
    }
}

/// Tags that nest and are closed, attributes in quotes, no stray "<" or "&": what an XML parser insists on.
private func expectWellFormed(_ text: String) throws {
    var open: [Substring] = []
    for part in text.split(separator: "<", omittingEmptySubsequences: false).dropFirst() {
        let end = try #require(part.firstIndex(of: ">"), "unclosed tag")
        var tag = part[..<end]
        let content = part[part.index(after: end)...]
        #expect(!content.contains(">"))
        for entity in content.split(separator: "&", omittingEmptySubsequences: false).dropFirst() {
            #expect(["amp;", "lt;", "gt;", "quot;"].contains { entity.hasPrefix($0) }, "\(content)")
        }
        #expect(tag.split(separator: "\"", omittingEmptySubsequences: false).count % 2 == 1, "\(tag)")
        if tag.hasPrefix("/") {
            #expect(open.popLast() == tag.dropFirst())
        } else if tag.hasSuffix("/") {
            tag = tag.dropLast()
        } else {
            open.append(tag.prefix { $0 != " " })
        }
    }
    #expect(open.isEmpty)
}

extension String {
    /// How often `part` occurs.
    fileprivate func components(_ part: String) -> Int {
        split(separator: part, omittingEmptySubsequences: false).count - 1
    }
}
