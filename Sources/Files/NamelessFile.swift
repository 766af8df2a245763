import Glibc
import Support

/// A file without a name in any folder, for what this process alone reads back: it takes room on the disk until it is closed
/// or the process ends, by whatever signal. One thread at a time.
public final class NamelessFile {
    private let descriptor: Int32
    private let folder: String
    private let reserve: Int
    /// Bytes written so far.
    public private(set) var byteCount = 0
    /// Bytes up to which the disk was found to have room.
    private var roomUpTo = 0

    /// - Parameters:
    ///   - folder: on whose disk it is.
    ///   - reserve: bytes of the disk that are left to others.
    /// - Throws: for a folder in which no file can be made.
    public convenience init(in folder: String, reserve: Int) throws {
        let path = FileSystem.temporaryName(beside: FileSystem.join(folder, "seam-cache"))
        let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw fileError("cannot write into", folder, errno) }
        unlink(path)
        self.init(descriptor: descriptor, in: folder, reserve: reserve)
    }

    /// Takes over an open file.
    package init(descriptor: Int32, in folder: String, reserve: Int) {
        (self.descriptor, self.folder, self.reserve) = (descriptor, folder, reserve)
    }

    deinit { close(descriptor) }

    /// Adds bytes behind those that are there.
    /// - Returns: where they begin.
    /// - Throws: `.io` where the disk has no room but the reserve; the file is as before.
    public func append(_ bytes: UnsafeRawBufferPointer) throws -> Int {
        try requireRoom(byteCount + bytes.count)
        var done = 0
        while done < bytes.count {
            let written = pwrite(
                descriptor, bytes.baseAddress! + done, bytes.count - done, byteCount + done)
            if written < 0 && errno == EINTR { continue }
            guard written > 0 else { throw fileError("cannot write into", folder, errno) }
            done += written
        }
        defer { byteCount += bytes.count }
        return byteCount
    }

    /// Fills memory with the bytes from a place on.
    /// - Throws: `.io` where the disk fails.
    public func read(into bytes: UnsafeMutableRawBufferPointer, at place: Int) throws {
        var done = 0
        while done < bytes.count {
            let count = pread(descriptor, bytes.baseAddress! + done, bytes.count - done, place + done)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw fileError("cannot read back from", folder, count < 0 ? errno : EIO) }
            done += count
        }
    }

    /// Asked for every 64 MiB, so that a full disk does not stop others, nor what this process writes beside it.
    private func requireRoom(_ end: Int) throws {
        guard reserve > 0, end > roomUpTo else { return }
        var info = statvfs()
        guard fstatvfs(descriptor, &info) == 0 else { throw fileError("cannot write into", folder, errno) }
        let wanted = max(end, byteCount + 64 << 20)
        let room = UInt(info.f_bavail).multipliedReportingOverflow(by: UInt(info.f_frsize))
        guard room.overflow || room.partialValue >= UInt(reserve + wanted - byteCount) else {
            throw fileError("cannot write into", folder, ENOSPC)
        }
        roomUpTo = wanted
    }
}
