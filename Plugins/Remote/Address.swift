import SeamPlugin

/// A checked URL of the API without its last part ("https://api.openai.com/v1").
struct Address {
    private let base: String
    let isEncrypted: Bool
    /// Lower case, without the port.
    private let host: [UInt8]

    /// - Parameter name: where the URL is written, for the sentence: "the option 'base_url'".
    /// - Throws: for anything but http:// or https://, a host and a path. A URL with credentials is never quoted.
    init(_ text: Text, name: String) throws(PluginError) {
        var bytes = text.utf8
        func refused(_ reason: String) -> PluginError { PluginError(.invalidArgument, "\(name) \(reason)") }
        guard !bytes.contains(UInt8(ascii: "@")) else {
            throw refused(
                "holds an '@': credentials do not belong into a URL, name the environment variable of the key in "
                    + "api_key_env")
        }
        guard bytes.allSatisfy({ $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "\\") && $0 != UInt8(ascii: "\"") }) else {
            throw refused("must be a URL in ASCII without spaces, quotes and backslashes")
        }
        guard !bytes.contains(UInt8(ascii: "?")), !bytes.contains(UInt8(ascii: "#")) else {
            throw refused("must be a URL without '?' and '#'")
        }
        guard let rest = text.dropping("https://") ?? text.dropping("http://") else {
            throw refused("must start with http:// or https://, found \"\(text)\"")
        }
        isEncrypted = text.dropping("https://") != nil
        let authority = rest.utf8.prefix { $0 != UInt8(ascii: "/") }
        // A bracketed IPv6 address holds colons of its own.
        let isBracketed = authority.first == UInt8(ascii: "[")
        let end: (UInt8) -> Bool = { $0 == UInt8(ascii: isBracketed ? "]" : ":") }
        host = authority.prefix { !end($0) }.map { (65...90).contains($0) ? $0 + 32 : $0 }
        guard host.count > (isBracketed ? 1 : 0) else { throw refused("names no host: \"\(text)\"") }
        while bytes.last == UInt8(ascii: "/") { bytes.removeLast() }
        base = String(decoding: bytes, as: UTF8.self)
    }

    /// The URL of a function of the API: "/completions".
    func appending(_ path: StaticString) -> String { base + "\(path)" }

    func isHost(_ name: StaticString) -> Bool {
        host.count == name.utf8CodeUnitCount && host.indices.allSatisfy { host[$0] == name.utf8Start[$0] }
    }

    /// Whether what is sent stays on this machine.
    var isLoopback: Bool {
        isHost("localhost") || isHost("[::1") || host.starts(with: [0x31, 0x32, 0x37, 0x2e])  // "127."
    }
}
