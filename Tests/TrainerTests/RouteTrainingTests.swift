import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing
import Trainer

/// Several routes of a session, trained side by side, against each trained alone on its own rows.
@Suite struct RouteTrainingTests {
    /// The adapter of a route, and the seed of its values.
    private struct Part {
        /// Nil: the default one.
        let route: String?
        let id: String
        let options: JSON
        let seed: UInt64

        func attach(to model: OpenModel, route: String?) throws {
            let adapter = try Adapter(backbone: model.backbone, id: id, options: options, seed: seed)
            try model.session.attach(adapter, route: route)
        }
    }

    private let parts = [
        Part(route: "fr", id: "lora", options: ["r": 2], seed: 3),
        Part(route: nil, id: "prefix-tuning", options: ["prefix_length": 3], seed: 4),
        Part(route: "de", id: "lora", options: ["r": 4], seed: 5),
    ]

    private func batch(_ model: OpenModel, _ rows: [Int], routes: [String?] = []) throws -> Batch {
        let pairs = makePairs((rows.max() ?? 0) + 1)
        return try Batch(
            sources: rows.map { pairs.sources[$0] }, targets: rows.map { pairs.targets[$0] }, routes: routes,
            info: model.info)
    }

    private var usual: TrainingOptions {
        var options = TrainingOptions()
        (options.learningRate, options.maxGradientNorm) = (0.01, 0.5)
        // Of gradients that are rounding alone the update would be one, too.
        options.optimizer.epsilon = 1e-4
        return options
    }

    /// Losses to 1e-5 over ten steps, in two of which a route has no row, and the values at the end.
    @Test(arguments: [TinyModel.Family.t5, .bart, .gpt2, .llama].map { TinyModel($0) })
    func everyRouteIsTrainedAsAlone(_ family: TinyModel) throws {
        let together = try OpenModel(family)
        for part in parts { try part.attach(to: together, route: part.route) }
        var own = usual
        own.routes = ["fr", nil, "de"]
        let optimisation = try Optimisation(session: together.session, options: own)
        let alone = try parts.map { part in
            let model = try OpenModel(family)
            try part.attach(to: model, route: nil)
            return (
                route: part.route, model: model, run: try Optimisation(session: model.session, options: usual)
            )
        }
        let routes: [String?] = ["de", nil, "fr", "de", "fr", nil, "de", "fr"]
        var first: Double?
        for step in 0..<10 {
            let rows = routes.indices.filter { step != 3 && step != 6 || routes[$0] != "fr" }
            let report = try optimisation.update(
                try batch(together, rows, routes: rows.map { routes[$0] }))
            first = first ?? report.loss
            var (sum, count, squares) = (0.0, 0, 0.0)
            for (route, model, run) in alone {
                let mine = rows.filter { routes[$0] == route }
                guard !mine.isEmpty else { continue }
                let expected = try run.update(try batch(model, mine))
                sum += expected.loss * Double(expected.tokenCount)
                count += expected.tokenCount
                squares += expected.gradientNorm * expected.gradientNorm
            }
            #expect(report.step == step + 1 && report.tokenCount == count)
            #expect(abs(report.loss - sum / Double(count)) < 1e-5 * report.loss, "step \(step + 1)")
            #expect(abs(report.gradientNorm - squares.squareRoot()) < 1e-4 * report.gradientNorm)
        }
        #expect(optimisation.routes.map(\.updates) == [10, 8, 10], "the default route first")
        for (route, model, run) in alone {
            let (found, wanted) = (together.session.adapters(of: route)[0], model.session.adapters[0])
            for (one, other) in zip(found.parameters.entries, wanted.parameters.entries) {
                #expect(distance(one.tensor.floats, other.tensor.floats) < 1e-4, "\(route ?? "-") \(one.name)")
            }
            run.end()
        }
        let last = try optimisation.update(try batch(together, Array(routes.indices), routes: routes))
        #expect(last.loss < first!)
        optimisation.end()
        #expect(together.session.allAdapters.allSatisfy { $0.parameters.variables.isEmpty })
    }

    @Test func whatCannotBeTrainedTogetherIsRefused() throws {
        let model = try OpenModel()
        for part in parts { try part.attach(to: model, route: part.route) }
        let session = model.session
        func refused(_ code: ErrorCode, _ words: String, _ routes: [String?], trainsBackbone: Bool = false) {
            var options = usual
            (options.routes, options.trainsBackbone) = (routes, trainsBackbone)
            expectError(code, words) { try Optimisation(session: session, options: options) }
            #expect(session.allAdapters.allSatisfy { $0.parameters.variables.isEmpty })
        }
        refused(.invalidArgument, "routes must name one or more, found none", [])
        refused(.notFound, "there is no route \"es\": the session has \"fr\", \"de\" and the default one", ["es"])
        refused(.invalidArgument, "must be named once each, found route \"fr\" twice", ["fr", "fr"])
        refused(.invalidArgument, "must be named once each, found the default route twice", [nil, ""])
        refused(.unsupported, "a backbone is trained with the default route alone", ["fr"], trainsBackbone: true)
        try session.attach(session.adapters(of: "fr")[0], route: "de")
        refused(
            .unsupported, "adapter \"lora\" is on route \"fr\" and on route \"de\", which are trained apart",
            ["fr", "de"])
        var options = usual
        options.routes = ["fr"]
        let optimisation = try Optimisation(session: session, options: options)
        expectError(
            .invalidArgument,
            "a batch to train on has a row of route \"de\", which is not trained: the training is of route \"fr\""
        ) { try optimisation.update(try batch(model, [0, 1], routes: ["fr", "de"])) }
        expectError(.invalidArgument, "a row of the default route, which is not trained") {
            try optimisation.update(try batch(model, [0]))
        }
        expectError(.notFound, "there is no route \"es\"") {
            try optimisation.update(try batch(model, [0], routes: ["es"]))
        }
        #expect(optimisation.step == 0)
        optimisation.end()
    }

    // MARK: Runs

    private func fixture() throws -> RunFixture {
        var fixture = try RunFixture(adapters: [])
        for part in parts { try part.attach(to: fixture.model, route: part.route) }
        fixture.options.training.routes = ["fr", nil, "de"]
        let routes: [String?] = (0..<fixture.data.count).map { [nil, "fr", "de"][$0 % 3] }
        fixture.data = TokenPairs(sources: fixture.data.sources, targets: fixture.data.targets, routes: routes)
        return fixture
    }

    @Test func everyRouteIsTaken() throws {
        var fixture = try fixture()
        let (sources, targets) = (fixture.data.sources, fixture.data.targets)
        fixture.development = TokenPairs(
            sources: [sources[0], sources[1]], targets: [targets[0], targets[1]], routes: ["fr", "es"])
        try Part(route: "es", id: "lora", options: ["r": 2], seed: 6).attach(to: fixture.model, route: "es")
        var said: [String] = []
        fixture.model.session.runtime.log = { said.append("\($0): \($1)") }
        _ = try fixture.run()
        #expect(
            said.contains { $0.hasPrefix("warning: 1 of the 2 development examples take a route that is not trained") })
        fixture.data = TokenPairs(sources: sources, targets: targets, routes: sources.map { _ in "fr" })
        fixture.options.overwrites = true
        expectError(
            .invalidArgument,
            "the default route is to be trained, and none of the \(sources.count) training examples takes it"
        ) { try fixture.run() }
    }

    @Test func aRunSavesEveryRoute() throws {
        let fixture = try fixture()
        let result = try fixture.run()
        #expect(Set(try FileSystem.list(fixture.output)) == ["adapter", "routes", "log.jsonl", "loss.svg"])
        #expect(result.adapterPath == FileSystem.join(fixture.output, "adapter"))
        #expect(result.routePaths.map(\.route) == ["fr", "de"])
        let session = fixture.model.session
        for (route, path) in result.routePaths {
            let saved = try AdapterFolder.loadAll(path, backbone: fixture.model.backbone)
            #expect(saved.count == 1)
            for (one, other) in zip(saved[0].parameters.entries, session.adapters(of: route)[0].parameters.entries) {
                #expect(bitEqual(one.tensor.floats, other.tensor.floats), "\(route) \(one.name)")
            }
        }
        let list = try JSON.read(FileSystem.join(fixture.output, "routes/routes.json"))
        #expect(list == ["schema": 1, "routes": ["fr", "de"]])
        // Another run replaces it where it may, and nothing else that lies there.
        var again = try self.fixture()
        again.options.output = fixture.output
        expectError(.alreadyExists, "of another run: add --overwrite") { try again.run() }
        again.options.overwrites = true
        try FileSystem.atomicWriteFile(FileSystem.join(fixture.output, "routes/diary.txt"), text: "mine")
        expectError(.alreadyExists, "diary.txt") { try again.run() }
        try FileSystem.remove(FileSystem.join(fixture.output, "routes/diary.txt"))
        try again.run()
    }

    @Test(arguments: [1, 3, 8]) func aResumedRunEqualsAnUninterruptedOne(_ steps: Int) throws {
        let whole = try fixture()
        try whole.run()
        let expected = try ScratchFolder.contents(of: whole.output)
        let first = try fixture()
        try first.run(stopAt: steps)
        var second = try fixture()
        second.options.output = first.output
        let found: [String: [UInt8]]
        #expect(try second.run(resumes: true).isComplete)
        found = try ScratchFolder.contents(of: second.output)
        #expect(Set(found.keys) == Set(expected.keys))
        for (name, bytes) in expected { #expect(found[name] == bytes, "\(name)") }
    }

    @Test func whatARunCannotDoIsRefused() throws {
        var stranger = try fixture()
        stranger.options.training.routes = ["fr", "de"]
        expectError(.invalidArgument, "example 1: a batch to train on has a row of the default route") {
            try stranger.run()
        }
        var unknown = try fixture()
        unknown.data = TokenPairs(sources: [[3], [4]], targets: [[5], [6]], routes: [nil, "es"])
        expectError(.notFound, "example 2: there is no route \"es\"") { try unknown.run() }
        let named = try RunFixture(adapters: [])
        try named.model.session.attach(try Adapter(backbone: named.model.backbone, id: "lora"), route: "a/b")
        var slashed = named
        slashed.options.training.routes = ["a/b"]
        slashed.data = TokenPairs(sources: [[3]], targets: [[5]], routes: ["a/b"])
        expectError(.invalidArgument, "must be of letters, digits and . _ -, found \"a/b\"") { try slashed.run() }
        // Rows that took other routes are other data.
        let stopped = try fixture()
        try stopped.run(stopAt: 2)
        var other = try fixture()
        other.options.output = stopped.output
        other.data = TokenPairs(
            sources: other.data.sources, targets: other.data.targets, routes: other.data.routes.reversed())
        expectError(.invalidArgument, "the run was started with data") { try other.run(resumes: true) }
        var turned = try fixture()
        turned.options.output = stopped.output
        turned.options.training.routes = [nil, "de", "fr"]
        expectError(.invalidArgument, "the run was started with routes") { try turned.run(resumes: true) }
        turned.options.training.routes = [nil, "fr", "de"]
        #expect(try turned.run(resumes: true).isComplete)
    }

    /// Heads of two routes, learned from rows of both.
    @Test func classificationsAreTrainedTogether() throws {
        var fixture = try RunFixture(TinyModel(.bert), adapters: [])
        for route in ["a", "b"] {
            try AdapterComposition(parsing: "lora", defaultHead: "linear-head", in: fixture.model.runtime).attach(
                to: fixture.model.session, route: route, classes: 2, seed: 1)
        }
        try fixture.model.session.nameClasses(["no", "yes"])
        let plain = ClassificationTests.data(24)
        // The second route has it the other way round.
        let routes = (0..<24).map { $0 / 2 % 2 == 0 ? "a" : "b" }
        let classes = zip(plain.classes, routes).map { $1 == "a" ? $0 : 1 - $0 }
        fixture.data = TokenPairs(sources: plain.sources, classes: classes, routes: routes)
        fixture.development = nil
        fixture.options.training.routes = ["a", "b"]
        fixture.options.training.totalSteps = 80
        let session = fixture.model.session
        #expect(session.isClassification && session.classes == 0)
        #expect(try session.classes(ofRoutes: routes) == 2 && session.classLabels == ["no", "yes"])
        try fixture.run()
        #expect(try score(session, fixture.data, batchSize: 8).accuracy > 0.8)
        let probabilities = try classLogProbabilities(session, fixture.data, batchSize: 5)
        #expect(probabilities.count == 48)
    }
}
