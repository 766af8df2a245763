import Files
import SeamHost
import Support

/// The folder that a training run writes into: what in it is a run's, and what becomes of it when another run comes.
public enum RunFolder {
    static let logName = "log.jsonl"
    static let plotName = "loss.svg"
    static let adapterName = "adapter"
    /// The adapters of routes with a name: a folder each, and a list of them.
    static let routesName = "routes"
    static let backboneName = "backbone"
    static let checkpointName = "checkpoint"

    /// Whether `folder` holds an unfinished run.
    public static func isResumable(_ folder: String) -> Bool {
        Checkpoint.exists(at: FileSystem.join(folder, checkpointName))
    }

    /// Throws one sentence where a run may not write into a folder, before anything is computed: `.alreadyExists` where
    /// another process writes into it, for what another run wrote, unless it is to be overwritten, and for what no run
    /// wrote; `.notFound` for a run to be resumed without a checkpoint.
    /// - Parameter inputs: files and folders that the command reads, of which none may be what the run replaces.
    public static func check(_ folder: String, resumes: Bool, overwrites: Bool, inputs: [String] = []) throws {
        guard !(resumes && overwrites) else {
            throw SeamError(
                .invalidArgument, "--resume goes on with a run and --overwrite starts anew: give one of them")
        }
        // The sentence of a run at work comes first: its folder is not there to be overwritten.
        try FolderLock.check(folder)
        try FileSystem.checkApart(
            inputs, from: (folders.map { $0.name } + fileNames(in: folder)).map { FileSystem.join(folder, $0) })
        try checkContent(folder, resumes: resumes, overwrites: overwrites)
    }

    private static func checkContent(_ folder: String, resumes: Bool, overwrites: Bool) throws {
        let isResumable = isResumable(folder)
        guard !resumes else {
            guard isResumable else { throw SeamError(.notFound, "--resume: \"\(folder)\" holds no checkpoint") }
            return
        }
        for (name, kind) in folders { try AtomicFolder.checkReplaceable(FileSystem.join(folder, name), kind) }
        guard !overwrites else { return try checkOwn(folder) }
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
        for (name, kind) in folders { try AtomicFolder.remove(FileSystem.join(folder, name), kind) }
        // The log goes last: without it nobody would know whose the rest is.
        for name in fileNames(in: folder) {
            let path = FileSystem.join(folder, name)
            if FileSystem.exists(path) { try FileSystem.remove(path) }
        }
        return lock
    }

    /// The files of a run. Pictures have the names of what was recorded; those of a damaged file stay.
    private static func fileNames(in folder: String) -> [String] {
        ((try? Recording.plots(in: folder)) ?? []).map { $0.name + ".svg" } + [plotName, Recording.fileName, logName]
    }

    /// Throws `.alreadyExists` where something with the name of a run's is not what a run writes.
    private static func checkOwn(_ folder: String) throws {
        for name in fileNames(in: folder) {
            let path = FileSystem.join(folder, name)
            if FileSystem.exists(path), !FileSystem.isPlainFile(path) { throw foreign(path, "it is no file of a run") }
        }
        for (name, _) in folders where !AtomicFolder.isFree(FileSystem.join(folder, name)) {
            let path = FileSystem.join(folder, name)
            if FileSystem.isLink(path) { throw foreign(path, "it is a link") }
            // A checkpoint is of a form that nothing else has.
            if name == checkpointName { continue }
            guard FileSystem.isPlainFile(FileSystem.join(folder, logName)) else {
                throw foreign(path, "there is no \(logName) of a run beside it")
            }
            if name == adapterName, !AdapterFolder.isOwn(path) {
                throw foreign(path, "it holds another program's adapter")
            }
            if name == routesName, !SavedRoutes.isOwn(path) {
                throw foreign(path, "it holds another program's files")
            }
            if name == backboneName, !isSaved(path, by: FileSystem.join(folder, logName)) {
                throw foreign(path, "the run in \(logName) did not save it so")
            }
        }
    }

    private static func foreign(_ path: String, _ reason: String) -> SeamError {
        SeamError(
            .alreadyExists,
            "--overwrite does not replace \"\(path)\", \(reason): move it away, or give another --output")
    }

    /// Whether there is a log in `folder`.
    public static func hasLog(_ folder: String) -> Bool { FileSystem.exists(FileSystem.join(folder, logName)) }

    /// The entries of a run's log, those of a run that goes on included.
    /// - Throws: `.incompatible` for those of a later version, `.format` for what is no entry.
    public static func logEntries(in folder: String) throws -> [RunEntry] {
        let path = FileSystem.join(folder, logName)
        return try RunLog.lines(of: path).map { try RunLog.entry($0, in: path) }
    }

    /// Whether the model in a folder is one that the run of a log saved, as it saved it. Lines that are no entries are
    /// passed over: a damaged log makes no model foreign.
    private static func isSaved(_ path: String, by log: String) -> Bool {
        guard let found = try? SavedBackbone(in: path), let lines = try? RunLog.lines(of: log) else { return false }
        return lines.contains { line in
            guard case .saved(found, _)? = try? RunLog.entry(line, in: log) else { return false }
            return true
        }
    }

    private static let folders: [(name: String, kind: FolderKind)] = [
        (adapterName, AdapterFolder.kind), (routesName, SavedRoutes.kind), (backboneName, BackboneFolder.kind),
        (checkpointName, Checkpoint.kind),
    ]
}
