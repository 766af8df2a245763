import Glibc
import Support

extension FileSystem {
    /// Writes `bytes` to a file so that a crash or a full disk leaves the file that was there before.
    ///
    /// The bytes go to a temporary file in the same folder, to the disk, and then take the name and the permissions of
    /// the file that was there. A link at `path` stays, and the file behind it is replaced. A pipe, a terminal and what an
    /// open descriptor goes to (`/dev/stdout`, `/dev/fd/3`) are written into, and so is, emptied first, a file with
    /// several names or of another owner, which a new file would not be. On failure the temporary file is removed and
    /// `SeamError(.io)` says why, "the disk is full" for instance; `.invalidArgument` refuses what cannot be written,
    /// such as a folder or a disk.
    public static func atomicWriteFile(_ path: String, _ bytes: some Sequence<UInt8>) throws {
        try atomicWriteFile(path) { file in
            let written: Void? = try bytes.withContiguousStorageIfAvailable {
                try file.write(UnsafeRawBufferPointer($0))
            }
            if written == nil { try Array(bytes).withUnsafeBytes { try file.write($0) } }
        }
    }

    /// Writes a text, as above, in UTF-8.
    /// - Parameter shouldContinue: asked again and again while a pipe has no reader; false throws `.cancelled`.
    public static func atomicWriteFile(
        _ path: String, text: String, shouldContinue: () -> Bool = { true }
    ) throws {
        var text = text
        try atomicWriteFile(path, shouldContinue: shouldContinue) { file in
            try text.withUTF8 { try file.write(UnsafeRawBufferPointer($0)) }
        }
    }

    /// Writes content that is produced piece by piece, as above; `body` writes it through the file.
    ///
    /// When `body` throws, nothing is at `path` that was not there before; a pipe has had what was written until then.
    public static func atomicWriteFile(
        _ path: String, shouldContinue: () -> Bool = { true }, _ body: (OutputFile) throws -> Void
    ) throws {
        let target: String
        let mode: mode_t?
        switch try OutputPlace(path, shouldContinue: shouldContinue) {
        case .stream(let descriptor):
            let file = OutputFile(descriptor: descriptor, for: path, isStream: true)
            try body(file)
            return try file.finish()
        case .file(let place, let permissions): (target, mode) = (place, permissions)
        }
        let folder = parent(target)
        removeAbandoned(in: folder, of: baseName(target))
        let file = try OutputFile(temporary: temporaryName(beside: target), for: path, mode: mode)
        do {
            try body(file)
            try file.finish()
            guard rename(file.location, target) == 0 else { throw fileError("cannot write", path, errno) }
        } catch {
            unlink(file.location)
            throw error
        }
        try synchronize(folder: folder)
    }

    /// Throws as `atomicWriteFile` would for a path that cannot be written, so that long work is not done in vain.
    public static func checkWritable(_ path: String) throws {
        _ = try OutputPlace(path, opensStream: false)
    }

    /// A name in the same folder that nobody else uses.
    static func temporaryName(beside path: String) -> String {
        let unique = String(UInt32.random(in: .min ... .max), radix: 36)
        return join(parent(path), ".\(baseName(path)).tmp-\(getpid())-\(unique)")
    }

    /// The path with the links at its end followed: where a file of that name would be created.
    static func followingLinks(_ path: String) throws -> String {
        var place = path
        for _ in 0..<40 {
            guard let next = linkTarget(place) else { return place }
            place = next
        }
        throw fileError("cannot write", path, ELOOP)
    }

    /// What a link points to; nil for what is no link.
    fileprivate static func linkTarget(_ path: String) -> String? {
        var target = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = target.withUnsafeMutableBytes { readlink(path, $0.baseAddress!, $0.count) }
        return count < 0 ? nil : join(parent(path), String(decoding: target[..<count], as: UTF8.self))
    }
}

/// What stands at a path that is to be written.
private enum OutputPlace {
    /// Nothing or a regular file, at this path behind all links, with its permissions.
    case file(String, mode_t?)
    /// What bytes are sent to and cannot be replaced, open for writing; -1: not opened.
    case stream(Int32)

    init(_ path: String, opensStream: Bool = true, shouldContinue: () -> Bool = { true }) throws {
        func stream(_ open: () -> Int32) throws -> OutputPlace {
            .stream(opensStream ? try Self.opened(path, open) : -1)
        }
        // What was printed comes before what is written.
        func stream(of descriptor: Int32) throws -> OutputPlace {
            fflush(nil)
            return try stream { fcntl(descriptor, F_DUPFD_CLOEXEC, 3) }
        }
        if let descriptor = try Self.ownDescriptor(path) {
            let flags = fcntl(descriptor, F_GETFL)
            guard flags >= 0, flags & O_ACCMODE != O_RDONLY else { throw fileError("cannot write", path, EBADF) }
            self = try stream(of: descriptor)
            return
        }
        var info = stat()
        guard stat(path, &info) == 0 else {
            guard errno == ENOENT else { throw fileError("cannot write", path, errno) }
            let target = try FileSystem.followingLinks(path)
            guard FileSystem.isDirectory(FileSystem.parent(target)) else {
                throw SeamError(
                    .notFound, "cannot write \"\(path)\", there is no folder \"\(FileSystem.parent(target))\"")
            }
            self = .file(target, nil)
            return
        }
        // The file that standard output was redirected to would lose what is printed if it were replaced, and what is
        // printed would overwrite what is written at a position of its own.
        for descriptor: Int32 in [1, 2] {
            var own = stat()
            guard fstat(descriptor, &own) == 0, own.st_dev == info.st_dev, own.st_ino == info.st_ino else { continue }
            self = try stream(of: descriptor)
            return
        }
        switch info.st_mode & S_IFMT {
        case S_IFREG where info.st_nlink > 0:
            guard access(path, W_OK) == 0 else { throw fileError("cannot write", path, errno) }
            guard info.st_nlink == 1, info.st_uid == geteuid() else {
                self = try stream { open(path, O_WRONLY | O_CLOEXEC | O_TRUNC) }
                return
            }
            self = .file(try FileSystem.followingLinks(path), info.st_mode & 0o777)
        case S_IFIFO:
            guard access(path, W_OK) == 0 else { throw fileError("cannot write", path, errno) }
            self = .stream(opensStream ? try Self.pipe(path, shouldContinue) : -1)
        case S_IFREG, S_IFCHR:
            guard access(path, W_OK) == 0 else { throw fileError("cannot write", path, errno) }
            self = try stream { open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY) }
        case S_IFDIR: throw fileError("cannot write", path, EISDIR)
        default:
            throw SeamError(
                .invalidArgument,
                "cannot write \"\(path)\", expected a file, a pipe or a terminal, found a "
                    + (info.st_mode & S_IFMT == S_IFBLK ? "block device" : "socket"))
        }
    }

    /// Waits for a reader without sleeping in the kernel, where a signal that is only noted would not be heard.
    private static func pipe(_ path: String, _ shouldContinue: () -> Bool) throws -> Int32 {
        while true {
            let descriptor = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK)
            if descriptor >= 0 {
                _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
                return descriptor
            }
            guard errno == ENXIO || errno == EINTR else { throw fileError("cannot write", path, errno) }
            guard shouldContinue() else {
                throw SeamError(.cancelled, "nothing was written to \"\(path)\", which nobody reads")
            }
            usleep(20_000)
        }
    }

    /// The descriptor of this process that a path names, as /dev/stdout and /dev/fd/3 do; nil for any other path.
    private static func ownDescriptor(_ path: String) throws -> Int32? {
        var place = path
        for _ in 0..<40 {
            if let real = realpath(FileSystem.parent(place), nil) {
                defer { free(real) }
                if String(cString: real) == "/proc/\(getpid())/fd" { return Int32(FileSystem.baseName(place)) }
            }
            guard let next = FileSystem.linkTarget(place) else { return nil }
            place = next
        }
        throw fileError("cannot write", path, ELOOP)
    }

    private static func opened(_ path: String, _ body: () -> Int32) throws -> Int32 {
        let descriptor = body()
        guard descriptor >= 0 else { throw fileError("cannot write", path, errno) }
        return descriptor
    }
}
