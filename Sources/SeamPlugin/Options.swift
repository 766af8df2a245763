import CSeam

/// Named values: the options of an adapter or backbone, which the host has checked against their
/// declaration and completed with the defaults, or a model's config.json, which nobody has checked.
/// Keys of nested objects are joined by dots. Valid during `init`.
///
/// Each reader throws a sentence that names the key when its value has another type; without a default
/// also when the key is absent.
public struct Options {
    let host: UnsafePointer<seam_host>
    let raw: OpaquePointer
    /// How messages call a key: "the option" or "config.json's".
    let kind: StaticString

    public func bool(_ key: String, default value: Bool? = nil) throws(PluginError) -> Bool {
        var out: Int32 = 0
        return try read(host.pointee.config_bool(raw, key, &out), key, "true or false") ? out != 0 : absent(key, value)
    }
    /// A number without fraction.
    public func int(_ key: String, default value: Int? = nil) throws(PluginError) -> Int {
        var out: Int64 = 0
        return try read(host.pointee.config_int(raw, key, &out), key, "an integer") ? Int(out) : absent(key, value)
    }
    public func double(_ key: String, default value: Double? = nil) throws(PluginError) -> Double {
        var out = 0.0
        return try read(host.pointee.config_double(raw, key, &out), key, "a number") ? out : absent(key, value)
    }
    public func string(_ key: String, default value: StaticString? = nil) throws(PluginError) -> Text {
        var out: UnsafePointer<CChar>?
        guard try read(host.pointee.config_string(raw, key, &out), key, "a string"), let out else {
            return Text(try absent(key, value).cString)
        }
        return Text(out)
    }

    /// How many elements a list has, or keys an object; nil when the key is absent. An element of the list "names" is
    /// the key "names.0".
    public func count(_ key: String) throws(PluginError) -> Int? {
        var out: Int64 = 0
        return try read(host.pointee.config_count(raw, key, &out), key, "a list or an object") ? Int(out) : nil
    }
    /// Any value, lists, objects and null too, as JSON text; nil when the key is absent. "": all of it.
    public func json(_ key: String) throws(PluginError) -> Text? {
        var out: UnsafePointer<CChar>?
        guard try read(host.pointee.config_json(raw, key, &out), key, "a value"), let out else { return nil }
        return Text(out)
    }

    /// Replaces an option by what it was resolved to ("auto" to the choice), so that a saved adapter is
    /// rebuilt the same wherever it is loaded.
    public func resolve(_ key: String, to value: String) throws(PluginError) {
        guard host.pointee.config_set_string(raw, key, value) == Status.ok.rawValue else {
            throw PluginError(.plugin, "\(kind) '\(key)' cannot be set to '\(value)'")
        }
    }

    /// Whether the key is there; throws when it is there with another type.
    private func read(_ status: seam_status, _ key: String, _ expected: StaticString) throws(PluginError) -> Bool {
        switch Status(rawValue: status) {
        case .ok: return true
        case .notFound: return false
        default: throw PluginError(.invalidArgument, "\(kind) '\(key)' must be \(expected)")
        }
    }

    private func absent<Value>(_ key: String, _ value: Value?) throws(PluginError) -> Value {
        guard let value else { throw PluginError(.notFound, "\(kind) '\(key)' is missing") }
        return value
    }
}
