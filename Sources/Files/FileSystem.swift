import Glibc
import Support

/// Paths and folders. Every function may be called from any thread; paths are UTF-8.
///
/// Errors are `SeamError`: `.notFound` for a missing file or folder, `.invalidArgument` for a folder
/// where a file is expected or the reverse, `.io` for permissions, a full disk and the rest.
public enum FileSystem {
    /// The whole content of a regular file, which may be empty. Also throws `.format` for a Git LFS pointer.
    public static func readBytes(_ path: String) throws -> [UInt8] {
        let file = try InputDescriptor(path)
        let bytes = try [UInt8](unsafeUninitializedCapacity: file.size) { buffer, count in
            while count < file.size {
                let got = read(file.descriptor, buffer.baseAddress! + count, file.size - count)
                if got < 0 && errno == EINTR { continue }
                guard got >= 0 else { throw fileError("cannot read", path, errno) }
                guard got > 0 else { break }
                count += got
            }
        }
        try bytes.withUnsafeBytes { try GitLFS.refusePointer($0, path: path) }
        return bytes
    }

    /// The whole content of a UTF-8 text file without its byte order mark.
    ///
    /// Also throws `.format`, naming the line, when the content is not UTF-8.
    public static func readText(_ path: String) throws -> String {
        try readBytes(path).withUnsafeBytes { try UTF8Text($0, name: path).string }
    }

    /// Whether something is at `path`, links followed.
    public static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// Whether a folder is at `path`, links followed.
    public static func isDirectory(_ path: String) -> Bool {
        var info = stat()
        return stat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFDIR
    }

    /// The names in a folder, sorted, without `.` and `..`.
    public static func list(_ path: String) throws -> [String] {
        guard let folder = opendir(path) else { throw fileError("cannot list", path, errno) }
        defer { closedir(folder) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(folder) else { break }
            // The record is shorter than the type says, so its name is read in place.
            let name = UnsafeRawPointer(entry) + MemoryLayout<dirent>.offset(of: \.d_name)!
            names.append(String(cString: name.assumingMemoryBound(to: CChar.self)))
        }
        guard errno == 0 else { throw fileError("cannot list", path, errno) }
        return names.filter { $0 != "." && $0 != ".." }.sorted()
    }

    /// Creates a folder and those above it; one that exists already is fine.
    public static func createDirectories(_ path: String) throws {
        if isDirectory(path) { return }
        let above = parent(path)
        if above != path && !isDirectory(above) { try createDirectories(above) }
        guard mkdir(path, 0o777) == 0 else {
            let reason = errno
            if reason == EEXIST && isDirectory(path) { return }
            throw fileError("cannot create the folder", path, reason == EEXIST ? ENOTDIR : reason)
        }
    }

    /// Removes a file or a folder with all it holds; a link is removed, not what it points to.
    public static func remove(_ path: String) throws {
        var info = stat()
        guard lstat(path, &info) == 0 else { throw fileError("cannot remove", path, errno) }
        guard info.st_mode & S_IFMT == S_IFDIR else {
            guard unlink(path) == 0 else { throw fileError("cannot remove", path, errno) }
            return
        }
        for name in try list(path) { try remove(join(path, name)) }
        guard rmdir(path) == 0 else { throw fileError("cannot remove", path, errno) }
    }

    /// The parts with one `/` between each; an absolute part discards those before it.
    public static func join(_ parts: String...) -> String {
        parts.reduce("") { path, part in
            if path.isEmpty || part.hasPrefix("/") { part } else { path + (path.hasSuffix("/") ? "" : "/") + part }
        }
    }

    /// The last part of a path: `"c"` for `a/b/c` and `a/b/c/`, `"/"` for the root.
    public static func baseName(_ path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? (path.isEmpty ? "" : "/")
    }

    /// Whether a name can be that of a file or a folder everywhere: ASCII letters, digits and some signs, the first one no dot.
    /// - Parameter signs: those that may stand in it beside letters and digits.
    public static func isPortableName(_ name: String, signs: String) -> Bool {
        let isFit = name.utf8.allSatisfy {
            switch $0 {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: signs.utf8.contains($0)
            }
        }
        return isFit && !name.isEmpty && !name.hasPrefix(".")
    }

    /// The folder that holds a path: `"a/b"` for `a/b/c`, `"."` for `c`, `"/"` for `/c` and the root.
    public static func parent(_ path: String) -> String {
        let parts = path.split(separator: "/")
        let isAbsolute = path.hasPrefix("/")
        guard parts.count > 1 else { return isAbsolute ? "/" : "." }
        return (isAbsolute ? "/" : "") + parts.dropLast().joined(separator: "/")
    }

    /// Whether a name that a file gives leads to nothing outside of that file's folder.
    public static func isEntryName(_ name: String) -> Bool {
        !["", ".", ".."].contains(name) && !name.utf8.contains { $0 == 0x2F || $0 == 0 }
    }

    /// Brings a folder's list of names to the disk, without which a rename may be lost in a crash.
    static func synchronize(folder path: String) throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_DIRECTORY)
        guard descriptor >= 0 else { throw fileError("cannot open", path, errno) }
        defer { close(descriptor) }
        // Some network file systems refuse fsync on folders; the data itself is safe by then.
        guard fsync(descriptor) == 0 || errno == EINVAL else { throw fileError("cannot write", path, errno) }
    }
}
