import Glibc
import Support

/// A kind of folder that is written and replaced as a whole.
public struct FolderKind: Sendable {
    /// The file that every folder of this kind holds, such as `adapter_config.json`.
    public let marker: String
    /// Whether a path in such a folder is part of it.
    let isOwn: @Sendable (String) -> Bool
    /// Whether only models that SeamKit wrote are replaced: other programs write folders with the same files.
    let isModel: Bool

    /// One of which everything is a part that `isOwn` says it of. `isModel`: it is a model as transformers has it, and
    /// one that another program wrote is never replaced.
    public init(marker: String, isModel: Bool = false, isOwn: @escaping @Sendable (_ path: String) -> Bool) {
        (self.marker, self.isModel, self.isOwn) = (marker, isModel, isOwn)
    }

    /// One that holds files of these names, the first of them always.
    public init(_ marker: String, _ names: String..., isModel: Bool = false) {
        self.init(marker: marker, isModel: isModel) {
            names.contains(FileSystem.baseName($0)) && !FileSystem.isDirectory($0)
        }
    }
}

/// Writing a whole folder (an adapter, a checkpoint) so that a crash leaves the old one or the new one.
public enum AtomicFolder {
    /// Calls `body` with the path of an empty temporary folder beside `path`, brings the files that it
    /// wrote to the disk, and gives the folder the name `path`, creating the folders above.
    ///
    /// A folder that is already at `path` is replaced as a whole, but only when it is empty, or holds what
    /// `kind` says and nothing else, a model only if SeamKit wrote it: a mistyped path never costs somebody else's
    /// files, nor does one where somebody keeps more beside an adapter. A link at `path` is followed.
    ///
    /// Throws `SeamError(.alreadyExists)` when something else is at `path`, or with `replaces` false any
    /// folder that is not empty; `.io` when the disk fails or is full, and whatever `body` throws; then
    /// `path` is as before and the temporary folder is gone. A process that is killed leaves a temporary
    /// folder `.NAME.tmp-PID-…`, which the next writer of `path` removes. Two writers of one path at once
    /// are safe: the last to finish wins, or with `replaces` false the first.
    public static func write<Result>(
        _ path: String, _ kind: FolderKind, replaces: Bool = true, _ body: (_ temporary: String) throws -> Result
    ) throws -> Result {
        try write(path, kind, replaces: replaces, exchange: exchange, body)
    }

    /// Removes the folder at `path`, if there is one of this kind. Throws as `write` for another.
    public static func remove(_ path: String, _ kind: FolderKind) throws {
        guard FileSystem.exists(path) else { return }
        let target = try resolved(path)
        try checkReplaceable(target, kind)
        try FileSystem.remove(target)
    }

    /// Whether nothing is at `path`, or an empty folder.
    public static func isFree(_ path: String) -> Bool {
        !FileSystem.exists(path) || (try? FileSystem.list(path))?.isEmpty == true
    }

    /// Throws as `write` would for what is at `path`.
    public static func checkReplaceable(_ path: String, _ kind: FolderKind) throws {
        guard FileSystem.exists(path) else { return }
        guard FileSystem.isDirectory(path) else {
            throw SeamError(.alreadyExists, "cannot write the folder \"\(path)\", a file is there")
        }
        let names = try FileSystem.list(path)
        guard names.isEmpty || names.contains(kind.marker) else {
            throw SeamError(
                .alreadyExists,
                "cannot replace the folder \"\(path)\", it holds other files (\(names[0])) and no \(kind.marker)")
        }
        if let stranger = names.first(where: { $0 != kind.marker && !kind.isOwn(FileSystem.join(path, $0)) }) {
            throw SeamError(
                .alreadyExists,
                "cannot replace the folder \"\(path)\", beside what is written there it holds other files (\(stranger))"
            )
        }
        guard names.isEmpty || !kind.isModel || WrittenModel.isIn(path) else {
            throw SeamError(
                .alreadyExists,
                "cannot replace the folder \"\(path)\", it holds a model that SeamKit did not write: move it away, or"
                    + " give another name")
        }
    }

    /// Finishes what a crash interrupted on a disk that cannot exchange two folders: when nothing is at
    /// `path` but the old folder was set aside, it gets its name back. Call before reading a folder that
    /// `write` wrote; without an interrupted write it does nothing.
    public static func recover(_ path: String) throws {
        let setAside = setAsideName(path)
        guard !FileSystem.exists(path), FileSystem.exists(setAside) else { return }
        guard rename(setAside, path) == 0 else { throw fileError("cannot recover", path, errno) }
    }

    /// Writes as the public form does; `exchange` swaps two folders in one step, or returns false where the disk
    /// cannot.
    package static func write<Result>(
        _ path: String, _ kind: FolderKind, replaces: Bool = true, exchange: (String, String) throws -> Bool,
        _ body: (_ temporary: String) throws -> Result
    ) throws -> Result {
        try recover(path)
        let target = try resolved(path)
        let occupied = SeamError(.alreadyExists, "cannot write the folder \"\(path)\", one is there already")
        func check() throws {
            try checkReplaceable(target, kind)
            guard replaces || isFree(target) else { throw occupied }
        }
        try check()
        let folder = FileSystem.parent(target)
        try FileSystem.createDirectories(folder)
        FileSystem.removeAbandoned(in: folder, of: FileSystem.baseName(target))
        let temporary = FileSystem.temporaryName(beside: target)
        guard mkdir(temporary, 0o777) == 0 else { throw fileError("cannot write", path, errno) }
        // The lock, which ends with the process, tells the folder from what a killed process left.
        let lock = open(temporary, O_RDONLY | O_CLOEXEC | O_DIRECTORY)
        defer { if lock >= 0 { close(lock) } }
        if lock >= 0 { _ = flock(lock, LOCK_EX | LOCK_NB) }
        let result: Result
        do {
            result = try body(temporary)
            guard FileSystem.exists(FileSystem.join(temporary, kind.marker)) else {
                throw SeamError(.internal, "the folder for \"\(path)\" was written without its \(kind.marker)")
            }
            try synchronize(temporary)
            try check()
            try install(temporary, at: target) { one, other in
                guard replaces else { throw occupied }
                return try exchange(one, other)
            }
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

    /// The path with links followed, so that the folder itself is swapped and a link to it stays.
    private static func resolved(_ path: String) throws -> String {
        guard FileSystem.exists(path) else {
            // The "." at the end of NEW/. would be a folder within the one that is to be made.
            let parts = path.split(separator: "/").filter { $0 != "." }
            return try FileSystem.followingLinks((path.hasPrefix("/") ? "/" : "") + parts.joined(separator: "/"))
        }
        guard let real = realpath(path, nil) else { throw fileError("cannot open", path, errno) }
        defer { free(real) }
        return String(cString: real)
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
