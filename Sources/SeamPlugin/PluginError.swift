/// What went wrong, for the program. The sentence for the user goes with it.
public enum Status: Int32, Sendable {
    case ok = 0
    /// A value outside what is accepted.
    case invalidArgument = 1
    /// No such tensor, parameter or key.
    case notFound = 2
    /// Made for another backbone or another version.
    case incompatible = 4
    /// Tensor shapes that do not fit together.
    case shape = 5
    /// The operating system or a server refused.
    case io = 6
    /// Content that is not what its format promises.
    case format = 7
    /// Valid, but not offered here.
    case unsupported = 8
    /// NaN or infinity where a number is needed.
    case numeric = 9
    /// A callback, or a limit set beforehand, asked to stop.
    case cancelled = 11
    /// A plugin broke its own contract.
    case plugin = 12
}

/// Why an adapter or a backbone could not be made. The host puts the plugin's id in front of the
/// message, so a message names what was expected and what was found, and not who says so.
public struct PluginError: Error {
    public let code: Status
    public let message: String

    public init(_ code: Status, _ message: String) {
        (self.code, self.message) = (code, message)
    }
}
