import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing
import Trainer

/// Adapters by name, and folders of several of them.
@Suite struct CompositionTests {
    private func compose(
        _ model: OpenModel, _ spec: String, _ options: [String] = [], isClassification: Bool = false
    ) throws -> AdapterComposition {
        try AdapterComposition(
            parsing: spec, options: options, defaultHead: isClassification ? "linear-head" : nil, in: model.runtime)
    }

    @Test func anAdapterIsMadeForThePrefixBeforeIt() throws {
        let model = try OpenModel(TinyModel(.bert))
        let adapters = try compose(model, "residual-prefix+gate", ["prefix_length=4", "gate.scope=token-layer"])
            .attach(to: model.session, seed: 3)
        #expect(adapters.map(\.factory.id) == ["residual-prefix", "gate"])
        #expect(model.session.adapters.count == 2)
        #expect(adapters[0].options["prefix_length"] == .int(4))
        #expect(adapters[1].prefixLength == [4, 0, 0] && adapters[1].options["scope"] == .string("token-layer"))
        guard case .tensor(let weights) = try adapters[1].call("weights") else {
            throw SeamError(.internal, "no tensor")
        }
        #expect(weights.shape == [2, 4])

        // As made by hand, with the same seed.
        let twin = try OpenModel(TinyModel(.bert))
        let prefix = try Adapter(
            backbone: twin.backbone, id: "residual-prefix", options: ["prefix_length": 4], seed: 3)
        for (one, other) in zip(adapters[0].parameters.entries, prefix.parameters.entries) {
            #expect(bitEqual(one.tensor.floats, other.tensor.floats), "\(one.name)")
        }
    }

    @Test func whatFailsLeavesTheSessionAsItWas() throws {
        let model = try OpenModel(TinyModel(.bert))
        let before = try model.attach("repcali")
        expectError(.invalidArgument, "attach a prefix adapter before it") {
            try compose(model, "repcali+gate").attach(to: model.session)
        }
        #expect(model.session.adapters.count == 1 && model.session.adapters[0] === before)
        expectError(.invalidArgument, "needs at least 2 classes") {
            try compose(model, "residual-prefix+gate+linear-head").attach(to: model.session)
        }
        #expect(model.session.adapters.count == 1)
        for spec in ["", "repcali+", "nothing"] {
            expectError(.notFound, "no loaded plugin") { try compose(model, spec) }
        }
        #expect(try compose(model, "none").parts.isEmpty)
    }

    @Test func optionsGoToTheAdapterThatHasThem() throws {
        let model = try OpenModel(TinyModel(.bert))
        func options(_ spec: String, _ options: [String], isClassification: Bool = false) throws -> [JSON] {
            try compose(model, spec, options, isClassification: isClassification).parts.map(\.options)
        }
        #expect(
            try options("residual-prefix+gate", ["prefix_length=7", "scope=token"]) == [
                ["prefix_length": 7], ["scope": "token"],
            ])
        // Both a prefix and the head have it.
        let shared = "--option deviation=0.5: residual-prefix and linear-head both have this option"
        if try model.runtime.adapterFactory("residual-prefix").options.contains(where: { $0.name == "deviation" }) {
            expectError(.invalidArgument, shared, "write residual-prefix.deviation=0.5 or linear-head.deviation=0.5") {
                try options("residual-prefix+linear-head", ["deviation=0.5"])
            }
        }
        #expect(
            try options("residual-prefix+linear-head", ["linear-head.deviation=0.5"]) == [
                .object([]), ["deviation": 0.5],
            ])
        // The head that is added takes no options that do not name it.
        #expect(try compose(model, "gate", isClassification: true).parts.map(\.factory.id) == ["gate", "linear-head"])
        #expect(try compose(model, "linear-head", isClassification: true).parts.count == 1)
        #expect(
            try options("gate", ["linear-head.deviation=1"], isClassification: true) == [.object([]), ["deviation": 1]])
        expectError(.invalidArgument, "--option deviation=1 has no adapter to go to") {
            try options("none", ["deviation=1"], isClassification: true)
        }
        expectError(.invalidArgument, "none of the adapters repcali, gate has an option \"x\"") {
            try options("repcali+gate", ["x=1"])
        }
        expectError(.invalidArgument, "--option scope=v: \"scope\" is given twice") {
            try options("gate", ["gate.scope=token", "scope=v"])
        }
        #expect(try options("gate+gate", ["scope=token"]) == [["scope": "token"], ["scope": "token"]])
    }

    // MARK: Folders

    private func composed(_ family: TinyModel = TinyModel(.bert)) throws -> OpenModel {
        let model = try OpenModel(family)
        try compose(model, "prefix-tuning+gate", ["prefix_length=3"]).attach(to: model.session, seed: 1)
        for adapter in model.session.adapters { randomise(adapter) }
        return model
    }

    @Test func severalAdaptersAreOneFolder() throws {
        let model = try composed(TinyModel(.marian))
        let batch = try Batch(sources: [[3, 4, 1]], targets: [[5, 1]], info: model.info)
        let expected = try model.logits(batch)
        let path = model.scratch["adapters"]
        try AdapterFolder.saveAll(
            model.session.adapters, backbone: model.backbone, isBackboneTrained: false, notes: "- data: none", to: path)
        #expect(Set(try FileSystem.list(path)) == ["1-prefix-tuning", "2-gate", "README.md", "adapter_config.json"])
        #expect(
            try JSON.read(FileSystem.join(path, AdapterFolder.configName))
                == ["schema": 1, "adapters": ["1-prefix-tuning", "2-gate"]])
        let card = try FileSystem.readText(FileSystem.join(path, "README.md"))
        #expect(card.contains("# prefix-tuning + gate") && card.contains("- data: none"))
        #expect(try AdapterFolder.folders(in: path).map(FileSystem.baseName) == ["1-prefix-tuning", "2-gate"])

        let session = Session(backbone: model.backbone)
        for adapter in try AdapterFolder.loadAll(path, backbone: model.backbone) { try session.attach(adapter) }
        let context = session.makeContext(recordsGradients: false)
        #expect(bitEqual(try context.contiguous(try session.forward(context, batch).logits).floats, expected))
        expectError(.invalidArgument, "holds 2 adapters", "1-prefix-tuning or 2-gate") {
            try AdapterFolder.load(path, backbone: model.backbone)
        }
        // One adapter stays a folder of its own, and each loads either way.
        let single = FileSystem.join(path, "2-gate")
        #expect(try AdapterFolder.load(single, backbone: model.backbone).prefixLength == [3, 3, 3])
        #expect(try AdapterFolder.loadAll(single, backbone: model.backbone).count == 1)
        try AdapterFolder.saveAll(
            [model.session.adapters[0]], backbone: model.backbone, isBackboneTrained: false, notes: "", to: path)
        #expect(
            Set(try FileSystem.list(path)) == ["README.md", AdapterFolder.configName, AdapterFolder.weightsName],
            "replaced as a whole")
    }

    @Test func damagedListsAreRefused() throws {
        let model = try composed()
        let path = model.scratch["adapters"]
        try AdapterFolder.saveAll(
            model.session.adapters, backbone: model.backbone, isBackboneTrained: false, notes: "", to: path)
        let config = FileSystem.join(path, AdapterFolder.configName)
        let list = try JSON.read(config).serialized()
        func expectRefusal(_ code: ErrorCode, _ text: String, _ words: String) throws {
            try FileSystem.atomicWriteFile(config, text: text)
            expectError(code, "adapter_config.json", words) {
                try AdapterFolder.loadAll(path, backbone: model.backbone)
            }
        }
        try expectRefusal(.incompatible, "{\"schema\": 2, \"adapters\": [\"2-gate\"]}", "schema must be 1")
        try expectRefusal(.format, "{\"schema\": 1, \"adapters\": [\"../2-gate\"]}", "names of folders beside it")
        try expectRefusal(.format, "{\"schema\": 1, \"adapters\": []}", "one or more names")
        try expectRefusal(.format, "{\"schema\": 1, \"adapters\": [\"2-gate\", \"2-gate\"]}", "each once")
        try expectRefusal(.format, "{\"schema\": 1, \"adapters\": [3]}", "found 3")
        try expectRefusal(.format, "{\"schema\": 1, \"adapters\": [\"2-gate\"], \"task\": {}}", "unknown key \"task\"")
        try FileSystem.atomicWriteFile(config, text: "{\"schema\": 1, \"adapters\": [\"3-gate\"]}")
        expectError(.notFound, "3-gate", "there is no such folder") {
            try AdapterFolder.loadAll(path, backbone: model.backbone)
        }
        // A value that cannot be saved leaves the whole folder as it was.
        try FileSystem.atomicWriteFile(config, text: list)
        let before = try ScratchFolder.contents(of: path)
        model.session.adapters[1].parameters["encoder.gate"]!.assign([0, .nan, 0])
        expectError(.numeric, "\"gate\" is not saved") {
            try AdapterFolder.saveAll(
                model.session.adapters, backbone: model.backbone, isBackboneTrained: false, notes: "", to: path)
        }
        #expect(try ScratchFolder.contents(of: path) == before)
    }
}
