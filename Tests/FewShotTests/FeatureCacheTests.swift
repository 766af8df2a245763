import Datasets
import Engine
import FewShot
import Files
import Glibc
import Support
import TestSupport
import Testing

@Suite struct FeatureCacheTests {
    private let scratch: ScratchFolder
    private let key = FeatureKey(model: "m", template: "{text}", words: ["good", "bad"], multiToken: .first)

    init() throws { scratch = try ScratchFolder() }

    private func open(
        _ key: FeatureKey? = nil, width: Int = 3, sizes: FeatureCache.Sizes = .init()
    ) throws -> FeatureCache {
        try FeatureCache(folder: scratch["cache"], key: key ?? self.key, width: width, sizes: sizes)
    }

    /// Values that tell the row and the column.
    private func values(_ cache: FeatureCache, _ numbers: some Sequence<Int>) -> ([Float], [Float]) {
        var scores: [Float] = []
        var hidden: [Float] = []
        for number in numbers {
            for column in 0..<cache.words { scores.append(Float(number) + Float(column) / 8) }
            for column in 0..<cache.width { hidden.append(-Float(number) - Float(column) / 8) }
        }
        return (scores, hidden)
    }

    private func append(_ cache: FeatureCache, _ numbers: Range<Int>) throws {
        let (scores, hidden) = values(cache, numbers)
        try cache.append(numbers.map { InputText("text \($0)") }, scores: scores, hidden: hidden)
    }

    private func expect(_ cache: FeatureCache, _ numbers: some Sequence<Int>) throws {
        let numbers = Array(numbers)
        let rows = cache.lookup(numbers.map { InputText("text \($0)") })
        #expect(!rows.contains(nil))
        let features = cache.read(rows.compactMap(\.self))
        let (scores, hidden) = values(cache, numbers)
        #expect(features.scores == scores)
        #expect(features.hidden == hidden)
    }

    private var files: [String] { get throws { try FileSystem.list(open().path!) } }

    @Test func whatWasFlushedIsThereAgain() throws {
        let cache = try open()
        #expect(cache.lookup([InputText("text 0")]) == [nil])
        try append(cache, 0..<4)
        try expect(cache, [3, 0, 3])
        try cache.flush()
        try cache.flush()
        try append(cache, 2..<6)
        try expect(cache, 0..<6)
        #expect(cache.count == 6)
        let second = try open()
        #expect(second.count == 4)
        try expect(second, (0..<4).reversed())
        #expect(second.lookup([InputText("text 5"), InputText("text 1")]).map { $0 == nil } == [true, false])
        let none = second.read([])
        #expect(none.scores.isEmpty && none.hidden.isEmpty)
        try cache.flush()
        try expect(open(), 0..<6)
    }

    @Test func textsAreToldApartByTheirBytes() throws {
        let texts = [
            InputText(""), InputText("ab"), InputText("a", "b"), InputText("", "ab"), InputText("ab", ""),
            InputText("caf\u{e9}"), InputText("cafe\u{301}"), InputText("a\0b"),
        ]
        let scores = (0..<16).map { Float($0) }
        let written = try open()
        try written.append(texts, scores: scores, hidden: (0..<24).map { Float($0) })
        try written.flush()
        for cache in [written, try open()] {
            #expect(cache.count == 8)
            let rows = cache.lookup(texts).compactMap(\.self)
            #expect(cache.read(rows).scores == scores)
            #expect(cache.lookup([InputText("cafe"), InputText("b", "a")]) == [nil, nil])
        }
    }

    @Test func anyOtherKeyIsAnotherCache() throws {
        try append(open(), 0..<2)
        let cache = try open()
        try append(cache, 0..<2)
        try cache.flush()
        var others = [FeatureKey](repeating: key, count: 6)
        others[0].model = "n"
        others[1].template = "{text} "
        others[2].words = ["bad", "good"]
        others[3].words = ["good,bad"]
        others[4].multiToken = .mean
        others[5].adapters = "a"
        for other in others { #expect(try open(other).count == 0) }
        #expect(Set(others.map(\.folderName) + [key.folderName]).count == 7)
        // A folder that holds another key's files, as two keys of one hash would.
        var other = key
        other.model = "n"
        let name = try files[0]
        let path = FileSystem.join(try open(other).path!, name)
        try FileSystem.atomicWriteFile(path, FileSystem.readBytes(FileSystem.join(cache.path!, name)))
        expectError(.format, name, "another model") { try open(other) }
        expectError(.format, try files[0], "\"hidden\"", "[2, 4]", "[2, 3]") { try open(width: 4) }
    }

    @Test func badFilesAreNamed() throws {
        let cache = try open()
        try append(cache, 0..<50)
        try cache.flush()
        let path = FileSystem.join(cache.path!, try files[0])
        let good = try FileSystem.readBytes(path)
        func expectBad(_ words: String, _ bytes: [UInt8]) throws {
            try FileSystem.remove(path)
            try FileSystem.atomicWriteFile(path, bytes)
            expectError(.format, path, words) { try open() }
        }
        try expectBad("beyond the file", Array(good.dropLast(7)))
        try expectBad("header", Array(good.prefix(20)))
        try expectBad("empty", [])
        try expectBad("safetensors", Array("hello world, this is no tensor".utf8))
        for offset in stride(from: 1, to: good.count - 1100, by: 97) {
            var bytes = good
            bytes[good.count - offset] ^= 0x10
            try expectBad("changed", bytes)
        }
        // Every other byte of the header: some error or, where the byte means nothing, the right rows.
        for offset in stride(from: 0, to: good.count, by: 3) {
            var bytes = good
            bytes[offset] ^= 0x02
            try FileSystem.remove(path)
            try FileSystem.atomicWriteFile(path, bytes)
            if let cache = try? open() { try expect(cache, 0..<50) }
        }
        try SafetensorsWriter.write([.init(name: "w", type: .uint8, shape: [1], bytes: [1])], to: path)
        expectError(.format, path, "not written by") { try open() }
    }

    @Test func whatACrashLeavesIsPassedOver() throws {
        let cache = try open()
        try append(cache, 0..<2)
        try cache.flush()
        try FileSystem.atomicWriteFile(FileSystem.join(cache.path!, ".x.safetensors.tmp-1-abc"), text: "half")
        try expect(open(), 0..<2)
    }

    @Test func smallFilesAreMerged() throws {
        for start in 0..<9 {
            let cache = try open()
            try append(cache, 3 * start..<3 * start + 3)
            try cache.flush()
        }
        #expect(try FileSystem.list(FileSystem.join(scratch["cache"], key.folderName)).count == 9)
        let reader = try open()
        #expect(try files.count == 1)
        try expect(reader, 0..<27)
        try expect(open(), 0..<27)
    }

    @Test func filesHaveALimit() throws {
        let sizes = FeatureCache.Sizes(file: 400, small: 100, smallFiles: 2)
        let cache = try open(sizes: sizes)
        try append(cache, 0..<100)
        #expect(try FileSystem.list(cache.path!).count > 5)
        try expect(cache, 0..<100)
        try cache.flush()
        try expect(open(sizes: sizes), 0..<100)
        try expect(open(sizes: .init(file: 1000, small: 1 << 20, smallFiles: 2)), 0..<100)
        try expect(open(), 0..<100)
    }

    @Test func twoWritersKeepEveryRow() throws {
        let (one, other) = (try open(), try open())
        try append(one, 0..<10)
        try append(other, 5..<15)
        try one.flush()
        try other.flush()
        let both = try open()
        #expect(both.count == 15)
        try expect(both, 0..<15)
        // One merges what the other has mapped.
        let merged = try open(sizes: .init(smallFiles: 1))
        #expect(try FileSystem.list(merged.path!).count == 1)
        try expect(both, 0..<15)
        try expect(merged, 0..<15)
        try append(both, 15..<20)
        try both.flush()
        try expect(open(), 0..<20)
    }

    /// Opening, appending and merging at once, as processes do: nothing is shared but the folder.
    @Test func manyWritersAtOnce() async throws {
        let (folder, key) = (scratch["cache"], key)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<4 {
                group.addTask {
                    for round in 0..<15 {
                        let cache = try FeatureCache(folder: folder, key: key, width: 3, sizes: .init(smallFiles: 3))
                        let text = InputText("writer \(writer) round \(round)")
                        try cache.append([text], scores: [Float(writer), Float(round)], hidden: [1, 2, 3])
                        try cache.flush()
                    }
                }
            }
            try await group.waitForAll()
        }
        let cache = try open()
        #expect(cache.count == 60)
        for writer in 0..<4 {
            for round in 0..<15 {
                let row = try #require(cache.lookup([InputText("writer \(writer) round \(round)")])[0])
                #expect(cache.read([row]).scores == [Float(writer), Float(round)])
            }
        }
    }

    @Test func onlyWholeFiniteRowsAreTaken() throws {
        let cache = try open()
        let texts = [InputText("a"), InputText("b")]
        expectError(.numeric, "hidden", "row 1, column 2", "nan") {
            try cache.append(texts, scores: [1, 2, 3, 4], hidden: [1, 2, 3, 4, 5, .nan])
        }
        expectError(.numeric, "scores", "row 0, column 1", "inf") {
            try cache.append(texts, scores: [1, -.infinity, 3, 4], hidden: [1, 2, 3, 4, 5, 6])
        }
        expectError(.shape, "scores", "2 x 2", "3") {
            try cache.append(texts, scores: [1, 3, 4], hidden: [1, 2, 3, 4, 5, 6])
        }
        #expect(cache.count == 0)
        expectError(.invalidArgument, "width", "0") { try open(width: 0) }
    }

    @Test func withoutWordsThereAreHiddenStatesOnly() throws {
        var key = key
        key.words = []
        let cache = try open(key)
        try append(cache, 0..<3)
        try cache.flush()
        try expect(open(key), 0..<3)
    }

    /// Needs no rights: a process of its own that may write only small files.
    @Test func aFullDiskLeavesNothingHalf() async {
        await #expect(processExitsWith: .success) {
            let scratch = try ScratchFolder()
            let key = FeatureKey(model: "m", template: "{text}", words: ["w"], multiToken: .first)
            let cache = try FeatureCache(folder: scratch.path, key: key, width: 1000)
            signal(SIGXFSZ, SIG_IGN)
            var limit = rlimit(rlim_cur: 3000, rlim_max: rlim_t.max)
            #expect(setrlimit(__rlimit_resource_t(1), &limit) == 0)
            try cache.append([InputText("a")], scores: [1], hidden: (0..<1000).map { Float($0) })
            expectError(.io, "size limit") { try cache.flush() }
            #expect(try FileSystem.list(cache.path!).isEmpty)
            limit.rlim_cur = limit.rlim_max
            #expect(setrlimit(__rlimit_resource_t(1), &limit) == 0)
            try cache.flush()
            let again = try FeatureCache(folder: scratch.path, key: key, width: 1000)
            #expect(again.read(again.lookup([InputText("a")]).compactMap(\.self)).hidden.last == 999)
        }
    }
}
