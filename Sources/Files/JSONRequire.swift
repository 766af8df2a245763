import Support

/// Typed reads of a configuration file: each gives the value or a sentence for the user, such as
/// `config.json: "d_model" must be an integer, found a string`.
///
/// `path` is a key or a dotted path as in `value(at:)`; `name` is the file or argument that holds the
/// value, for the sentence. The `require` forms throw `SeamError(.format)` when the value is missing or
/// of another kind. The `optional` forms return nil for a missing value or null and throw only for
/// another kind, so that a misspelled type never silently becomes a default.
extension JSON {
    /// Throws `.incompatible` for an object whose "schema" is newer than the revision that is read; without one it is of
    /// the first.
    public func requireSchema(_ newest: Int, in name: String) throws {
        let revision = try optionalInt("schema", in: name) ?? 1
        guard (1...newest).contains(revision) else {
            let known = newest == 1 ? "1" : "1 ... \(newest)"
            throw SeamError(
                .incompatible, "\(name): schema must be \(known), which this version reads, found \(revision)")
        }
    }

    public func requireInt(_ path: String, in name: String) throws -> Int {
        try require(path, name, "an integer", \.intValue)
    }

    public func requireDouble(_ path: String, in name: String) throws -> Double {
        try require(path, name, "a number", \.doubleValue)
    }

    public func requireString(_ path: String, in name: String) throws -> String {
        try require(path, name, "a string", \.stringValue)
    }

    public func requireBool(_ path: String, in name: String) throws -> Bool {
        try require(path, name, "a boolean", \.boolValue)
    }

    public func requireArray(_ path: String, in name: String) throws -> [JSON] {
        try require(path, name, "an array", \.arrayValue)
    }

    public func requireObject(_ path: String, in name: String) throws -> [(key: String, value: JSON)] {
        try require(path, name, "an object", \.objectValue)
    }

    public func requireStrings(_ path: String, in name: String) throws -> [String] {
        try require(path, name, "an array of strings") { $0.elements(\.stringValue) }
    }

    public func requireInts(_ path: String, in name: String) throws -> [Int] {
        try require(path, name, "an array of integers") { $0.elements(\.intValue) }
    }

    public func optionalInt(_ path: String, in name: String) throws -> Int? {
        try isSet(path) ? requireInt(path, in: name) : nil
    }

    public func optionalDouble(_ path: String, in name: String) throws -> Double? {
        try isSet(path) ? requireDouble(path, in: name) : nil
    }

    public func optionalString(_ path: String, in name: String) throws -> String? {
        try isSet(path) ? requireString(path, in: name) : nil
    }

    public func optionalBool(_ path: String, in name: String) throws -> Bool? {
        try isSet(path) ? requireBool(path, in: name) : nil
    }

    public func optionalObject(_ path: String, in name: String) throws -> [(key: String, value: JSON)]? {
        try isSet(path) ? requireObject(path, in: name) : nil
    }

    public func optionalStrings(_ path: String, in name: String) throws -> [String]? {
        try isSet(path) ? requireStrings(path, in: name) : nil
    }

    public func optionalInts(_ path: String, in name: String) throws -> [Int]? {
        try isSet(path) ? requireInts(path, in: name) : nil
    }

    private func isSet(_ path: String) -> Bool {
        guard let value = value(at: path) else { return false }
        return value != .null
    }

    /// The elements when this is an array of which each converts, else nil.
    private func elements<T>(_ convert: (JSON) -> T?) -> [T]? {
        guard let all = arrayValue else { return nil }
        let converted = all.compactMap(convert)
        return converted.count == all.count ? converted : nil
    }

    private func require<T>(
        _ path: String, _ name: String, _ expected: String, _ convert: (JSON) -> T?
    ) throws -> T {
        guard let found = value(at: path) else {
            throw SeamError(.format, "\(name): \"\(path)\" is missing, it must be \(expected)")
        }
        guard let converted = convert(found) else {
            throw SeamError(.format, "\(name): \"\(path)\" must be \(expected), found \(found.wrongKind)")
        }
        return converted
    }

    /// The `kind` for an error, but an array tells which of its elements differ from the first, since "found an
    /// array" would not explain why an array of integers was refused.
    private var wrongKind: String {
        guard case .array(let elements) = self else { return kind }
        var kinds: [String] = []
        for element in elements where !kinds.contains(element.kind) { kinds.append(element.kind) }
        return kinds.isEmpty ? "an empty array" : "an array holding \(kinds.joined(separator: " and "))"
    }
}
