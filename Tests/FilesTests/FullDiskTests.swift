import Files
import Glibc
import Support
import TestSupport
import Testing

@Suite(.serialized) struct FullDiskTests {
    @Test func aFullDiskKeepsTheOldFile() throws {
        let scratch = try ScratchFolder()
        guard mount("seam-test", scratch.path, "tmpfs", 0, "size=64k") == 0 else {
            return print("aFullDiskKeepsTheOldFile: skipped, mounting a small disk is not permitted here")
        }
        defer { umount(scratch.path) }
        let path = try scratch.write("out", "old")
        let large = [UInt8](repeating: 7, count: 200_000)
        expectError(.io, "cannot write \"\(path)\", the disk is full") {
            try FileSystem.atomicWriteFile(path, large)
        }
        #expect(try FileSystem.readText(path) == "old")

        let folder = scratch["adapter"]
        try AtomicFolder.write(folder, FolderKind(marker: "m") { _ in true }) { temporary in
            try FileSystem.atomicWriteFile(FileSystem.join(temporary, "m"), text: "old")
        }
        expectError(.io, "the disk is full") {
            try AtomicFolder.write(folder, FolderKind(marker: "m") { _ in true }) { temporary in
                try FileSystem.atomicWriteFile(FileSystem.join(temporary, "m"), large)
            }
        }
        let tensor = SafetensorsWriter.Tensor(name: "w", type: .uint8, shape: [large.count], bytes: large)
        expectError(.io, "the disk is full") {
            try SafetensorsWriter.write([tensor], to: FileSystem.join(scratch.path, "w.safetensors"))
        }
        #expect(try FileSystem.readText(FileSystem.join(folder, "m")) == "old")
        #expect(try FileSystem.list(scratch.path) == ["adapter", "out"])
    }

    /// Needs no rights: a process of its own that may write only small files.
    @Test func aSizeLimitKeepsTheOldFile() async {
        await #expect(processExitsWith: .success) {
            let scratch = try ScratchFolder()
            let path = try scratch.write("out", "old")
            signal(SIGXFSZ, SIG_IGN)
            var limit = rlimit(rlim_cur: 1000, rlim_max: 1000)
            #expect(setrlimit(__rlimit_resource_t(1), &limit) == 0)
            expectError(.io, "cannot write \"\(path)\"", "exceed the size limit") {
                try FileSystem.atomicWriteFile(path, [UInt8](repeating: 7, count: 200_000))
            }
            #expect(try FileSystem.readText(path) == "old")
            #expect(try FileSystem.list(scratch.path) == ["out"])
        }
    }
}
