/// Status codes of the C ABI (`seam_status` in include/seam/base.h), with the same numbers.
public enum ErrorCode: Int32, Sendable {
    case invalidArgument = 1
    case notFound = 2
    case alreadyExists = 3
    case incompatible = 4
    case shape = 5
    case io = 6
    case format = 7
    case unsupported = 8
    case numeric = 9
    case outOfMemory = 10
    case cancelled = 11
    case plugin = 12
    case `internal` = 13
}

/// The one error type of the core: a status code, one sentence for the user, and where it arose.
///
/// `message` names the file or argument, what was expected and what was found. `origin` is the id of
/// the plugin that failed, or empty when the core itself reports the error. The same sentence reaches
/// C, Python and Swift users. Both are one line: control characters in them, of a file's names for instance, are escaped
/// (`escapingControls`).
public struct SeamError: Error, Sendable, CustomStringConvertible {
    public let code: ErrorCode
    public let message: String
    public let origin: String

    public init(_ code: ErrorCode, _ message: String, origin: String = "") {
        self.code = code
        self.message = escapingControls(message)
        self.origin = escapingControls(origin)
    }

    public var description: String { origin.isEmpty ? message : "\(origin): \(message)" }
}
