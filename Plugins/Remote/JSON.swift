import CJansson
import SeamPlugin

/// A value inside a JSON document that somebody else sent; borrowed, valid in the body of `withJSON`. What is not there
/// is a node without a value, so that a path is read in one line and checked once at its end.
struct Node {
    fileprivate let raw: UnsafeMutablePointer<json_t>?

    private var type: json_type? { raw?.pointee.type }

    /// A member of an object.
    subscript(key: StaticString) -> Node {
        Node(raw: json_object_get(raw, UnsafeRawPointer(key.utf8Start).assumingMemoryBound(to: CChar.self)))
    }

    /// An element of an array.
    subscript(index: Int) -> Node { Node(raw: json_array_get(raw, index)) }

    /// Elements of an array; nil for anything else.
    var count: Int? { type == JSON_ARRAY ? json_array_size(raw) : nil }

    /// Whether it is absent or null.
    var isNull: Bool { type == nil || type == JSON_NULL }

    /// A finite number; nil for anything else.
    var number: Double? {
        guard type == JSON_INTEGER || type == JSON_REAL else { return nil }
        let value = json_number_value(raw)
        return value.isFinite ? value : nil
    }

    var integer: Int? { type == JSON_INTEGER ? Int(json_integer_value(raw)) : nil }

    /// A string's UTF-8; nil for anything else.
    var text: [UInt8]? {
        guard type == JSON_STRING, let bytes = json_string_value(raw) else { return nil }
        return Self.copy(bytes, json_string_length(raw))
    }

    /// The members of an object, in no order; nil for anything else.
    var members: [(key: [UInt8], value: Node)]? {
        guard type == JSON_OBJECT else { return nil }
        var found: [(key: [UInt8], value: Node)] = []
        var iterator = json_object_iter(raw)
        while let member = iterator {
            if let key = json_object_iter_key(member) {
                found.append((Text(key).utf8, Node(raw: json_object_iter_value(member))))
            }
            iterator = json_object_iter_next(raw, member)
        }
        return found
    }

    private static func copy(_ bytes: UnsafePointer<CChar>, _ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { target, filled in
            for index in 0..<count { (target.baseAddress! + index).initialize(to: UInt8(bitPattern: bytes[index])) }
            filled = count
        }
    }
}

/// Reads a document and runs `body` on its root.
/// - Throws: `.numeric` where the text stops being JSON at a NaN or an infinity, as some servers write them, or at a
///   number beyond a double; `.format`, which is transient, for any other defect; and what `body` throws.
func withJSON<Result>(
    _ bytes: [UInt8], from source: String, _ body: (Node) throws(Problem) -> Result
) throws(Problem) -> Result {
    var failure = json_error_t()
    guard let root = load(bytes, &failure) ?? load(withReadableEscapes(bytes), &failure) else {
        let near = bytes[max(0, Int(failure.position) - 12)..<min(bytes.count, max(0, Int(failure.position)) + 12)]
        if contains(near, "NaN") || contains(near, "Infinity") || isOverflow(&failure) {
            throw Problem(.numeric, "\(source) sent NaN, infinity or a number out of range, which no model should")
        }
        throw Problem(
            .format, "\(source) sent something that is not JSON (at byte \(failure.position) of \(bytes.count))",
            isTransient: true)
    }
    defer { json_decref(root) }
    return try body(Node(raw: root))
}

private func load(_ bytes: [UInt8], _ failure: inout json_error_t) -> UnsafeMutablePointer<json_t>? {
    bytes.withUnsafeBytes {
        json_loadb($0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count, Int(JSON_ALLOW_NUL), &failure)
    }
}

/// A document in which escapes that jansson refuses, U+0000 (in a key) and half of a surrogate pair, are the letters of
/// the escape: a token that is no text must not cost the others.
private func withReadableEscapes(_ bytes: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count + 16)
    var position = 0
    while position < bytes.count {
        guard bytes[position] == backslash else {
            result.append(bytes[position])
            position += 1
            continue
        }
        var end = min(position + 2, bytes.count)
        if let unit = escapedUnit(bytes, position) {
            end = position + 6
            let isPair = 0xd800..<0xdc00 ~= unit && 0xdc00..<0xe000 ~= (escapedUnit(bytes, end) ?? 0)
            if isPair { end += 6 } else if unit == 0 || 0xd800..<0xe000 ~= unit { result.append(backslash) }
        }
        result += bytes[position..<end]
        position = end
    }
    return result
}

private let backslash = UInt8(ascii: "\\")

/// The value of \uXXXX at a place; nil for anything else.
private func escapedUnit(_ bytes: [UInt8], _ start: Int) -> UInt32? {
    guard start + 6 <= bytes.count, bytes[start] == backslash, bytes[start + 1] == UInt8(ascii: "u") else { return nil }
    var value: UInt32 = 0
    for byte in bytes[start + 2..<start + 6] {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt32(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"), UInt8(ascii: "A")...UInt8(ascii: "F"):
            value = value << 4 | UInt32((byte | 0x20) - UInt8(ascii: "a") + 10)
        default: return nil
        }
    }
    return value
}

private func isOverflow(_ failure: inout json_error_t) -> Bool {
    // The last byte of jansson's message is its error code.
    withUnsafeBytes(of: &failure.text) { $0.last == UInt8(json_error_numeric_overflow.rawValue) }
}

private func contains(_ text: ArraySlice<UInt8>, _ word: StaticString) -> Bool {
    let count = word.utf8CodeUnitCount
    guard text.count >= count else { return false }
    return (text.startIndex...text.endIndex - count).contains { start in
        (0..<count).allSatisfy { text[start + $0] == word.utf8Start[$0] }
    }
}
