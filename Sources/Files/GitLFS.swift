import Support

/// The small text file that Git keeps in place of a large one whose content was not downloaded.
enum GitLFS {
    private static let start = Array("version https://git-lfs.github.com/spec/".utf8)
    /// Pointers are below 1,024 bytes by their specification.
    private static let mostBytes = 1024

    /// Throws `SeamError(.format)` where a file's bytes are those of a pointer.
    static func refusePointer(_ bytes: UnsafeRawBufferPointer, path: String) throws {
        guard bytes.count < mostBytes, bytes.starts(with: start) else { return }
        throw SeamError(
            .format,
            "\"\(path)\" is a Git LFS pointer, not the file itself, which was not downloaded: run `git lfs pull` in its"
                + " repository, or download the file")
    }
}
