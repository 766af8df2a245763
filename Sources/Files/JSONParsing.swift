import CJansson
import Glibc
import Support

extension JSON {
    /// Parses one JSON text; `name` is the file or argument that it came from, for error sentences.
    ///
    /// Integers beyond 64 bits become doubles, since tokenizer_config.json files hold 10^30 for "no
    /// limit". Throws `SeamError(.format)` with line and column for malformed text, a key that appears
    /// twice in one object, NaN and Infinity, and nesting deeper than 2048.
    public static func parse(_ text: String, name: String) throws -> JSON {
        var text = text
        return try text.withUTF8 { try parse(UnsafeRawBufferPointer($0), name: name) }
    }

    /// Parses bytes, which must be UTF-8 (a byte order mark is skipped), as above. `bytes` is read only
    /// during the call.
    public static func parse(_ bytes: UnsafeRawBufferPointer, name: String) throws -> JSON {
        try parse(bytes, name: name, firstLine: 1)
    }

    /// Parses a text that starts on line `firstLine` of a larger file, as above.
    static func parse(_ bytes: UnsafeRawBufferPointer, name: String, firstLine: Int) throws -> JSON {
        let text = try UTF8Text(bytes, name: name)
        guard !text.isBlank else {
            throw SeamError(.format, "\(name): expected JSON, found an empty text")
        }
        return try load(text.bytes, name: name, firstLine: firstLine, repairs: 0, nul: nil)
    }

    /// Reads and parses a file. Throws as `FileSystem.readBytes` and `parse` do.
    public static func read(_ path: String) throws -> JSON {
        let bytes = try FileSystem.readBytes(path)
        return try bytes.withUnsafeBytes { try parse($0, name: path) }
    }

    /// `repairs` counts the integers beyond 64 bits that were already rewritten as decimals. It has a
    /// limit as each one costs another pass over the text. `nul` is the character that stands for U+0000 in the text, if
    /// one does.
    private static func load(
        _ bytes: UnsafeRawBufferPointer, name: String, firstLine: Int, repairs: Int, nul: Unicode.Scalar?
    ) throws -> JSON {
        var error = json_error_t()
        let flags = Int(JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL)
        if let root = json_loadb(bytes.bindMemory(to: CChar.self).baseAddress, bytes.count, flags, &error) {
            defer { json_decref(root) }
            return convert(root, nul)
        }
        let failure = ParseFailure(error)
        if failure.text.hasPrefix("too big"), repairs < 64 {
            var repaired = Array(bytes)
            repaired.insert(contentsOf: Array(".0".utf8), at: failure.offset)
            return try repaired.withUnsafeBytes {
                try load($0, name: name, firstLine: firstLine, repairs: repairs + 1, nul: nul)
            }
        }
        // Keys of jansson are C strings: another character stands in for U+0000 while it reads.
        if failure.text.hasPrefix("NUL byte in object key"), nul == nil, let other = NulEscapes.standIn(for: bytes) {
            return try NulEscapes.replaced(in: bytes, by: other).withUnsafeBytes {
                try load($0, name: name, firstLine: firstLine, repairs: repairs, nul: other)
            }
        }
        let place = "line \(firstLine + failure.line - 1), column \(failure.column)"
        throw SeamError(.format, "\(name), \(place): \(failure.sentence(in: bytes))")
    }

    private static func convert(_ node: UnsafeMutablePointer<json_t>, _ nul: Unicode.Scalar?) -> JSON {
        switch node.pointee.type {
        case JSON_OBJECT:
            var members: [(key: String, value: JSON)] = []
            members.reserveCapacity(json_object_size(node))
            var iterator = json_object_iter(node)
            while let current = iterator {
                members.append(
                    (
                        key: NulEscapes.restored(String(cString: json_object_iter_key(current)), nul),
                        value: convert(json_object_iter_value(current), nul)
                    ))
                iterator = json_object_iter_next(node, current)
            }
            return .object(members)
        case JSON_ARRAY:
            return .array((0..<json_array_size(node)).map { convert(json_array_get(node, $0), nul) })
        case JSON_STRING:
            let start = UnsafeRawPointer(json_string_value(node))
            let bytes = UnsafeRawBufferPointer(start: start, count: json_string_length(node))
            return .string(NulEscapes.restored(String(decoding: bytes, as: UTF8.self), nul))
        case JSON_INTEGER: return .int(Int64(json_integer_value(node)))
        case JSON_REAL: return .double(json_real_value(node))
        case JSON_TRUE: return .bool(true)
        case JSON_FALSE: return .bool(false)
        default: return .null
        }
    }
}

/// Jansson's report of a malformed text.
private struct ParseFailure {
    let text: String
    let line: Int
    let column: Int
    /// The byte after the token that was refused.
    let offset: Int

    init(_ error: json_error_t) {
        var error = error
        line = Int(error.line)
        column = Int(error.column)
        offset = Int(error.position)
        text = withUnsafeBytes(of: &error.text) { raw in
            String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    func sentence(in bytes: UnsafeRawBufferPointer) -> String {
        if text.hasPrefix("duplicate object key") {
            let key = text.split(separator: "'", maxSplits: 1).last.map { $0.dropLast() } ?? "\"\""
            return "the key \(key) appears twice in one object"
        }
        if text.hasPrefix("invalid token") {
            // The token is cut after its first letter that cannot go on, so look at what follows.
            let around = bytes[max(0, offset - 9)..<min(bytes.count, offset + 9)]
            let words = String(decoding: around, as: UTF8.self)
            for word in ["NaN", "Infinity"] where words.contains(word) {
                return "JSON has no \(word), expected a finite number"
            }
        }
        return "not valid JSON, \(text)"
    }
}
