import Files
import Glibc
import Support
import TestSupport
import Testing

@Suite struct AtomicFolderTests {
    let scratch: ScratchFolder
    /// Folders that may hold anything beside their marker.
    private let kind = FolderKind(marker: "m.json") { _ in true }
    init() throws { scratch = try ScratchFolder() }

    private func fill(_ text: String, _ extra: String? = nil) -> (String) throws -> Void {
        { folder in
            try FileSystem.atomicWriteFile(FileSystem.join(folder, "m.json"), text: text)
            if let extra {
                try FileSystem.createDirectories(FileSystem.join(folder, "sub"))
                try FileSystem.atomicWriteFile(FileSystem.join(folder, "sub", extra), text: "x")
            }
        }
    }

    private func content(_ folder: String) throws -> String {
        try FileSystem.readText(FileSystem.join(folder, "m.json"))
    }

    @Test func createsWithTheFoldersAbove() throws {
        let path = FileSystem.join(scratch.path, "a", "b")
        let answer = try AtomicFolder.write(path, kind) { folder in
            try fill("one", "extra")(folder)
            return 42
        }
        #expect(answer == 42)
        #expect(try content(path) == "one")
        #expect(try FileSystem.list(path) == ["m.json", "sub"])
        #expect(try FileSystem.list(FileSystem.parent(path)) == ["b"])
    }

    @Test(arguments: [true, false])
    func replacesTheWholeFolder(_ canExchange: Bool) throws {
        let path = FileSystem.join(scratch.path, "a")
        try AtomicFolder.write(path, kind, fill("one", "extra"))
        if canExchange {
            try AtomicFolder.write(path + "/", kind, fill("two"))
        } else {
            try AtomicFolder.write(path, kind, exchange: { _, _ in false }, fill("two"))
        }
        #expect(try content(path) == "two")
        #expect(try FileSystem.list(path) == ["m.json"])
        #expect(try FileSystem.list(scratch.path) == ["a"])
    }

    @Test func aFailureLeavesTheOldFolder() throws {
        struct Stop: Error {}
        let path = FileSystem.join(scratch.path, "a")
        try AtomicFolder.write(path, kind, fill("one"))
        #expect(throws: Stop.self) {
            try AtomicFolder.write(path, kind) { folder in
                try fill("two")(folder)
                throw Stop()
            }
        }
        #expect(throws: Stop.self) {
            try AtomicFolder.write(path, kind, exchange: { _, _ in throw Stop() }, fill("two"))
        }
        expectError(.internal, "without its m.json") { try AtomicFolder.write(path, kind) { _ in } }
        #expect(try content(path) == "one")
        #expect(try FileSystem.list(scratch.path) == ["a"])
    }

    @Test func neverReplacesOtherPeoplesFiles() throws {
        let path = FileSystem.join(scratch.path, "home")
        try FileSystem.createDirectories(path)
        try AtomicFolder.write(path, kind, fill("into an empty folder"))
        try FileSystem.remove(FileSystem.join(path, "m.json"))
        try FileSystem.atomicWriteFile(FileSystem.join(path, "letters"), text: "dear")
        expectError(.alreadyExists, "cannot replace the folder", "home", "letters", "no m.json") {
            try AtomicFolder.write(path, kind, fill("x"))
        }
        expectError(.alreadyExists, "a file is there") {
            try AtomicFolder.write(FileSystem.join(path, "letters"), kind, fill("x"))
        }
        #expect(try FileSystem.list(path) == ["letters"])
    }

    @Test func followsALinkToTheFolder() throws {
        let path = FileSystem.join(scratch.path, "a")
        let link = FileSystem.join(scratch.path, "latest")
        try AtomicFolder.write(path, kind, fill("one"))
        #expect(symlink(path, link) == 0)
        try AtomicFolder.write(link, kind, fill("two"))
        #expect(try content(path) == "two")
        #expect(try FileSystem.list(scratch.path) == ["a", "latest"])
    }

    @Test func whatSomebodyKeepsThereIsNotReplaced() throws {
        let strict = FolderKind("m.json", "weights")
        let path = FileSystem.join(scratch.path, "a")
        try AtomicFolder.write(path, strict) { folder in
            try fill("one")(folder)
            try FileSystem.atomicWriteFile(FileSystem.join(folder, "weights"), text: "w")
        }
        try AtomicFolder.write(path, strict, fill("two"))
        #expect(try FileSystem.list(path) == ["m.json"])
        try scratch.write("a/.git", "x")
        expectError(.alreadyExists, "beside what is written there it holds other files (.git)") {
            try AtomicFolder.write(path, strict, fill("three"))
        }
        expectError(.alreadyExists, "(.git)") { try AtomicFolder.remove(path, strict) }
        #expect(try content(path) == "two")
        try FileSystem.remove(scratch["a/.git"])
        expectError(.alreadyExists, "cannot write the folder \"\(path)\", one is there already") {
            try AtomicFolder.write(path, strict, replaces: false, fill("three"))
        }
        #expect(try content(path) == "two")
        try AtomicFolder.remove(path, strict)
        try AtomicFolder.write(path, strict, replaces: false, fill("four"))
        #expect(try content(path) == "four")
        #expect(try FileSystem.list(scratch.path) == ["a"])
    }

    @Test func ofTwoWritersThatReplaceNothingTheFirstWins() throws {
        let path = FileSystem.join(scratch.path, "a")
        expectError(.alreadyExists, "one is there already") {
            try AtomicFolder.write(path, kind, replaces: false) { folder in
                try fill("second")(folder)
                try AtomicFolder.write(path, kind, replaces: false, fill("first"))
            }
        }
        #expect(try content(path) == "first")
        #expect(try FileSystem.list(scratch.path) == ["a"])
    }

    @Test func aLinkToNothingIsFollowed() throws {
        symlink("a", scratch["link"])
        try AtomicFolder.write(scratch["link"], kind, fill("one"))
        #expect(try content(scratch["a"]) == "one")
        #expect(try FileSystem.list(scratch.path) == ["a", "link"])
    }

    @Test func recoversAnInterruptedReplacement() throws {
        let path = FileSystem.join(scratch.path, "a")
        let setAside = FileSystem.join(scratch.path, ".a.seam-old")
        try AtomicFolder.write(setAside, kind, fill("old"))
        try AtomicFolder.recover(path)
        #expect(try content(path) == "old")
        try AtomicFolder.recover(path)
        #expect(try FileSystem.list(scratch.path) == ["a"])
    }

    @Test func readersSeeOneWholeFolderWhileItIsReplaced() async throws {
        let path = FileSystem.join(scratch.path, "a")
        try AtomicFolder.write(path, kind, fill("0"))
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for round in 1...100 {
                    try AtomicFolder.write(path, kind) { folder in
                        try FileSystem.atomicWriteFile(FileSystem.join(folder, "m.json"), text: "\(round)")
                    }
                }
            }
            group.addTask {
                for _ in 0..<2000 { #expect(FileSystem.exists(FileSystem.join(path, "m.json"))) }
            }
            try await group.waitForAll()
        }
        #expect(try content(path) == "100")
    }
}
