import FewShot
import Files
import Session
import Support

/// The output folder of `seam fewshot`: adapters/ with a head for each draw, cache/ with the model's answers, and the
/// report, which is written last.
struct FewshotFolder {
    let path: String
    private static let reportNames = ["results.json", "results.md", "accuracy.svg"]

    private var adaptersPath: String { FileSystem.join(path, "adapters") }
    var cachePath: String { FileSystem.join(path, "cache") }

    func adapterPath(shots: Int, seed: UInt64, index: Int?) -> String {
        FileSystem.join(adaptersPath, "shots-\(shots)", "seed-\(seed)\(index.map { "-\($0)" } ?? "")")
    }

    /// Throws `.alreadyExists` where another process writes into the folder, and for a report that is not to be
    /// overwritten.
    func check(overwrites: Bool) throws {
        try FolderLock.check(path)
        try checkReport(overwrites)
    }

    private func checkReport(_ overwrites: Bool) throws {
        guard !overwrites, let name = Self.reportNames.first(where: { FileSystem.exists(FileSystem.join(path, $0)) })
        else { return }
        throw SeamError(
            .alreadyExists,
            "\"\(path)\" holds the \(name) of another run: add --overwrite to replace that run (its answers in cache/ stay"
                + " in use), or give another --output")
    }

    /// Takes the folder, and removes the report and the heads of the run before, which ended or was stopped.
    /// - Returns: the lock, to be kept for as long as the run writes.
    func claim(overwrites: Bool) throws -> FolderLock {
        let lock = try FolderLock(path)
        try checkReport(overwrites)
        for name in Self.reportNames where FileSystem.exists(FileSystem.join(path, name)) {
            try FileSystem.remove(FileSystem.join(path, name))
        }
        guard FileSystem.isDirectory(adaptersPath) else { return lock }
        for shots in try FileSystem.list(adaptersPath) where shots.hasPrefix("shots-") {
            let folder = FileSystem.join(adaptersPath, shots)
            FileSystem.removeAbandoned(in: folder)
            for seed in try FileSystem.list(folder) where seed.hasPrefix("seed-") {
                try AtomicFolder.remove(FileSystem.join(folder, seed), AdapterFolder.kind)
            }
            if try FileSystem.list(folder).isEmpty { try FileSystem.remove(folder) }
        }
        return lock
    }

    /// Each file atomically, results.json last.
    func write(_ report: Report, note: String) throws {
        try FileSystem.atomicWriteFile(FileSystem.join(path, "accuracy.svg"), text: report.svg)
        try FileSystem.atomicWriteFile(
            FileSystem.join(path, "results.md"), text: report.markdown + "\n" + note + "\n")
        try FileSystem.atomicWriteFile(
            FileSystem.join(path, "results.json"), text: try report.json.serialized(indent: 2) + "\n")
    }
}
