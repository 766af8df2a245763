import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

@Suite struct BackboneTests {
    /// Open without a request: nobody listens at the address.
    private func open(_ options: [(key: String, value: JSON)] = []) throws -> Backbone {
        let fixed: [(key: String, value: JSON)] = [
            ("base_url", "http://127.0.0.1:1/v1"), ("hidden", "none"), ("backoff", 0), ("max_retries", 1),
        ]
        return try Backbone(runtime: try makeRuntime(), id: "remote", path: nil, options: .object(fixed + options))
    }

    @Test func itDescribesItself() throws {
        let info = try open().info
        #expect(info.architecture == .text)
        #expect(info.seams == ["decoder.output"])
        #expect(info.dModel == 1 && info.vocabSize == 0)
        #expect(info.isOpaque && !info.hasHead)
    }

    @Test func aQueryThatFailsKeepsItsCount() throws {
        let backbone = try open()
        let answer = try backbone.query(prompts: ["a", "b"], answers: [" yes", " no"])
        #expect(answer.answered == 0 && answer.scores.isEmpty && answer.hidden.isEmpty)
        // Both prompts may be under way when the first is given up.
        #expect((2...4).contains(answer.requests))
        #expect(answer.failure?.code == .io)
        #expect(answer.failure?.origin == "org.seamkit.remote")
    }

    @Test func aQueryIsCancelledBeforeItsFirstRequest() throws {
        let answer = try open().query(prompts: ["a"], answers: [" yes"]) { _, _ in false }
        #expect(answer.requests == 0 && answer.answered == 0)
        #expect(answer.failure?.code == .cancelled)
        #expect(answer.failure?.message == "the query was cancelled")
    }

    @Test func noPromptsAreAnsweredAtOnce() throws {
        let answer = try open().query(prompts: [], answers: [" yes"])
        #expect(answer.answered == 0 && answer.requests == 0 && answer.failure == nil)
    }

    @Test func queriesThatMakeNoSenseAreRefused() throws {
        let backbone = try open()
        for (prompts, answers) in [(["a"], []), (["a"], [""]), (["a\0b"], [" yes"]), (["a"], ["\0"])] {
            let error = try #require(throws: SeamError.self) { try backbone.query(prompts: prompts, answers: answers) }
            #expect(error.code == .invalidArgument)
        }
    }

    @Test func whatNeedsTokensIsRefused() throws {
        let backbone = try open()
        let session = Session(backbone: backbone)
        let tokens = try OpenModel()
        let pairs = makePairs(2)
        let batch = try Batch(sources: pairs.sources, targets: pairs.targets, info: tokens.info)
        let context = session.makeContext(recordsGradients: false)
        let sentence = "backbone \"remote\" reads text and answers queries only"
        let attempts: [(String, () throws -> Void)] = [
            (sentence, { _ = try session.forward(context, batch) }),
            (sentence, { _ = try session.encodeAdapted(context, batch) }),
            (sentence, { _ = try session.score(batch) }),
            (
                "the backbone has no decoder to generate with",
                {
                    _ = try session.generate(batch, options: try tokens.session.defaultGenerationOptions())
                }
            ),
            (
                "the backbone reads text, not token ids",
                {
                    _ = try Batch(sources: pairs.sources, targets: pairs.targets, info: backbone.info)
                }
            ),
            ("backbone \"remote\" is opaque: its weights cannot be trained", { try backbone.unfreeze() }),
            (
                "backbone \"remote\" has no seam \"encoder.output\", which adapter \"repcali\" needs; "
                    + "it has decoder.output", { _ = try Adapter(backbone: backbone, id: "repcali") }
            ),
            (
                "backbone \"transformer\" reads tokens and answers no queries",
                {
                    _ = try tokens.backbone.query(prompts: ["a"], answers: [" yes"])
                }
            ),
        ]
        for (sentence, attempt) in attempts {
            let error = try #require(throws: SeamError.self, performing: attempt)
            #expect(error.code == .unsupported)
            #expect(error.message == sentence)
        }
    }

    @Test func aFolderIsRefused() throws {
        let tokens = try OpenModel()
        let error = try #require(throws: SeamError.self) {
            try Backbone(runtime: tokens.runtime, id: "remote", path: tokens.path, options: .null)
        }
        #expect(error.message.hasSuffix("this backbone opens no model folder: give none"))
    }
}
