import Support

/// A JSON value as data sets, model folders and adapter folders hold it.
///
/// Objects keep the order of their keys as read or built, so that what is written back differs only
/// where it was changed. Keys within one object are unique when the value came from `parse`.
///
/// A value type without shared state: copies are independent and may cross threads.
public enum JSON: Sendable {
    case null
    case bool(Bool)
    case int(Int64)
    case double(Double)
    case string(String)
    case array([JSON])
    case object([(key: String, value: JSON)])

    /// The value under `key`, or nil when this is not an object or has no such key.
    ///
    /// A linear search, as configuration objects are small. For an object of many thousand keys (a
    /// vocabulary) go through `objectValue` once and build a dictionary.
    public subscript(_ key: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.first { TextKey($0.key) == TextKey(key) }?.value
    }

    /// The value at a dotted path such as `"rope_scaling.factor"`; a number indexes an array, as in
    /// `"layers.0.name"`. A key that holds the whole path, dots and all, goes first.
    ///
    /// Returns nil when any step of the path is absent.
    public func value(at path: String) -> JSON? {
        if let exact = self[path] { return exact }
        var current = self
        for step in path.split(separator: ".", omittingEmptySubsequences: false) {
            switch current {
            case .object:
                guard let next = current[String(step)] else { return nil }
                current = next
            case .array(let elements):
                guard let index = Int(step), elements.indices.contains(index) else { return nil }
                current = elements[index]
            default:
                return nil
            }
        }
        return current
    }

    /// The boolean, or nil for every other kind.
    public var boolValue: Bool? {
        if case .bool(let value) = self { value } else { nil }
    }

    /// The integer, or nil for every other kind; a number written with a fraction is not an integer.
    public var intValue: Int? {
        if case .int(let value) = self { Int(value) } else { nil }
    }

    /// The number, or nil for every other kind. Integers convert, rounding beyond 2^53.
    public var doubleValue: Double? {
        switch self {
        case .int(let value): Double(value)
        case .double(let value): value
        default: nil
        }
    }

    /// The string, or nil for every other kind.
    public var stringValue: String? {
        if case .string(let value) = self { value } else { nil }
    }

    /// The elements, or nil when this is not an array.
    public var arrayValue: [JSON]? {
        if case .array(let elements) = self { elements } else { nil }
    }

    /// The members in order, or nil when this is not an object.
    public var objectValue: [(key: String, value: JSON)]? {
        if case .object(let members) = self { members } else { nil }
    }

    /// What kind of value this is, as error sentences name it: `"an integer"`, `"null"`.
    public var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .int: "an integer"
        case .double: "a decimal number"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

extension JSON: Equatable {
    /// Objects are equal when they hold equal values under the same keys, in any order; texts and keys by their scalars,
    /// as `TextKey`. An integer
    /// never equals a decimal number: `1` and `1.0` differ, as they do when written out.
    public static func == (left: JSON, right: JSON) -> Bool {
        switch (left, right) {
        case (.null, .null): true
        case (.bool(let a), .bool(let b)): a == b
        case (.int(let a), .int(let b)): a == b
        case (.double(let a), .double(let b)): a == b
        case (.string(let a), .string(let b)): TextKey(a) == TextKey(b)
        case (.array(let a), .array(let b)): a == b
        case (.object(let a), .object(let b)): sameMembers(a, b)
        default: false
        }
    }

    private static func sameMembers(
        _ left: [(key: String, value: JSON)], _ right: [(key: String, value: JSON)]
    ) -> Bool {
        guard left.count == right.count else { return false }
        if zip(left, right).allSatisfy({ TextKey($0.key) == TextKey($1.key) && $0.value == $1.value }) { return true }
        let byKey = Dictionary(right.map { (TextKey($0.key), $0.value) }, uniquingKeysWith: { first, _ in first })
        return left.allSatisfy { byKey[TextKey($0.key)] == $0.value }
    }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int64) { self = .int(value) }
    public init(floatLiteral value: Double) { self = .double(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(arrayLiteral elements: JSON...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, JSON)...) {
        self = .object(elements.map { (key: $0.0, value: $0.1) })
    }
}
