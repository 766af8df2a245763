import Files
import Support

/// One object of a `tokenizer.json` with what error sentences need: the file and the place in it.
struct TokenizerPart {
    let file: String
    /// The path from the root, such as `pre_tokenizer.pretokenizers.0`; empty for the root.
    let path: String
    let value: JSON

    /// `file: "pre_tokenizer"`, the begin of every sentence about this part.
    var place: String { path.isEmpty ? file : "\(file): \"\(path)\"" }

    func error(_ code: ErrorCode, _ sentence: String) -> SeamError { SeamError(code, "\(place) \(sentence)") }

    /// The part under `key`, or nil where that is missing or null.
    func part(_ key: String) throws -> TokenizerPart? {
        guard let value = member(key), value != .null else { return nil }
        let part = TokenizerPart(file: file, path: path.isEmpty ? key : "\(path).\(key)", value: value)
        guard value.objectValue != nil else { throw part.error(.format, "must be an object, found \(value.kind)") }
        return part
    }

    func requirePart(_ key: String) throws -> TokenizerPart {
        guard let part = try part(key) else {
            throw error(.format, "has no \"\(key)\", it must be an object")
        }
        return part
    }

    /// The objects of the array under `key`.
    func parts(_ key: String) throws -> [TokenizerPart] {
        let elements: [JSON] = try require(key, "an array", \.arrayValue)
        return try elements.enumerated().map { number, element in
            let path = path.isEmpty ? "\(key).\(number)" : "\(self.path).\(key).\(number)"
            let part = TokenizerPart(file: file, path: path, value: element)
            guard element.objectValue != nil else {
                throw part.error(.format, "must be an object, found \(element.kind)")
            }
            return part
        }
    }

    func string(_ key: String) throws -> String { try require(key, "a string", \.stringValue) }
    func bool(_ key: String) throws -> Bool { try require(key, "a boolean", \.boolValue) }
    func int(_ key: String) throws -> Int { try require(key, "an integer", \.intValue) }

    /// An id of a token.
    func id(_ key: String) throws -> Int32 { try require(key, "an integer from 0 to 2147483647", \.tokenID) }

    /// What `name` stands for in `choices`; throws naming the choices.
    func choice<Value>(_ key: String, _ choices: KeyValuePairs<String, Value>) throws -> Value {
        let name = try string(key)
        guard let choice = choices.first(where: { TextKey($0.key) == TextKey(name) }) else {
            throw error(
                .unsupported, "has the \(key) \"\(name)\", supported are \(quoted(choices.map(\.key)))")
        }
        return choice.value
    }

    /// What "type" stands for in `types`, the one place where a kind of part is chosen.
    func typed<Value>(_ types: KeyValuePairs<String, (TokenizerPart) throws -> Value>) throws -> Value {
        guard let type = member("type") else {
            throw error(.format, "has no \"type\", supported are \(quoted(types.map(\.key)))")
        }
        guard let name = type.stringValue else {
            throw error(.format, "must have a string as \"type\", found \(type.kind)")
        }
        guard let known = types.first(where: { TextKey($0.key) == TextKey(name) }) else {
            throw error(.unsupported, "is of the type \"\(name)\", supported are \(quoted(types.map(\.key)))")
        }
        return try known.value(self)
    }

    /// Throws `SeamError(.unsupported)` naming the first key that is none of `keys`: a setting that is not
    /// known cannot be followed.
    func allow(_ keys: String...) throws {
        for (key, _) in value.objectValue ?? [] where !keys.containsExactly(key) {
            throw error(.unsupported, "has the unknown key \"\(key)\", known are \(quoted(keys))")
        }
    }

    /// The value under `key`.
    func member(_ key: String) -> JSON? {
        value[key]
    }

    private func require<Value>(_ key: String, _ expected: String, _ convert: (JSON) -> Value?) throws -> Value {
        guard let found = member(key) else { throw error(.format, "has no \"\(key)\", it must be \(expected)") }
        guard let converted = convert(found) else {
            throw error(.format, "must have \(expected) as \"\(key)\", found \(found.kind)")
        }
        return converted
    }

    private func quoted(_ names: [String]) -> String {
        names.map { "\"\($0)\"" }.joined(separator: ", ")
    }
}

extension JSON {
    /// An integer that can be the id of a token.
    var tokenID: Int32? { intValue.flatMap { $0 >= 0 ? Int32(exactly: $0) : nil } }
}
