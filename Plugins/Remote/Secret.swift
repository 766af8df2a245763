import CCurl
import SeamPlugin

/// The API key: read from the environment, sent in a header, and never shown.
struct Secret {
    private let key: [UInt8]

    /// - Parameters:
    ///   - variable: the environment variable that holds the key; empty: SEAM_API_KEY, or OPENAI_API_KEY.
    ///   - allowsOpenAI: whether requests go where OPENAI_API_KEY belongs.
    /// - Throws: when a variable that the user named is not set, or its value cannot stand in a header.
    init?(variable: Text, allowsOpenAI: Bool) throws(PluginError) {
        let isNamed = variable.cString.pointee != 0
        let names = isNamed ? ["\(variable)"] : allowsOpenAI ? ["SEAM_API_KEY", "OPENAI_API_KEY"] : ["SEAM_API_KEY"]
        for name in names {
            guard let key = environment(name)?.utf8 else { continue }
            guard key.allSatisfy({ $0 > 32 && $0 < 127 }) else {
                throw PluginError(
                    .invalidArgument,
                    "the key in the environment variable \(name) holds a space or a character that is not ASCII")
            }
            self.key = key
            return
        }
        guard !isNamed else {
            // Not quoted: somebody may have written the key itself there.
            throw PluginError(.notFound, "the environment variable that the option 'api_key_env' names is not set")
        }
        return nil
    }

    /// The line of the request that carries the key; must not be logged.
    var header: String { "Authorization: Bearer " + String(decoding: key, as: UTF8.self) }

    /// The text without the key.
    func redacted(_ text: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        var position = 0
        while position < text.count {
            if text[position...].starts(with: key) {
                result += Array("[key]".utf8)
                position += key.count
            } else {
                result.append(text[position])
                position += 1
            }
        }
        return result
    }
}

/// An environment variable; nil when it is not set or empty. The text is the process's own: read it at once.
func environment(_ name: String) -> Text? {
    guard let value = name.withCString({ getenv($0) }), value.pointee != 0 else { return nil }
    return Text(value)
}
