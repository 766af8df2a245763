import Files
import Glibc
import Support
import TestSupport
import Testing

@Suite struct AtomicFolderTests {
    let scratch: ScratchFolder
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
        let answer = try AtomicFolder.write(path, marker: "m.json") { folder in
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
        try AtomicFolder.write(path, marker: "m.json", fill("one", "extra"))
        if canExchange {
            try AtomicFolder.write(path + "/", marker: "m.json", fill("two"))
        } else {
            try AtomicFolder.write(path, marker: "m.json", exchange: { _, _ in false }, fill("two"))
        }
        #expect(try content(path) == "two")
        #expect(try FileSystem.list(path) == ["m.json"])
        #expect(try FileSystem.list(scratch.path) == ["a"])
    }

    @Test func aFailureLeavesTheOldFolder() throws {
        struct Stop: Error {}
        let path = FileSystem.join(scratch.path, "a")
        try AtomicFolder.write(path, marker: "m.json", fill("one"))
        #expect(throws: Stop.self) {
            try AtomicFolder.write(path, marker: "m.json") { folder in
                try fill("two")(folder)
                throw Stop()
            }
        }
        #expect(throws: Stop.self) {
            try AtomicFolder.write(path, marker: "m.json", exchange: { _, _ in throw Stop() }, fill("two"))
        }
        expectError(.internal, "without its m.json") { try AtomicFolder.write(path, marker: "m.json") { _ in } }
        #expect(try content(path) == "one")
        #expect(try FileSystem.list(scratch.path) == ["a"])
    }

    @Test func neverReplacesOtherPeoplesFiles() throws {
        let path = FileSystem.join(scratch.path, "home")
        try FileSystem.createDirectories(path)
        try AtomicFolder.write(path, marker: "m.json", fill("into an empty folder"))
        try FileSystem.remove(FileSystem.join(path, "m.json"))
        try FileSystem.atomicWriteFile(FileSystem.join(path, "letters"), text: "dear")
        expectError(.alreadyExists, "cannot replace the folder", "home", "letters", "no m.json") {
            try AtomicFolder.write(path, marker: "m.json", fill("x"))
        }
        expectError(.alreadyExists, "a file is there") {
            try AtomicFolder.write(FileSystem.join(path, "letters"), marker: "m.json", fill("x"))
        }
        #expect(try FileSystem.list(path) == ["letters"])
    }

    @Test func followsALinkToTheFolder() throws {
        let path = FileSystem.join(scratch.path, "a")
        let link = FileSystem.join(scratch.path, "latest")
        try AtomicFolder.write(path, marker: "m.json", fill("one"))
        #expect(symlink(path, link) == 0)
        try AtomicFolder.write(link, marker: "m.json", fill("two"))
        #expect(try content(path) == "two")
        #expect(try FileSystem.list(scratch.path) == ["a", "latest"])
    }

    @Test func recoversAnInterruptedReplacement() throws {
        let path = FileSystem.join(scratch.path, "a")
        let setAside = FileSystem.join(scratch.path, ".a.seam-old")
        try AtomicFolder.write(setAside, marker: "m.json", fill("old"))
        try AtomicFolder.recover(path)
        #expect(try content(path) == "old")
        try AtomicFolder.recover(path)
        #expect(try FileSystem.list(scratch.path) == ["a"])
    }

    @Test func readersSeeOneWholeFolderWhileItIsReplaced() async throws {
        let path = FileSystem.join(scratch.path, "a")
        try AtomicFolder.write(path, marker: "m.json", fill("0"))
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for round in 1...100 {
                    try AtomicFolder.write(path, marker: "m.json") { folder in
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
