import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing
import Trainer

@Suite struct SavingTests {
    private func trained(_ model: OpenModel, _ options: JSON = .null) throws -> Adapter {
        let adapter = try model.attach("repcali", options)
        for (index, entry) in adapter.parameters.entries.enumerated() {
            randomise(entry.tensor, mean: 0.5, deviation: 0.3, seed: UInt64(index))
        }
        return adapter
    }

    private func save(_ adapter: Adapter, _ model: OpenModel, _ name: String = "adapter") throws -> String {
        let path = model.scratch[name]
        try AdapterFolder.save(adapter, backbone: model.backbone, isBackboneTrained: false, notes: "", to: path)
        return path
    }

    @Test(
        arguments: TinyModel.everyFamily,
        [
            .null, ["seed": "positions", "max_positions": 3, "lambda": 0.1],
            ["initialization": "paper", "norm": "none"],
        ]
            as [JSON])
    func aLoadedAdapterGivesTheSameLogits(_ family: TinyModel, _ options: JSON) throws {
        let model = try OpenModel(family)
        let pairs = makePairs(4)
        let batch = try Batch(sources: pairs.sources, targets: pairs.targets, info: model.info)
        let adapter = try trained(model, options)
        let expected = try model.logits(batch)
        let path = try save(adapter, model)
        try model.session.detach(adapter)
        let log = Log(model.runtime)
        let loaded = try AdapterFolder.load(path, backbone: model.backbone)
        try model.session.attach(loaded)
        #expect(bitEqual(try model.logits(batch), expected))
        #expect(loaded.options.json == adapter.options.json)
        #expect(log.warnings.isEmpty)

        // Saved again, the folder is the same.
        let again = try save(loaded, model, "again")
        #expect(try ScratchFolder.contents(of: path) == ScratchFolder.contents(of: again))
    }

    @Test func otherWeightsOfTheSameShapeAreAWarning() throws {
        let model = try OpenModel()
        let path = try save(try trained(model), model)
        let other = try OpenModel(TinyModel(.marian, seed: 2))
        let log = Log(other.runtime)
        _ = try AdapterFolder.load(path, backbone: other.backbone)
        #expect(log.warnings.count == 1)
        #expect(log.warnings.first?.contains("was trained on other weights") == true)
    }

    @Test func anotherWidthIsRefused() throws {
        let model = try OpenModel()
        let adapter = try trained(model)
        let path = try save(adapter, model)
        let wide = try OpenModel(TinyModel(.marian, dModel: 32))
        expectError(.incompatible, "was trained for a backbone with d_model 16, this one has 32") {
            try AdapterFolder.load(path, backbone: wide.backbone)
        }
        expectError(.incompatible, "\"repcali\" was made for a backbone with d_model 16, this one has 32") {
            try wide.session.attach(adapter)
        }
        #expect(wide.session.adapters.isEmpty)
    }

    @Test func damagedFoldersAreRefused() throws {
        let model = try OpenModel()
        let path = try save(try trained(model), model)
        let configPath = FileSystem.join(path, AdapterFolder.configName)
        let weightsPath = FileSystem.join(path, AdapterFolder.weightsName)
        let (config, bytes) = (try JSON.read(configPath), try FileSystem.readBytes(weightsPath))
        func load() throws -> Adapter { try AdapterFolder.load(path, backbone: model.backbone) }
        func replace(_ key: String, _ value: JSON) throws {
            let members = config.objectValue!.filter { $0.key != key } + [(key: key, value: value)]
            try FileSystem.atomicWriteFile(configPath, text: JSON.object(members).serialized())
        }
        try replace("schema", 3)
        expectError(.incompatible, "schema must be 1 ... 2, which this version reads, found 3") { try load() }
        try replace("colour", "blue")
        expectError(.format, "unknown key \"colour\"") { try load() }
        try replace("adapter", "nothing")
        expectError(.notFound, "\"nothing\"", "repcali") { try load() }
        try replace("seam", "decoder.output")
        expectError(.invalidArgument, "encoder.output", "decoder.output") { try load() }
        try replace("options", ["lamda": 1])
        expectError(.invalidArgument, "\"lamda\"") { try load() }
        try replace("schema", 1)
        _ = try load()

        try FileSystem.atomicWriteFile(weightsPath, Array(bytes.dropLast(4)))
        expectError(.format, AdapterFolder.weightsName) { try load() }
        func write(_ names: [String], width: Int = 16, value: Float = 0.5) throws {
            let tensors = names.map { name in
                let shape = name == "embedding.weight" ? [1, width] : [width]
                let values = [Float](repeating: value, count: width)
                return SafetensorsWriter.Tensor(
                    name: name, type: .float32, shape: shape, bytes: values.withUnsafeBytes { Array($0) })
            }
            try SafetensorsWriter.write(tensors, to: weightsPath)
        }
        let names = ["embedding.weight", "norm.weight", "norm.bias"]
        try write(Array(names.dropLast()))
        expectError(.format, "has no tensor \"norm.bias\"") { try load() }
        try write(names + ["extra"])
        expectError(.format, "holds tensor \"extra\"") { try load() }
        try write(names, width: 8)
        expectError(.shape, "\"embedding.weight\" must be F32 [1, 16], found F32 [1, 8]") { try load() }
        try write(names, value: .infinity)
        expectError(.numeric, "holds NaN or infinity at element 0") { try load() }
        expectError(.notFound, "there is no such folder") {
            try AdapterFolder.load(path + "-gone", backbone: model.backbone)
        }
    }

    @Test func valuesThatAreNotFiniteAreNotSaved() throws {
        let model = try OpenModel()
        let adapter = try trained(model)
        randomise(adapter.parameters["norm.bias"]!, deviation: .nan)
        expectError(.numeric, "\"norm.bias\" holds NaN or infinity at element 0") { try save(adapter, model) }
        #expect(!FileSystem.exists(model.scratch["adapter"]))
    }
}
