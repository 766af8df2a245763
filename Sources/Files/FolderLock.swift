import Glibc
import Support

/// A folder that one process at a time writes results into. The kernel frees the lock when the process ends, however it
/// ends.
///
/// Not thread-safe: one thread at a time.
public final class FolderLock {
    private let path: String
    private var descriptor: Int32

    /// Creates the folder where there is none, takes its lock, and removes what killed writers left in it.
    ///
    /// Throws `SeamError(.alreadyExists)` when another process, or another object of this one, has the lock, and as
    /// `FileSystem.createDirectories`. On a disk that knows no locks there is none, as for any other program.
    public init(_ folder: String) throws {
        try FileSystem.createDirectories(folder)
        path = FileSystem.join(folder, ".seam-lock")
        descriptor = -1
        repeat {
            descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o666)
            guard descriptor >= 0 else { throw fileError("cannot write", path, errno) }
            guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK else {
                let holder = Self.holder(descriptor)
                close(descriptor)
                descriptor = -1
                throw SeamError(
                    .alreadyExists,
                    "another process\(holder) writes into \"\(folder)\": wait for its end, or give another folder")
            }
        } while isRemoved()
        ftruncate(descriptor, 0)
        let text = Array("\(getpid())\n".utf8)
        _ = write(descriptor, text, text.count)
        FileSystem.removeAbandoned(in: folder, isLocked: true)
    }

    /// Throws as `init` for a folder in which another process writes, and takes no lock. One that is not there is free.
    public static func check(_ folder: String) throws {
        if FileSystem.isDirectory(folder) { try FolderLock(folder).release() }
    }

    deinit { release() }

    /// Frees the folder. The file of the lock goes, too; whoever has opened it meanwhile finds that it is removed.
    public func release() {
        guard descriptor >= 0 else { return }
        unlink(path)
        close(descriptor)
        descriptor = -1
    }

    /// Whether the one who had the lock before has removed the file after it was opened here; closes it then.
    private func isRemoved() -> Bool {
        var (own, there) = (stat(), stat())
        let isThere = fstat(descriptor, &own) == 0 && stat(path, &there) == 0 && own.st_ino == there.st_ino
        if !isThere { close(descriptor) }
        return !isThere
    }

    /// " 1234" for the process that wrote its number into the file.
    private static func holder(_ descriptor: Int32) -> String {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        let text = String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
        return Int(text.prefix { $0 != "\n" }).map { " (\($0))" } ?? ""
    }
}
