import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// What the plugin refuses, in sentences for the user.
@Suite struct ErrorTests {
    @Test func aClassificationIsNeeded() throws {
        let model = try OpenModel()
        for classes in [0, 1] {
            expectError(.invalidArgument, "\"dect\" on decoder.output", "needs at least 2 classes, found \(classes)") {
                try Adapter(backbone: model.backbone, id: "dect", classes: classes)
            }
        }
        expectError(.invalidArgument, "\"dect\" attaches to decoder.output, not to \"encoder.output\"") {
            try Adapter(backbone: model.backbone, id: "dect", seam: "encoder.output", classes: 2)
        }
        expectError(.invalidArgument, "option \"projection_width\"", "from 1 to 65536") {
            try Adapter(backbone: model.backbone, id: "dect", options: ["projection_width": 0], classes: 2)
        }
        expectError(.invalidArgument, "option \"lambda\"") {
            try Adapter(backbone: model.backbone, id: "dect", options: ["lambda": -1], classes: 2)
        }
    }

    @Test func scoresOfAnEmptyTextThatCannotDivide() throws {
        let model = try OpenModel()
        let adapter = try Adapter(backbone: model.backbone, id: "dect", classes: 3)
        let before = adapter.parameters.entries.map(\.tensor.floats)
        var given = ClassExamples(6)
        given.emptyScores = [1, 0, 2]
        expectError(.numeric, "that of class 1 is 0", "calibration") { try train(adapter, given) }
        given.emptyScores = [1, 1, -2]
        expectError(.numeric, "mean, which is 0", "calibration") { try train(adapter, given) }
        #expect(adapter.parameters.entries.map(\.tensor.floats) == before)
        let plain = try Adapter(backbone: model.backbone, id: "dect", options: ["calibration": false], classes: 3)
        try train(plain, given)
    }

    /// Straight at the plugin, where the layer above checks nothing.
    @Test func thePluginChecksItsExamplesItself() throws {
        let model = try OpenModel()
        let adapter = try Adapter(backbone: model.backbone, id: "dect", classes: 3)
        let given = ClassExamples(4)
        let context = model.session.makeContext(recordsGradients: false)
        let inputs = [try context.constant(given.scores, [4, 3]), try context.constant(given.hidden, [4, 16])]
        expectError(.invalidArgument, "class 2 has none") {
            try adapter.prepare(inputs: inputs, labels: try context.constant([0, 1, 1, 0] as [Int32], [4]))
        }
        expectError(.invalidArgument, "there are no labels") { try adapter.prepare(inputs: inputs) }
        let labels = try context.constant(given.labels, [4])
        let empty = try context.constant([1, .infinity, 1] as [Float], [1, 3])
        expectError(.numeric, "that of class 1 is not finite") {
            try adapter.prepare(inputs: inputs, labels: labels, emptyScores: empty)
        }
        do { try adapter.prepare(inputs: inputs) } catch let error as SeamError {
            #expect(error.origin == "org.seamkit.dect")
        }
    }
}
