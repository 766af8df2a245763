import Glibc
import Support

extension FileSystem {
    /// Removes what writers that were killed left in a folder: their temporary files and folders, `.NAME.tmp-PID-…`.
    ///
    /// One goes only where no process of its number lives and nobody holds its lock, which the kernel frees when its
    /// writer ends, so never that of a writer at work. What cannot be removed stays.
    /// - Parameters:
    ///   - name: of the file or folder that was to be written; nil for any.
    ///   - isLocked: the caller has the folder's lock. Then the lock of what is older than a minute tells enough: in
    ///     containers, whose processes all have the same numbers, a process of that number always lives.
    public static func removeAbandoned(in folder: String, of name: String? = nil, isLocked: Bool = false) {
        for entry in (try? list(folder)) ?? [] {
            guard let writer = temporaryWriter(of: entry, name) else { continue }
            let path = join(folder, entry)
            if isAbandoned(path, by: writer, isLocked: isLocked) { try? remove(path) }
        }
    }

    /// The process that made a temporary name; nil for a name of another form.
    private static func temporaryWriter(of entry: String, _ name: String?) -> pid_t? {
        guard entry.hasPrefix("."), let marker = entry.lastRange(of: ".tmp-") else { return nil }
        let target = entry[..<marker.lowerBound].dropFirst()
        let parts = entry[marker.upperBound...].split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, !target.isEmpty, name == nil || target == name!, !parts[1].isEmpty,
            parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) || $0 == 0x5F }),
            let writer = pid_t(parts[0]), writer > 0
        else { return nil }
        return writer
    }

    private static func isAbandoned(_ path: String, by writer: pid_t, isLocked: Bool) -> Bool {
        let isDead = kill(writer, 0) != 0 && errno == ESRCH
        // Its writer locks it right after it has made it, so that an old one without a lock has none.
        guard isDead || isLocked && age(of: path) > 60 else { return false }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return flock(descriptor, LOCK_EX | LOCK_NB) == 0
    }

    /// Seconds since the content of a file or folder changed; 0 for what is not there.
    private static func age(of path: String) -> Int {
        var info = stat()
        return lstat(path, &info) == 0 ? Glibc.time(nil) - info.st_mtim.tv_sec : 0
    }
}

extension String {
    /// The last place where a text stands.
    fileprivate func lastRange(of text: String) -> Range<String.Index>? { ranges(of: text).last }
}
