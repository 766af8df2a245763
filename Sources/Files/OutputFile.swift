import Glibc
import Support

/// A file that is being written, as `FileSystem.atomicWriteFile` lends it to its closure, or one that grows.
///
/// Belongs to the thread that got it; a lent one must not be used after the closure has returned.
public final class OutputFile {
    /// The file that the bytes go to until it is complete.
    let location: String
    /// The name that the user knows, for error sentences.
    private let path: String
    /// A pipe or a terminal, which has no place on a disk.
    private let isStream: Bool
    private var descriptor: Int32
    /// Bytes written so far.
    public private(set) var count = 0

    /// A new file at `location`. Its lock, which ends with the process, tells it from what a killed process left.
    /// - Parameter mode: its permissions; nil for those of any new file.
    init(temporary location: String, for path: String, mode: mode_t?) throws {
        (self.location, self.path, isStream) = (location, path, false)
        descriptor = open(location, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw fileError("cannot write", path, errno) }
        _ = flock(descriptor, LOCK_EX | LOCK_NB)
        if let mode { fchmod(descriptor, mode) }
    }

    /// Takes over an open descriptor.
    init(descriptor: Int32, for path: String, isStream: Bool) {
        (self.descriptor, self.path, self.isStream, location) = (descriptor, path, isStream, path)
    }

    /// Opens a file to write behind what it holds, such as a log; makes one where there is none. What is written can be
    /// read at once, and stays when the process ends at any time. Throws `SeamError(.io)`.
    public convenience init(appendingTo path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0o666)
        guard descriptor >= 0 else { throw fileError("cannot write", path, errno) }
        self.init(descriptor: descriptor, for: path, isStream: false)
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

    /// Appends a text as UTF-8. Throws as above.
    public func write(_ text: String) throws {
        var text = text
        try text.withUTF8 { try write(UnsafeRawBufferPointer($0)) }
    }

    /// Brings the content to the disk and closes the file. A full disk may be reported only here.
    func finish() throws {
        guard isStream || fsync(descriptor) == 0 else { throw fileError("cannot write", path, errno) }
        let closed = close(descriptor)
        descriptor = -1
        guard closed == 0 else { throw fileError("cannot write", path, errno) }
    }
}
