import Files
import Glibc
import Support
import TestSupport
import Testing

@Suite struct FileSystemTests {
    let scratch: ScratchFolder
    init() throws { scratch = try ScratchFolder() }

    @Test func mapsAWholeFile() throws {
        let content = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let file = try MappedFile(scratch.write("data", bytes: content))
        #expect(file.withBytes { Array($0) } == content)
        #expect(UInt(bitPattern: file.bytes.baseAddress) % 4096 == 0)
        // Replacing the file leaves the mapping as it was.
        try scratch.write("data", bytes: [1])
        #expect(file.withBytes { Array($0) } == content)
    }

    @Test func mappingErrorsNameFileAndCause() throws {
        expectError(.notFound, "cannot open \"\(scratch.path)/none\"", "no such file") {
            try MappedFile(scratch["none"])
        }
        expectError(.invalidArgument, scratch.path, "expected a file, found a folder") { try MappedFile(scratch.path) }
        expectError(.format, "is empty") { try MappedFile(scratch.write("empty", "")) }
        expectError(.invalidArgument, "/dev/null", "regular file") { try MappedFile("/dev/null") }
        #expect(mkfifo(scratch["pipe"], 0o600) == 0)
        expectError(.invalidArgument, "regular file") { try MappedFile(scratch["pipe"]) }
        expectError(.invalidArgument, "found a file in its path") {
            try MappedFile(FileSystem.join(scratch.write("plain", "x"), "below"))
        }
    }

    /// In a process of its own, as it gives up root's right to read everything.
    @Test func permissionDenied() async {
        await #expect(processExitsWith: .success) {
            let scratch = try ScratchFolder()
            let secret = try scratch.write("secret", "x")
            chmod(secret, 0)
            chmod(scratch.path, 0o555)
            if geteuid() == 0 { #expect(seteuid(65534) == 0) }
            expectError(.io, "cannot open \"\(secret)\", permission denied") { try MappedFile(secret) }
            expectError(.io, "cannot write", "permission denied") { try scratch.write("new", "x") }
            expectError(.io, "cannot create the folder", "permission denied") {
                try FileSystem.createDirectories(scratch["folder"])
            }
            seteuid(getuid())
            chmod(scratch.path, 0o755)
        }
    }

    @Test func readsTextAndFolders() throws {
        #expect(try FileSystem.readText(scratch.write("b.txt", "\u{FEFF}grüße\n")) == "grüße\n")
        #expect(try FileSystem.readText(scratch.write("a.txt", "")) == "")
        #expect(try FileSystem.list(scratch.path) == ["a.txt", "b.txt"])
        expectError(.format, "bad.txt, line 3", "UTF-8", "0xff") {
            try FileSystem.readText(scratch.write("bad.txt", bytes: Array("a\nb\nc".utf8) + [0xFF]))
        }
        expectError(.notFound, "cannot list") { try FileSystem.list(scratch["none"]) }
        expectError(.invalidArgument, "expected a folder") { try FileSystem.list(scratch["a.txt"]) }
    }

    @Test func createsAndRemovesTrees() throws {
        let deep = FileSystem.join(scratch.path, "one", "two/", "three")
        try FileSystem.createDirectories(deep)
        try FileSystem.createDirectories(deep)
        #expect(FileSystem.isDirectory(deep))
        try scratch.write("keep", "x")
        symlink(scratch["keep"], FileSystem.join(deep, "link"))
        try FileSystem.remove(FileSystem.join(scratch.path, "one"))
        #expect(try FileSystem.list(scratch.path) == ["keep"])
        expectError(.invalidArgument, "cannot create the folder", "found a file") {
            try FileSystem.createDirectories(FileSystem.join(scratch.path, "keep", "below"))
        }
        expectError(.notFound, "cannot remove") { try FileSystem.remove(scratch["none"]) }
    }

    @Test func pathsJoinAndSplit() {
        #expect(FileSystem.join("a", "b", "c") == "a/b/c")
        #expect(FileSystem.join("a/", "b") == "a/b")
        #expect(FileSystem.join("a", "/b") == "/b")
        #expect(FileSystem.join("", "b") == "b")
        #expect(FileSystem.parent("a/b/c/") == "a/b")
        #expect(FileSystem.parent("c") == ".")
        #expect(FileSystem.parent("/c") == "/")
        #expect(FileSystem.parent("/a/c") == "/a")
        #expect(FileSystem.baseName("/a/c/") == "c")
        #expect(FileSystem.baseName("/") == "/")
    }

    @Test func replacesFilesAtomically() throws {
        let path = try scratch.write("out", "old")
        struct Stop: Error {}
        #expect(throws: Stop.self) {
            try FileSystem.atomicWriteFile(path) { file in
                try Array("half".utf8).withUnsafeBytes { try file.write($0) }
                #expect(file.count == 4)
                throw Stop()
            }
        }
        #expect(try FileSystem.readText(path) == "old")
        try FileSystem.atomicWriteFile(path, [UInt8]("new".utf8).lazy.map { $0 })
        #expect(try FileSystem.readText(path) == "new")
        #expect(try FileSystem.list(scratch.path) == ["out"])
        var info = stat()
        stat(path, &info)
        #expect(info.st_mode & 0o444 != 0)
    }

    @Test func writingErrorsLeaveNothingBehind() throws {
        expectError(.notFound, "there is no folder \"\(scratch.path)/none\"") {
            try FileSystem.atomicWriteFile(FileSystem.join(scratch.path, "none", "x"), [1])
        }
        try FileSystem.createDirectories(FileSystem.join(scratch.path, "folder"))
        expectError(.invalidArgument, "expected a file, found a folder") {
            try FileSystem.atomicWriteFile(scratch["folder"], [1])
        }
        #expect(try FileSystem.list(scratch.path) == ["folder"])
    }
}
