import Glibc
import Support

/// The `SeamError` for a failed system call on a file; `action` reads like `cannot open`.
///
/// `reason` is `errno`, taken by the caller right after the call since anything in between may change it.
func fileError(_ action: String, _ path: String, _ reason: Int32) -> SeamError {
    switch reason {
    case ENOENT:
        SeamError(.notFound, "\(action) \"\(path)\", there is no such file or folder")
    case EACCES, EPERM:
        SeamError(.io, "\(action) \"\(path)\", permission denied")
    case ENOSPC, EDQUOT:
        SeamError(.io, "\(action) \"\(path)\", the disk is full")
    case ENOMEM:
        SeamError(.outOfMemory, "\(action) \"\(path)\", the system gives this process no more memory (ulimit -v)")
    case EFBIG:
        SeamError(.io, "\(action) \"\(path)\", the file would exceed the size limit of the disk or process")
    case EPIPE:
        SeamError(.io, "\(action) \"\(path)\", nobody reads it any more")
    case EISDIR:
        SeamError(.invalidArgument, "\(action) \"\(path)\", expected a file, found a folder")
    case ENOTDIR:
        SeamError(.invalidArgument, "\(action) \"\(path)\", expected a folder, found a file in its path")
    default:
        SeamError(.io, "\(action) \"\(path)\", \(String(cString: strerror(reason)))")
    }
}

extension FileSystem {
    /// The error for what was printed and did not arrive; `reason` is its `errno`.
    public static func outputError(_ reason: Int32) -> SeamError {
        fileError("cannot write", "standard output", reason)
    }
}
