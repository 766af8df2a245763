import Files
import Glibc
import Support
import TestSupport
import Testing

@Suite struct FolderLockTests {
    let scratch: ScratchFolder
    init() throws { scratch = try ScratchFolder() }

    @Test func oneHasItAtATime() throws {
        let folder = scratch["a/b"]
        let first = try FolderLock(folder)
        expectError(.alreadyExists, "another process (\(getpid())) writes into \"\(folder)\"") {
            _ = try FolderLock(folder)
        }
        expectError(.alreadyExists, "another process") { try FolderLock.check(folder) }
        first.release()
        try FolderLock.check(folder)
        let second = try FolderLock(folder)
        // The first has no say any more.
        first.release()
        expectError(.alreadyExists, "another process") { try FolderLock.check(folder) }
        second.release()
        #expect(try FileSystem.list(folder).isEmpty)
        try FolderLock.check(scratch["nothing"])
        #expect(!FileSystem.exists(scratch["nothing"]))
    }

    /// The file of a killed process stays, and locks nobody out.
    @Test func aFileWithoutAHolderIsNoLock() throws {
        try scratch.write(".seam-lock", "1\n")
        let lock = try FolderLock(scratch.path)
        lock.release()
        #expect(try FileSystem.list(scratch.path).isEmpty)
    }

    @Test func abandonedFilesOfOneNameGo() throws {
        // No process has a number that large.
        let dead = 0x7fff_fffe
        for name in [
            ".m.tmp-\(dead)-a1", ".n.tmp-\(dead)-b_2", ".m.tmp-\(getpid())-c3", ".m.tmp-\(dead)-", "m.tmp-\(dead)-d",
        ] {
            try scratch.write(name, "x")
        }
        FileSystem.removeAbandoned(in: scratch.path, of: "m")
        #expect(
            try FileSystem.list(scratch.path)
                == [".m.tmp-\(dead)-", ".m.tmp-\(getpid())-c3", ".n.tmp-\(dead)-b_2", "m.tmp-\(dead)-d"].sorted())
        FileSystem.removeAbandoned(in: scratch.path)
        #expect(!FileSystem.exists(scratch[".n.tmp-\(dead)-b_2"]))
        FileSystem.removeAbandoned(in: scratch["nothing"])
    }
}
