import SeamPlugin

/// Why a request has no answer: the sentence for the user, and whether asking again may help.
struct Problem: Error {
    let code: Status
    let message: String
    let isTransient: Bool
    /// Seconds that the server asks to wait; 0: it says nothing.
    var wait = 0.0
    /// Whether the server asks for fewer requests altogether, not for this one alone.
    var slowsDown = false

    init(_ code: Status, _ message: String, isTransient: Bool = false) {
        (self.code, self.message, self.isTransient) = (code, message, isTransient)
    }

    var pluginError: PluginError { PluginError(code, message) }
}
