import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// Loading and unloading of plugins, good and bad; the bad ones are Tests/Fixtures/bad-plugins.
@Suite struct PluginTests {
    struct Refusal: Sendable, CustomTestStringConvertible {
        let source: String
        let code: ErrorCode
        let words: [String]
        var testDescription: String { source }
    }

    static let refusals = [
        Refusal(
            source: "no_entry", code: .plugin,
            words: ["is a library but no plugin", "does not export seam_plugin_entry"]),
        Refusal(source: "null_entry", code: .plugin, words: ["seam_plugin_entry returned NULL"]),
        Refusal(source: "other_major", code: .incompatible, words: ["was built for ABI 2.0, this core has 1.0"]),
        Refusal(source: "small_struct", code: .plugin, words: ["struct_size of seam_plugin must be at least"]),
        Refusal(
            source: "requirements", code: .incompatible,
            words: [
                "needs ABI 1.7, the operation \"fourier_transform\", the extension \"org.seamkit.test.nothing/1\", which this core, ABI 1.0, does not have"
            ]),
        Refusal(
            source: "missing_function", code: .plugin,
            words: ["\"test-missing-function\" lacks the required function create"]),
        Refusal(
            source: "joins_no_state", code: .plugin,
            words: ["\"test-joins-no-state\" has state_append and none of the functions that make a state"]),
        Refusal(
            source: "duplicate_id", code: .alreadyExists,
            words: ["adapter \"repcali\" of plugin org.seamkit.test.repcali is already offered by org.seamkit.repcali"]),
    ]

    @Test(arguments: refusals) func badPluginsAreRefusedWithASentence(_ refusal: Refusal) throws {
        let scratch = try ScratchFolder()
        let path = try compilePlugin("bad-plugins/\(refusal.source).c", into: scratch.path)
        let runtime = try makeRuntime()
        let before = runtime.plugins.map(\.id)
        do {
            try runtime.loadPlugin(path)
            Issue.record("\(refusal.source) was loaded")
        } catch let error as SeamError {
            #expect(error.code == refusal.code)
            for word in refusal.words { #expect(error.message.contains(word), "\(error.message)") }
        }
        #expect(runtime.plugins.map(\.id) == before)
    }

    @Test func everyBadPluginHasATest() throws {
        let sources = try FileSystem.list(FileSystem.join(repository, "Tests", "Fixtures", "bad-plugins"))
        let known =
            Self.refusals.map { $0.source + ".c" } + ["newer_minor.c", "null_output.c", "wrong_shape.c", "identity.h"]
        #expect(Set(sources) == Set(known))
    }

    @Test func filesThatAreNoLibrariesAreRefused() throws {
        let scratch = try ScratchFolder()
        let runtime = Runtime()
        let text = try scratch.write("libtext.so", "seam_plugin_entry")
        expectError(.format, "libtext.so\" cannot be loaded as a dynamic library") { try runtime.loadPlugin(text) }
        expectError(.notFound, "there is no such file") { try runtime.loadPlugin(scratch["libnone.so"]) }
        expectError(.notFound, "no loaded plugin offers an adapter \"repcali\"; there are none") {
            try runtime.adapterFactory("repcali")
        }
    }

    @Test func aLaterMinorVersionWorks() throws {
        let model = try OpenModel()
        let plugin = try model.runtime.loadPlugin(
            try compilePlugin("bad-plugins/newer_minor.c", into: model.scratch.path))
        #expect(plugin.abi == (1, 1))
        let batch = try Batch(sources: [[3, 4, 1]], targets: [[5, 1]], info: model.info)
        let plain = try model.logits(batch)
        try model.attach("test-newer-minor")
        #expect(bitEqual(try model.logits(batch), plain))
    }

    @Test func wrongOutputsAreRefusedInTheForward() throws {
        let model = try OpenModel()
        for source in ["null_output", "wrong_shape"] {
            try model.runtime.loadPlugin(try compilePlugin("bad-plugins/\(source).c", into: model.scratch.path))
        }
        let batch = try Batch(sources: [[3, 4, 1]], targets: [[5, 1]], info: model.info)
        let plain = try model.logits(batch)
        let empty = try model.attach("test-null-output")
        expectError(.plugin, "adapter \"test-null-output\" returned NULL for output 0") { try model.logits(batch) }
        try model.session.detach(empty)
        let wrong = try model.attach("test-wrong-shape")
        expectError(.plugin, "must return output 0 as f32 [1, 3, 16], found f32 [1, 16]") { try model.logits(batch) }
        try model.session.detach(wrong)
        #expect(bitEqual(try model.logits(batch), plain))
    }

    // MARK: Which backbone opens a model

    @Test func twoThatOpenAModelEquallyWellAreATie() throws {
        let model = TinyModel(.llama)
        let scratch = try ScratchFolder()
        try model.write(to: scratch["model"])
        let runtime = Runtime()
        try runtime.loadPlugin(try compilePlugin("reading-backbone/reader.c", into: scratch.path))
        #expect(try Backbone(runtime: runtime, path: scratch["model"]).factory?.id == "test-reader")
        try runtime.loadPlugin(try compilePlugin("reading-backbone/rival.c", into: scratch.path))
        expectError(
            .invalidArgument, "backbone \"test-reader\" of ",
            " and backbone \"test-rival\" of org.seamkit.test.rival open this model equally well (100 of 100)",
            "name the id"
        ) { try Backbone(runtime: runtime, path: scratch["model"]) }
        #expect(try Backbone(runtime: runtime, id: "test-rival", path: scratch["model"]).factory?.id == "test-rival")
    }

    // MARK: Search path

    @Test func earlierFoldersComeFirstAndDuplicatesArePassedOver() throws {
        let (first, second) = (try ScratchFolder(), try ScratchFolder())
        for folder in [first, second] { try compilePlugin("opaque-backbone/tiny_opaque.c", into: folder.path) }
        try compilePlugin("bad-plugins/newer_minor.c", into: second.path)
        let runtime = Runtime()
        let log = Log(runtime)
        let loaded = try runtime.loadPlugins(searchPath: "\(first.path):\(second.path)")
        #expect(loaded.map(\.id) == ["org.seamkit.test.tiny-opaque", "org.seamkit.test.test-newer-minor"])
        #expect(loaded.map(\.path) == [first["libtiny_opaque.so"], second["libnewer_minor.so"]])
        #expect(runtime.plugins.map(\.id) == loaded.map(\.id))
        #expect(log.warnings.isEmpty)
        #expect(try runtime.loadPlugins(searchPath: second.path).isEmpty)
    }

    @Test func aBrokenPluginIsAWarningAndTheOthersLoad() throws {
        let scratch = try ScratchFolder()
        for source in ["null_entry", "other_major", "no_entry", "newer_minor"] {
            try compilePlugin("bad-plugins/\(source).c", into: scratch.path)
        }
        try scratch.write("libtext.so", "names seam_plugin_entry but is no library")
        try scratch.write("libempty.so", "")
        try scratch.write("notes.txt", "seam_plugin_entry")
        let runtime = Runtime()
        let log = Log(runtime)
        #expect(try runtime.loadPlugins(searchPath: scratch.path).map(\.id) == ["org.seamkit.test.test-newer-minor"])
        // A library that does not name the entry is somebody else's and no reason to warn.
        #expect(log.warnings.count == 3)
        for name in ["libnull_entry.so", "libother_major.so", "libtext.so"] {
            #expect(log.warnings.contains { $0.contains(name) }, "\(name)")
        }
    }

    @Test func aFolderThatIsMissingIsAnError() throws {
        let scratch = try ScratchFolder()
        expectError(.notFound, "plugin search path", "nowhere\" is not a folder") {
            try Runtime().loadPlugins(searchPath: "\(scratch.path):\(scratch["nowhere"])")
        }
    }

    // MARK: Unloading

    @Test func unloadingWaitsForTheLastInstance() throws {
        let scratch = try ScratchFolder()
        let path = try compilePlugin("opaque-backbone/tiny_opaque.c", into: scratch.path)
        let runtime = try makeRuntime()
        let id = try runtime.loadPlugin(path).id
        func use() throws {
            let backbone = try Backbone(runtime: runtime, id: "tiny-opaque", path: nil)
            let adapter = try Adapter(backbone: backbone, id: "repcali")
            expectError(.invalidArgument, "\(id) cannot be unloaded: 1 of its adapters or backbones are in use") {
                try runtime.unloadPlugin(id)
            }
            expectError(.invalidArgument, "org.seamkit.repcali cannot be unloaded") {
                try runtime.unloadPlugin("org.seamkit.repcali")
            }
            #expect(adapter.parameters.entries.count == 3)
        }
        try use()
        try runtime.unloadPlugin(id)
        expectError(.notFound, "no plugin with the id") { try runtime.unloadPlugin(id) }
        expectError(.notFound, "a backbone \"tiny-opaque\"") {
            try Backbone(runtime: runtime, id: "tiny-opaque", path: nil)
        }
        try runtime.loadPlugin(path)
        try use()
        try runtime.unloadPlugin("org.seamkit.repcali")
        expectError(.notFound, "an adapter \"repcali\"") { try runtime.adapterFactory("repcali") }
    }

    @Test func aSecondPluginOfTheSameIdIsRefused() throws {
        let scratch = try ScratchFolder()
        let runtime = Runtime()
        let first = try compilePlugin("opaque-backbone/tiny_opaque.c", into: scratch.path)
        try runtime.loadPlugin(first)
        let second = try compilePlugin("opaque-backbone/tiny_opaque.c", into: scratch.path, name: "other")
        expectError(.alreadyExists, "has the id org.seamkit.test.tiny-opaque, already loaded from \"\(first)\"") {
            try runtime.loadPlugin(second)
        }
        #expect(runtime.plugins.count == 1)
    }
}
