import Files
import Session
import Support

/// The folder that a training run writes into: what in it is a run's, and what becomes of it when another run comes.
public enum RunFolder {
    static let logName = "log.jsonl"
    static let plotName = "loss.svg"
    static let adapterName = "adapter"
    static let backboneName = "backbone"
    static let checkpointName = "checkpoint"

    /// Whether `folder` holds an unfinished run.
    public static func isResumable(_ folder: String) -> Bool {
        Checkpoint.exists(at: FileSystem.join(folder, checkpointName))
    }

    /// Throws one sentence where a run may not write into a folder, before anything is computed: `.alreadyExists` where
    /// another process writes into it, for what another run wrote, unless it is to be overwritten, and for what no run
    /// wrote; `.notFound` for a run to be resumed without a checkpoint.
    public static func check(_ folder: String, resumes: Bool, overwrites: Bool) throws {
        guard !(resumes && overwrites) else {
            throw SeamError(.invalidArgument, "--resume goes on with a run and --overwrite starts anew: give one of them")
        }
        // The sentence of a run at work comes first: its folder is not there to be overwritten.
        try FolderLock.check(folder)
        try checkContent(folder, resumes: resumes, overwrites: overwrites)
    }

    private static func checkContent(_ folder: String, resumes: Bool, overwrites: Bool) throws {
        let isResumable = isResumable(folder)
        guard !resumes else {
            guard isResumable else { throw SeamError(.notFound, "--resume: \"\(folder)\" holds no checkpoint") }
            return
        }
        for (name, kind) in folders { try AtomicFolder.checkReplaceable(FileSystem.join(folder, name), kind) }
        guard !overwrites else { return }
        guard !isResumable else {
            throw SeamError(
                .alreadyExists,
                "\"\(folder)\" holds the checkpoint of an unfinished run: add --resume to go on, --overwrite to start anew,"
                    + " or give another --output")
        }
        let names = folders.map { $0.name } + [logName, plotName, Recording.fileName]
        if let name = names.first(where: { FileSystem.exists(FileSystem.join(folder, $0)) }) {
            throw SeamError(
                .alreadyExists,
                "\"\(folder)\" holds the \(name) of another run: add --overwrite to replace that run, or give another"
                    + " --output")
        }
    }

    /// Takes a folder for a run, and removes what another run wrote there where it is to be overwritten.
    /// - Returns: its lock, to be kept for as long as the run writes.
    /// - Throws: as `check`.
    static func claim(_ folder: String, resumes: Bool, overwrites: Bool) throws -> FolderLock {
        let lock = try FolderLock(folder)
        try checkContent(folder, resumes: resumes, overwrites: overwrites)
        guard overwrites, !resumes else { return lock }
        // Pictures have the names of what was recorded; those of a damaged file stay.
        let pictures = ((try? Recording.plots(in: folder)) ?? []).map { $0.name + ".svg" }
        for name in pictures + [logName, plotName, Recording.fileName] {
            let path = FileSystem.join(folder, name)
            if FileSystem.exists(path) { try FileSystem.remove(path) }
        }
        for (name, kind) in folders { try AtomicFolder.remove(FileSystem.join(folder, name), kind) }
        return lock
    }

    private static let folders: [(name: String, kind: FolderKind)] = [
        (adapterName, AdapterFolder.kind), (backboneName, BackboneFolder.kind), (checkpointName, Checkpoint.kind),
    ]
}
