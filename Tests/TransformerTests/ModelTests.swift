import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// Opening and writing model folders.
@Suite struct ModelTests {
    /// A copy of a tiny model whose tensors were changed.
    private func write(_ path: String, _ change: (inout [String: (shape: [Int], values: [Float])]) -> Void) throws {
        try TinyModel(.marian).write(to: path)
        let weights = FileSystem.join(path, "model.safetensors")
        var tensors: [String: (shape: [Int], values: [Float])] = [:]
        do {
            let file = try SafetensorsFile(weights)
            for tensor in file.tensors {
                tensors[tensor.name] = (
                    tensor.shape, file.withBytes(of: tensor) { Array($0.bindMemory(to: Float.self)) }
                )
            }
        }
        change(&tensors)
        try SafetensorsWriter.write(
            tensors.map { name, tensor in
                .init(
                    name: name, type: .float32, shape: tensor.shape, bytes: tensor.values.withUnsafeBytes { Array($0) })
            }, to: weights)
    }

    @Test func whatIsMissingOrMisshapenIsOneSentence() throws {
        let scratch = try ScratchFolder()
        let runtime = try makeRuntime()
        try write(scratch["missing"]) { tensors in
            for name in tensors.keys where name.contains("layers.1.fc1") { tensors[name] = nil }
            tensors["model.decoder.layers.0.fc2.bias"] = ([8], [Float](repeating: 0, count: 8))
        }
        expectError(
            .notFound, "\"model.encoder.layers.1.fc1.weight\"", "\"model.decoder.layers.1.fc1.bias\"",
            "\"model.decoder.layers.0.fc2.bias\"", "must have shape [16], found [8]"
        ) { try Backbone(runtime: runtime, path: scratch["missing"]) }
        try write(scratch["none"]) { tensors in
            for name in tensors.keys where name.hasSuffix(".bias") { tensors[name] = nil }
        }
        expectError(.notFound, ", and ", " more") { try Backbone(runtime: runtime, path: scratch["none"]) }
        try write(scratch["infinite"]) { $0["model.shared.weight"]!.values[5] = .infinity }
        expectError(.numeric, "\"model.shared.weight\"", "NaN or infinity at element 5") {
            try Backbone(runtime: runtime, path: scratch["infinite"])
        }
        expectError(.notFound) { try Backbone(runtime: runtime, path: scratch["nowhere"]) }
        expectError(.invalidArgument, "a backbone needs its id, a model folder, or both") {
            try Backbone(runtime: runtime, path: nil)
        }
        #expect(runtime.plugins.allSatisfy { (try? runtime.unloadPlugin($0.id)) != nil }, "an instance was left behind")
    }

    @Test func aModelThatNobodyOpensIsRefused() throws {
        let scratch = try ScratchFolder()
        try TinyModel(.marian).write(to: scratch["model"])
        try FileSystem.atomicWriteFile(
            FileSystem.join(scratch["model"], "config.json"), text: "{\"model_type\": \"gptj\"}")
        expectError(
            .unsupported, "no loaded backbone opens this model (\"model_type\" is \"gptj\"); asked: transformer",
            "'model_type' is 'gptj'; expected t5, ", "the nearest is gpt2", "in Python seamkit.attach"
        ) {
            try Backbone(runtime: try makeRuntime(), path: scratch["model"])
        }
    }

    @Test(arguments: TinyModel.everyFamily) func aSavedBackboneGivesTheSameLogits(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        try model.backbone.unfreeze()
        for (index, variable) in model.backbone.parameters.variables.enumerated() {
            let shift = Float(index + 1) * 1e-3
            variable.tensor.assign(variable.tensor.floats.map { $0 + shift })
        }
        model.backbone.freeze()
        let batch = try Batch(sources: [[3, 4, 1]], targets: [[5, 6, 1]], info: model.info)
        let expected = try model.logits(batch)
        let path = model.scratch["saved"]
        try BackboneFolder.save(model.backbone, to: path)
        let opened = try Backbone(runtime: model.runtime, path: path)
        let context = Context(pool: model.runtime.pool, recordsGradients: false)
        let logits = try context.contiguous(try Session(backbone: opened).forward(context, batch).logits).floats
        #expect(bitEqual(logits, expected))
        #expect(
            Set(try FileSystem.list(path)) == ["config.json", "model.safetensors", "tokenizer.json"])
        let (old, new) = (try ModelFiles(model.path), try ModelFiles(path))
        #expect(Set(old.tensorNames) == Set(new.tensorNames))
        #expect(old.fingerprint() != new.fingerprint())
    }
}
