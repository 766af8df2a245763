import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// Cartridges on every family, natively. PEFT's are compared with in python/tests/test_cartridge.py.
@Suite struct CartridgeTests {
    static let families = TinyModel.Family.allCases.map { TinyModel($0) }
    private let text: [Int32] = [3, 4, 5, 6, 7, 8]

    private func example(_ model: OpenModel) throws -> Batch {
        guard model.info.architecture == .encoderDecoder else { return try Batch(sources: [text], info: model.info) }
        return try Batch(sources: [text], targets: [text.reversed()], info: model.info)
    }

    @Test(arguments: families) func itIsTheText(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let batch = try model.batch()
        let plain = try model.logits(batch)
        let adapter = try model.attach("cartridge", ["prefix_length": 4])
        try model.session.prepare(adapter, from: [try example(model)])
        let behind = try model.logits(batch)
        #expect(distance(behind, plain) > 1e-3 * plain.map(abs).max()!)
        // Its parts are those of the text, so a shorter one is a part of it.
        let short = try Adapter(backbone: model.backbone, id: "cartridge", options: ["prefix_length": 2])
        try model.session.detach(adapter)
        try model.session.attach(short)
        try model.session.prepare(short, from: [try example(model)])
        for name in adapter.parameters.entries.map(\.name) where name.hasSuffix("frozen") {
            #expect(bitEqual(adapter.parameters[name]!.floats, short.parameters[name]!.floats))
        }
    }

    @Test(arguments: families) func itIsFolded(_ family: TinyModel) throws {
        let model = try OpenModel(family)
        let adapter = try model.attach("cartridge", ["prefix_length": 4, "frozen_tokens": 2])
        try model.session.prepare(adapter, from: [try example(model)])
        let batch = try model.batch()
        let logits = try model.logits(batch)
        let folded = try adapter.folded(for: model.backbone)
        #expect(folded.parameters.entries.allSatisfy { $0.name.hasSuffix(".prefix") && !$0.isFrozen })
        try model.session.detach(adapter)
        try model.session.attach(folded)
        #expect(bitEqual(try model.logits(batch), logits))
    }

    @Test func allOrNoTokensAreFrozen() throws {
        let model = try OpenModel(TinyModel(.gpt2))
        let none = try Adapter(
            backbone: model.backbone, id: "cartridge", options: ["prefix_length": 2, "frozen_tokens": 0])
        #expect(none.parameters.entries.map(\.name) == ["decoder.trained"])
        let all = try Adapter(
            backbone: model.backbone, id: "cartridge", options: ["prefix_length": 2, "frozen_tokens": 2])
        #expect(all.parameters.entries.map(\.name) == ["decoder.frozen"] && all.parameters.trainableCount == 0)
    }

    @Test func gradientsAreTheSlopes() throws {
        try expectGradients(of: "cartridge", ["prefix_length": 3], in: try OpenModel(TinyModel(.llama)))
    }
}
