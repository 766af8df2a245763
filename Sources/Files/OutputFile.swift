import Glibc
import Support

/// A file that is being written, as `FileSystem.atomicWriteFile` lends it to its closure.
///
/// Belongs to the thread that got it and must not be used after the closure has returned.
public final class OutputFile {
    /// Where the bytes go until the file is complete.
    let location: String
    /// The name that the user knows, for error sentences.
    private let path: String
    private var descriptor: Int32
    /// Bytes written so far.
    public private(set) var count = 0

    init(temporary location: String, for path: String) throws {
        self.location = location
        self.path = path
        descriptor = open(location, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw fileError("cannot write", path, errno) }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }

    /// Appends `bytes`. Throws `SeamError(.io)` when the disk is full or fails.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let part = UnsafeRawBufferPointer(rebasing: rest)
            let written = Glibc.write(descriptor, part.baseAddress!, part.count)
            if written < 0 && errno == EINTR { continue }
            guard written >= 0 else { throw fileError("cannot write", path, errno) }
            rest = rest.dropFirst(written)
            count += written
        }
    }

    /// Brings the content to the disk and closes the file. A full disk may be reported only here.
    func finish() throws {
        guard fsync(descriptor) == 0 else { throw fileError("cannot write", path, errno) }
        let closed = close(descriptor)
        descriptor = -1
        guard closed == 0 else { throw fileError("cannot write", path, errno) }
    }
}
