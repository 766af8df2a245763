/// A text as a key: equal to another only where both are of the same Unicode scalars, and ordered by them.
///
/// Swift's `String` takes "é" and "e\u{301}" for equal, as Unicode's canonical equivalence has it. Files, plugins and
/// callers in C and Python do not: to them these are two columns, two tensors, two labels. Whatever such a text decides is
/// therefore compared as `TextKey`.
public struct TextKey: Hashable, Comparable, Sendable {
    public let text: String

    public init(_ text: String) { self.text = text }

    public init(_ text: Substring) { self.text = String(text) }

    public static func == (one: TextKey, other: TextKey) -> Bool {
        one.text.utf8.count == other.text.utf8.count && one.text.utf8.elementsEqual(other.text.utf8)
    }

    public static func < (one: TextKey, other: TextKey) -> Bool {
        one.text.utf8.lexicographicallyPrecedes(other.text.utf8)
    }

    public func hash(into hasher: inout Hasher) {
        var text = text
        text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
}

extension TextKey: ExpressibleByStringLiteral {
    public init(stringLiteral text: String) { self.text = text }
}

extension Sequence<String> {
    /// Whether one of these is of the scalars of `text`.
    public func containsExactly(_ text: String) -> Bool { contains { TextKey($0) == TextKey(text) } }

    /// The texts in the order of their scalars.
    public func sortedExactly() -> [String] { sorted { TextKey($0) < TextKey($1) } }

    /// Whether each is of other scalars than the rest.
    public var areDistinct: Bool {
        var seen: Set<TextKey> = []
        return allSatisfy { seen.insert(TextKey($0)).inserted }
    }
}

extension Collection<String> {
    /// The first place of a text of these scalars.
    public func firstIndexExactly(of text: String) -> Index? { firstIndex { TextKey($0) == TextKey(text) } }
}
