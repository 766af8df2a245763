import Engine
import SeamHost
import Support
import TestSupport
import Testing

/// How a session gathers what adapters start from (Tests/Fixtures/prepare-plugin). Values are compared with transformers' in
/// Tests/python/test_prepare.py.
@Suite struct PreparationTests {
    private let sources: [[Int32]] = [[3, 4, 5], [6, 7], [8, 9, 3, 4], [5, 6, 4]]
    private let classes: [Int32] = [1, 0, 0, 1]

    private func open(_ family: TinyModel) throws -> OpenModel {
        let model = try OpenModel(family)
        try model.runtime.loadPlugin(try compilePlugin("prepare-plugin/prepare.c", into: model.scratch.path))
        return model
    }

    private func examples(_ model: OpenModel) throws -> [Batch] {
        try [0..<2, 2..<4].map { rows in
            try Batch(sources: Array(sources[rows]), classes: Array(classes[rows]), info: model.info)
        }
    }

    private func values(_ adapter: Adapter) -> [[Float]] { adapter.parameters.entries.map(\.tensor.floats) }

    /// Points that are not kept at once are read one after the other, with the same result.
    @Test(arguments: [TinyModel(.llama), TinyModel(.bert)]) func pointsInParts(_ family: TinyModel) throws {
        let model = try open(family)
        let adapter = try model.attach("mean-difference")
        let batches = try examples(model)
        var told: [[Int]] = []
        try model.session.prepare(adapter, from: batches) {
            told.append([$0, $1])
            return true
        }
        #expect(told == [[0, 2], [1, 2], [2, 2]])
        #expect(adapter.isPrepared)
        let together = values(adapter)
        #expect(together.allSatisfy { $0.contains { $0 != 0 } })
        // One point of four examples of four positions alone is more than that.
        model.session.recordedAtOnce = 1
        told = []
        let other = try Adapter(backbone: model.backbone, id: "mean-difference")
        try model.session.detach(adapter)
        try model.session.attach(other)
        try model.session.prepare(other, from: batches) {
            told.append([$0, $1])
            return true
        }
        let points = other.points.count
        #expect(points > 1 && told.last == [2 * points, 2 * points])
        #expect(values(other) == together)
    }

    /// The adapters that are trained by a run are prepared by it, those of a saved folder are not.
    @Test func aSavedAdapterIsPrepared() throws {
        let model = try open(TinyModel(.bert))
        let adapter = try model.attach("mean-difference", ["layers": [1]])
        #expect(!adapter.isPrepared)
        let path = model.scratch["saved"]
        try AdapterFolder.save(adapter, backbone: model.backbone, isBackboneTrained: false, notes: "", to: path)
        #expect(try AdapterFolder.load(path, backbone: model.backbone).isPrepared)
    }

    /// A merged adapter is not behind what it would be given.
    @Test func aMergedAdapterIsRefused() throws {
        let model = try open(TinyModel(.llama))
        let lora = try model.attach("lora")
        try model.session.merge(lora)
        let adapter = try model.attach("mean-difference")
        try model.session.prepare(adapter, from: try examples(model))
        #expect(values(adapter).allSatisfy { $0.contains { $0 != 0 } })
    }

    /// More than the machine has: the sentence says how much. T5 has no last position.
    @Test func moreThanThereIsMemoryFor() throws {
        let model = try open(TinyModel(.t5))
        let adapter = try model.attach("mean-difference", ["stack": "encoder"])
        let length = 1_000_000
        let rows = Memory.total / (length * model.info.dModel * 8) + 1
        let long = try Batch(sources: [[Int32](repeating: 3, count: length)], classes: [0], info: model.info)
        let short = try Batch(
            sources: [[Int32]](repeating: [3], count: rows), classes: [Int32](repeating: 1, count: rows),
            info: model.info)
        expectError(
            .outOfMemory,
            "what \(rows + 1) examples of up to 1000000 positions give at the point \"encoder.0\"", "GB of memory"
        ) { try model.session.prepare(adapter, from: [long, short]) }
    }
}
