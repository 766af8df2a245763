import Glibc
import Support

/// Writing a whole folder (an adapter, a checkpoint) so that a crash leaves the old one or the new one.
public enum AtomicFolder {
    /// Calls `body` with the path of an empty temporary folder beside `path`, brings the files that it
    /// wrote to the disk, and gives the folder the name `path`, creating the folders above.
    ///
    /// `marker` is the file that every folder of this kind holds, such as `adapter_config.json`. A folder
    /// that is already at `path` is replaced as a whole, with all it holds, but only when it is empty or
    /// holds the marker: a mistyped path never costs somebody else's files. A link at `path` is followed.
    ///
    /// Throws `SeamError(.alreadyExists)` when something else is at `path`, `.io` when the disk fails or is
    /// full, and whatever `body` throws; then `path` is as before and the temporary folder is gone. A
    /// process that is killed leaves a temporary folder `.NAME.tmp-PID-…`, which may be deleted. Two
    /// writers of one path at once are safe: the last to finish wins.
    public static func write<Result>(
        _ path: String, marker: String, _ body: (_ temporary: String) throws -> Result
    ) throws -> Result {
        try write(path, marker: marker, exchange: exchange, body)
    }

    /// Finishes what a crash interrupted on a disk that cannot exchange two folders: when nothing is at
    /// `path` but the old folder was set aside, it gets its name back. Call before reading a folder that
    /// `write` wrote; without an interrupted write it does nothing.
    public static func recover(_ path: String) throws {
        let setAside = setAsideName(path)
        guard !FileSystem.exists(path), FileSystem.exists(setAside) else { return }
        guard rename(setAside, path) == 0 else { throw fileError("cannot recover", path, errno) }
    }

    /// As the public form; `exchange` swaps two folders in one step, or returns false where the disk
    /// cannot.
    package static func write<Result>(
        _ path: String, marker: String, exchange: (String, String) throws -> Bool,
        _ body: (_ temporary: String) throws -> Result
    ) throws -> Result {
        try recover(path)
        let target = try resolved(path)
        try checkReplaceable(target, marker)
        try FileSystem.createDirectories(FileSystem.parent(target))
        let temporary = FileSystem.temporaryName(beside: target)
        guard mkdir(temporary, 0o777) == 0 else { throw fileError("cannot write", path, errno) }
        let result: Result
        do {
            result = try body(temporary)
            guard FileSystem.exists(FileSystem.join(temporary, marker)) else {
                throw SeamError(.internal, "the folder for \"\(path)\" was written without its \(marker)")
            }
            try synchronize(temporary)
            try checkReplaceable(target, marker)
            try install(temporary, at: target, exchange)
        } catch {
            try? FileSystem.remove(temporary)
            throw error
        }
        try FileSystem.synchronize(folder: FileSystem.parent(target))
        // After an exchange the old folder has the temporary name. The new one is in place, so a failure to
        // clear the old one away must not be reported as a failure to write.
        try? FileSystem.remove(temporary)
        return result
    }

    private static func install(
        _ temporary: String, at target: String, _ exchange: (String, String) throws -> Bool
    ) throws {
        // rename alone replaces nothing and an empty folder, and refuses a folder with content.
        if rename(temporary, target) == 0 { return }
        guard errno == ENOTEMPTY || errno == EEXIST else { throw fileError("cannot write", target, errno) }
        if try exchange(temporary, target) { return }
        let setAside = setAsideName(target)
        if FileSystem.exists(setAside) { try FileSystem.remove(setAside) }
        guard rename(target, setAside) == 0 else { throw fileError("cannot replace", target, errno) }
        guard rename(temporary, target) == 0 else {
            let reason = errno
            rename(setAside, target)
            throw fileError("cannot write", target, reason)
        }
        try? FileSystem.remove(setAside)
    }

    /// `renameat2` is looked up at run time: the Glibc module hides it, and older C libraries lack it.
    private static let renameat2 = dlsym(nil, "renameat2").map {
        unsafeBitCast(
            $0,
            to: (@convention(c) (CInt, UnsafePointer<CChar>, CInt, UnsafePointer<CChar>, CUnsignedInt) -> CInt).self)
    }

    private static func exchange(_ one: String, _ other: String) throws -> Bool {
        let exchangeFlag: CUnsignedInt = 2
        guard let renameat2 else { return false }
        if renameat2(AT_FDCWD, one, AT_FDCWD, other, exchangeFlag) == 0 { return true }
        let reason = errno
        guard reason == EINVAL || reason == ENOSYS else { throw fileError("cannot replace", other, reason) }
        return false
    }

    private static func setAsideName(_ path: String) -> String {
        FileSystem.join(FileSystem.parent(path), ".\(FileSystem.baseName(path)).seam-old")
    }

    /// The path with links followed when something is there, so that the folder itself is swapped.
    private static func resolved(_ path: String) throws -> String {
        guard FileSystem.exists(path) else { return path }
        guard let real = realpath(path, nil) else { throw fileError("cannot open", path, errno) }
        defer { free(real) }
        return String(cString: real)
    }

    private static func checkReplaceable(_ path: String, _ marker: String) throws {
        guard FileSystem.exists(path) else { return }
        guard FileSystem.isDirectory(path) else {
            throw SeamError(.alreadyExists, "cannot write the folder \"\(path)\", a file is there")
        }
        let names = try FileSystem.list(path)
        guard names.isEmpty || names.contains(marker) else {
            throw SeamError(
                .alreadyExists,
                "cannot replace the folder \"\(path)\", it holds other files (\(names[0])) and no \(marker)")
        }
    }

    /// Brings every file below a folder to the disk, so that the new name never shows up before the data.
    private static func synchronize(_ folder: String) throws {
        for name in try FileSystem.list(folder) {
            let path = FileSystem.join(folder, name)
            if FileSystem.isDirectory(path) {
                try synchronize(path)
            } else {
                let file = try InputDescriptor(path)
                guard fsync(file.descriptor) == 0 else { throw fileError("cannot write", path, errno) }
            }
        }
        try FileSystem.synchronize(folder: folder)
    }
}
