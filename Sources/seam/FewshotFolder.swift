import FewShot
import Files
import SeamHost
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

    /// Throws `.alreadyExists` where another process writes into the folder, for a report or heads that are not to be
    /// overwritten, and for what no run wrote; `.invalidArgument` where an input would be replaced.
    func check(overwrites: Bool, inputs: [String]) throws {
        try FolderLock.check(path)
        try FileSystem.checkApart(
            inputs, from: Self.reportNames.map { FileSystem.join(path, $0) } + (try savedHeads()))
        try checkContent(overwrites)
    }

    private func checkContent(_ overwrites: Bool) throws {
        let reports = Self.reportNames.filter { FileSystem.exists(FileSystem.join(path, $0)) }
        let heads = try savedHeads()
        guard !overwrites else {
            for place in reports.map({ FileSystem.join(path, $0) }) where !FileSystem.isPlainFile(place) {
                throw foreign(place)
            }
            for place in heads {
                try AtomicFolder.checkReplaceable(place, AdapterFolder.kind)
                guard AtomicFolder.isFree(place) || AdapterFolder.isOwn(place), !FileSystem.isLink(place) else {
                    throw foreign(place)
                }
            }
            return
        }
        guard let name = reports.first ?? heads.first.map({ String($0.dropFirst(path.count).drop { $0 == "/" }) })
        else {
            return
        }
        throw SeamError(
            .alreadyExists,
            "\"\(path)\" holds the \(name) of another run: add --overwrite to replace that run (its answers in cache/ stay"
                + " in use), or give another --output")
    }

    private func foreign(_ place: String) -> SeamError {
        SeamError(
            .alreadyExists,
            "--overwrite does not replace \"\(place)\", which no run wrote: move it away, or give another --output")
    }

    /// The folders of the heads that are there.
    private func savedHeads() throws -> [String] {
        guard FileSystem.isDirectory(adaptersPath) else { return [] }
        return try FileSystem.list(adaptersPath).filter { $0.hasPrefix("shots-") }.flatMap { shots in
            let folder = FileSystem.join(adaptersPath, shots)
            return try FileSystem.list(folder).filter { $0.hasPrefix("seed-") }.map { FileSystem.join(folder, $0) }
        }
    }

    /// Removes the heads of a run that did not come to its report, so that the same command may begin again.
    func discardHeads() throws {
        for head in try savedHeads() {
            try AtomicFolder.remove(head, AdapterFolder.kind)
            let folder = FileSystem.parent(head)
            if try FileSystem.list(folder).isEmpty { try FileSystem.remove(folder) }
        }
    }

    /// Takes the folder, and removes the report and the heads of the run before, which ended or was stopped.
    /// - Returns: the lock, to be kept for as long as the run writes.
    func claim(overwrites: Bool) throws -> FolderLock {
        let lock = try FolderLock(path)
        try checkContent(overwrites)
        for name in Self.reportNames where FileSystem.exists(FileSystem.join(path, name)) {
            try FileSystem.remove(FileSystem.join(path, name))
        }
        guard FileSystem.isDirectory(adaptersPath) else { return lock }
        for shots in try FileSystem.list(adaptersPath) where shots.hasPrefix("shots-") {
            let folder = FileSystem.join(adaptersPath, shots)
            FileSystem.removeAbandoned(in: folder, isLocked: true)
        }
        try discardHeads()
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
