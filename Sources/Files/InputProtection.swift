import Glibc
import Support

extension FileSystem {
    /// Throws `SeamError(.invalidArgument)` where something that a command reads is, or lies in, what the command is to
    /// replace: by the same file, whatever it is called. What is not there is no danger.
    public static func checkApart(_ inputs: [String], from replaced: [String]) throws {
        let places = replaced.compactMap { path in identity(path).map { (path: path, identity: $0) } }
        guard !places.isEmpty else { return }
        for input in inputs {
            guard let real = realpath(input, nil) else { continue }
            defer { free(real) }
            var place = String(cString: real)
            while true {
                if let own = identity(place), let hit = places.first(where: { $0.identity == own }) {
                    throw SeamError(
                        .invalidArgument,
                        "\"\(input)\" is read by this command, which would replace it as \"\(hit.path)\": write somewhere"
                            + " else")
                }
                guard place != "/" else { break }
                place = parent(place)
            }
        }
    }

    /// A path and, of a folder, all files below.
    public static func filesBelow(_ path: String) -> [String] {
        guard isDirectory(path) else { return [path] }
        return ((try? list(path)) ?? []).flatMap { name -> [String] in
            let entry = join(path, name)
            return isLink(entry) && isDirectory(entry) ? [] : filesBelow(entry)
        }
    }

    /// Whether a regular file has this very name, no link to one.
    public static func isPlainFile(_ path: String) -> Bool {
        var info = stat()
        return lstat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFREG
    }

    /// Whether a link is at `path`, to whatever.
    public static func isLink(_ path: String) -> Bool {
        var info = stat()
        return lstat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFLNK
    }

    /// Device and number of a regular file or a folder, links followed; nil for anything else.
    private static func identity(_ path: String) -> FileIdentity? {
        var info = stat()
        guard stat(path, &info) == 0, [S_IFREG, S_IFDIR].contains(info.st_mode & S_IFMT) else { return nil }
        return FileIdentity(device: info.st_dev, number: info.st_ino)
    }
}

private struct FileIdentity: Equatable {
    let device: dev_t
    let number: ino_t
}
