import Engine
import FewShot
import Files
import SeamHost
import Support
import TestSupport
import Testing

@Suite struct SavingTests {
    private func save(_ adapter: Adapter, _ model: OpenModel, _ name: String) throws -> String {
        let path = model.scratch[name]
        try AdapterFolder.save(adapter, backbone: model.backbone, isBackboneTrained: false, notes: "", to: path)
        return path
    }

    @Test(arguments: [.null, ["radii": false], ["projection_width": 4, "train_prototypes": true]] as [JSON])
    func aLoadedAdapterGivesTheSameScores(_ options: JSON) throws {
        let model = try OpenModel()
        let adapter = try Adapter(backbone: model.backbone, id: "dect", options: options, classes: 3)
        adapter.task = ["template": "{text} It was", "labels": [["good", "great"], ["bad"]], "nested": ["a": .null]]
        let given = ClassExamples(9)
        try train(adapter, given)
        let path = try save(adapter, model, "adapter")
        let config = try AdapterFolder.readConfig(path)
        #expect(config.classes == 3 && config.task == adapter.task)
        let loaded = try AdapterFolder.load(path, backbone: model.backbone)
        #expect(loaded.classes == 3 && loaded.task == adapter.task)
        func scores(_ adapter: Adapter) throws -> [Float] {
            try classScores(adapters: [adapter], scores: given.scores, hidden: given.hidden)
        }
        #expect(bitEqual(try scores(loaded), try scores(adapter)))
        let again = try save(loaded, model, "again")
        #expect(try ScratchFolder.contents(of: path) == ScratchFolder.contents(of: again))
    }

    @Test func withoutATaskNothingIsWritten() throws {
        let model = try OpenModel()
        let path = try save(try Adapter(backbone: model.backbone, id: "dect", classes: 2), model, "adapter")
        let config = try JSON.read(FileSystem.join(path, AdapterFolder.configName))
        #expect(config["task"] == nil && config["classes"] == 2)
        #expect(try AdapterFolder.readConfig(path).task == nil)
        let plain = try save(try Adapter(backbone: model.backbone, id: "repcali"), model, "plain")
        #expect(try JSON.read(FileSystem.join(plain, AdapterFolder.configName))["classes"] == nil)
        #expect(try AdapterFolder.readConfig(plain).classes == 0)
    }

    @Test func damagedConfigsAreRefused() throws {
        let model = try OpenModel()
        let adapter = try Adapter(backbone: model.backbone, id: "dect", classes: 3)
        adapter.task = ["a", "b"]
        expectError(.invalidArgument, "the task of an adapter must be a JSON object, found an array") {
            try save(adapter, model, "adapter")
        }
        #expect(!FileSystem.exists(model.scratch["adapter"]))
        adapter.task = nil
        let path = try save(adapter, model, "adapter")
        let file = FileSystem.join(path, AdapterFolder.configName)
        let config = try JSON.read(file)
        func expectRefusal(_ key: String, _ value: JSON, _ code: ErrorCode, _ words: String) throws {
            let members = config.objectValue!.filter { $0.key != key } + [(key: key, value: value)]
            try FileSystem.atomicWriteFile(file, text: JSON.object(members).serialized())
            expectError(code, file, words) { try AdapterFolder.load(path, backbone: model.backbone) }
        }
        try expectRefusal("classes", "three", .format, "\"classes\" must be an integer, found a string")
        try expectRefusal("classes", -1, .invalidArgument, "the number of classes must be 0")
        try expectRefusal("classes", 1, .invalidArgument, "needs at least 2 classes, found 1")
        try expectRefusal("task", ["a"], .format, "\"task\" must be an object, found an array")
        try expectRefusal("tasks", [:], .format, "unknown key \"tasks\"")
        let members = config.objectValue!.filter { $0.key != "classes" } + [(key: "classes", value: 4)]
        try FileSystem.atomicWriteFile(file, text: JSON.object(members).serialized())
        expectError(.shape, "\"prototypes\" must be F32 [4, 128], found F32 [3, 128]") {
            try AdapterFolder.load(path, backbone: model.backbone)
        }
    }
}
