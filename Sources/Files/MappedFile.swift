import Glibc
import Platform
import Support

/// A whole file mapped read-only into memory; the pages are read from disk when they are touched.
///
/// Thread rules: any thread may read. Lifetime: `bytes` is valid while this object lives, so whoever
/// keeps a pointer into it must keep the object too, or use `withBytes`. A program that truncates the
/// file while it is mapped makes reads beyond the new end fatal (SIGBUS), of which a program can tell the
/// user (`watchForLostPages`); SeamKit itself replaces files by renaming and never truncates one.
///
/// `@unchecked Sendable` is sound: both properties are constants, the pages are mapped without write
/// permission, and they are unmapped in `deinit` only, when no other reference is left.
public final class MappedFile: @unchecked Sendable {
    /// The path as given to `init`.
    public let path: String
    /// The content: never empty, starts at a page boundary, valid while this object lives. The one
    /// place where this target hands out memory that the compiler does not keep alive.
    public let bytes: UnsafeRawBufferPointer

    /// Throws `SeamError`: `.notFound` for a missing file, `.invalidArgument` for a folder, device or
    /// pipe, `.format` for an empty file and a Git LFS pointer, `.io` when permission is denied or mapping fails.
    public init(_ path: String) throws {
        let file = try InputDescriptor(path)
        guard file.size > 0 else {
            throw SeamError(.format, "\"\(path)\" is empty, expected a file with content")
        }
        let start = mmap(nil, file.size, PROT_READ, MAP_PRIVATE, file.descriptor, 0)
        guard let start, start != MAP_FAILED else { throw fileError("cannot map", path, errno) }
        self.path = path
        bytes = UnsafeRawBufferPointer(start: start, count: file.size)
        if platform_watches_mappings() != 0 {
            platform_note_mapping(
                start, file.size,
                "Error: "
                    + escapingControls("\"\(path)\" became shorter while it was in use, so that a part of it is gone")
                    + "\n")
        }
        try GitLFS.refusePointer(bytes, path: path)
    }

    /// Makes a file that is mapped later be named on standard error before SIGBUS ends the process, since another
    /// program made it shorter. For programs only: it installs a signal handler.
    public static func watchForLostPages() { platform_watch_mappings() }

    deinit {
        if platform_watches_mappings() != 0 { platform_forget_mapping(bytes.baseAddress!) }
        munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress!), bytes.count)
    }

    /// Calls `body` with the content; the pointer must not leave `body`.
    public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try withExtendedLifetime(self) { try body(bytes) }
    }
}

/// A regular file open for reading, closed when the value goes out of scope.
struct InputDescriptor: ~Copyable {
    let descriptor: Int32
    /// Length in bytes when it was opened.
    let size: Int

    init(_ path: String) throws {
        // Without O_NONBLOCK opening a named pipe would wait for a writer for ever.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw fileError("cannot open", path, errno) }
        var info = stat()
        guard fstat(descriptor, &info) == 0 else {
            let reason = errno
            close(descriptor)
            throw fileError("cannot open", path, reason)
        }
        switch info.st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFDIR:
            close(descriptor)
            throw fileError("cannot open", path, EISDIR)
        default:
            close(descriptor)
            throw SeamError(
                .invalidArgument, "cannot open \"\(path)\", expected a regular file, found a device or pipe")
        }
        self.descriptor = descriptor
        size = Int(info.st_size)
    }

    deinit { close(descriptor) }
}
