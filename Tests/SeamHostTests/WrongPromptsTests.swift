import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// Adapters on embedded tokens that break the contract: a sentence with the plugin's id, when they are attached where one
/// token tells, else in the pass.
@Suite struct WrongPromptsTests {
    private func open() throws -> OpenModel {
        let model = try OpenModel(TinyModel(.gpt2))
        try model.runtime.loadPlugin(try compilePlugin("prompt-plugin/wrong_prompts.c", into: model.scratch.path))
        return model
    }

    private func attach(_ mode: String, to model: OpenModel) throws {
        try model.attach("wrong-prompts", ["mode": .string(mode)])
    }

    @Test(
        arguments: [
            (
                "wide",
                "must return the vectors at the point \"decoder.embedding\" as f32 [1 or 1, prompt, 16], found f32 [1, 2, 17]"
            ),
            ("rows", "found f32 [2, 2, 16]"), ("empty", "found f32 [1, 0, 16]"),
            ("the-mask", "found i32 [1, 1]"),
            ("other-x", "must return x at the point \"decoder.embedding\" as f32 [1, 1, 16], found f32 [1, 1, 1]"),
            ("failure", "it does not want to"),
        ])
    func whatIsSeenWhenItIsAttached(_ mode: String, _ words: String) throws {
        let model = try open()
        let error = try #require(throws: SeamError.self) { try attach(mode, to: model) }
        #expect(error.origin == "org.seamkit.test.wrong-prompts" && error.message.contains(words), "\(error.message)")
        #expect(model.session.adapters.isEmpty && model.session.promptLength == [0, 0])
    }

    @Test func theNumberOfVectorsStays() throws {
        let model = try open()
        try attach("grows", to: model)
        let batch = try Batch(sources: [[3, 4, 5]], info: model.info)
        let error = try #require(throws: SeamError.self) { _ = try model.logits(batch) }
        #expect(error.code == .plugin && error.origin == "org.seamkit.test.wrong-prompts")
        #expect(
            error.message.contains(
                "must put as many vectors before every text at the point \"decoder.embedding\", 1 as when it was attached, found 3"
            ),
            "\(error.message)")
    }

    /// One set for all rows, or one for each; and an adapter that only changes the text.
    @Test func vectorsOfEachRowAndChangedText() throws {
        let model = try open()
        let batch = try Batch(sources: [[3, 4, 5], [6, 7, 8]], info: model.info)
        let plain = try model.logits(batch)
        try attach("none", to: model)
        let all = try model.logits(batch)
        try model.session.detach(model.session.adapters[0])
        try attach("own", to: model)
        #expect(bitEqual(try model.logits(batch), all) && !bitEqual(all, plain) && all.count == plain.count)
        #expect(throws: SeamError.self) { try model.session.computedPrompts() }
        try model.session.detach(model.session.adapters[0])
        try attach("changes", to: model)
        let changed = try model.logits(batch)
        #expect(model.session.promptLength == [0, 0] && !bitEqual(changed, plain))
        try model.session.detach(model.session.adapters[0])
        #expect(bitEqual(try model.logits(batch), plain))
    }
}
