/// What is wrong with a text that should be XML.
struct MarkupError: Error, CustomStringConvertible {
    let description: String
}

/// An element of an SVG file, as a strict reader of the XML that plots need (elements, attributes, text, the five named
/// entities) finds it.
struct Element {
    var name: String
    var attributes: [String: String] = [:]
    var text = ""
    var children: [Element] = []

    /// The root element. Throws `MarkupError` for what is not well-formed.
    init(parsing markup: String) throws {
        var reader = MarkupReader(markup)
        self = try reader.document()
    }

    fileprivate init(name: String) { self.name = name }

    subscript(attribute: String) -> String { attributes[attribute] ?? "" }

    /// The element and all below it.
    var all: [Element] { [self] + children.flatMap(\.all) }

    /// All elements of that name, in order.
    func all(_ name: String) -> [Element] { all.filter { $0.name == name } }
}

private struct MarkupReader {
    private var rest: Substring.UnicodeScalarView

    init(_ markup: String) { rest = markup[...].unicodeScalars }

    mutating func document() throws -> Element {
        guard rest.popFirst() == "<" else { throw MarkupError(description: "no root element") }
        let root = try element()
        guard rest.allSatisfy({ $0 == "\n" }) else { throw MarkupError(description: "text behind the root element") }
        return root
    }

    /// An element behind its "<".
    private mutating func element() throws -> Element {
        var element = Element(name: try name())
        while true {
            let isApart = skipSpaces()
            switch rest.first {
            case ">":
                rest.removeFirst()
                try content(of: &element)
                return element
            case "/":
                rest.removeFirst()
                guard rest.popFirst() == ">" else { throw MarkupError(description: "a / in the tag \(element.name)") }
                return element
            case nil: throw MarkupError(description: "the tag \(element.name) has no end")
            default:
                guard isApart else { throw MarkupError(description: "no space before an attribute of \(element.name)") }
                try attribute(of: &element)
            }
        }
    }

    private mutating func attribute(of element: inout Element) throws {
        let key = try name()
        guard rest.popFirst() == "=", rest.popFirst() == "\"" else {
            throw MarkupError(description: "the attribute \(key) has no quoted value")
        }
        guard element.attributes.updateValue(try text(until: "\""), forKey: key) == nil else {
            throw MarkupError(description: "\(element.name) has two attributes \(key)")
        }
    }

    private mutating func content(of element: inout Element) throws {
        while true {
            element.text += try text(until: "<")
            guard rest.first == "/" else {
                element.children.append(try self.element())
                continue
            }
            rest.removeFirst()
            let closed = try name()
            guard closed == element.name, rest.popFirst() == ">" else {
                throw MarkupError(description: "\(element.name) is closed by \(closed)")
            }
            return
        }
    }

    private mutating func name() throws -> String {
        var name = ""
        while let scalar = rest.first, scalar.properties.isAlphabetic || scalar == "-" || ("0"..."9").contains(scalar) {
            name.unicodeScalars.append(rest.removeFirst())
        }
        guard !name.isEmpty else { throw MarkupError(description: "a name is missing before \(rest.prefix(10))") }
        return name
    }

    private mutating func skipSpaces() -> Bool {
        let isApart = rest.first == " "
        while rest.first == " " { rest.removeFirst() }
        return isApart
    }

    /// Text with its entities replaced, up to a sign that is taken away.
    private mutating func text(until end: Unicode.Scalar) throws -> String {
        var text = ""
        while let scalar = rest.popFirst() {
            if scalar == end { return text }
            switch scalar {
            case "<", ">": throw MarkupError(description: "a bare \(scalar) behind \(text.suffix(20))")
            case "\0"..."\u{8}", "\u{b}"..."\u{c}", "\u{e}"..."\u{1f}", "\u{fffe}", "\u{ffff}":
                throw MarkupError(description: "a character that XML has no place for")
            case "&":
                let name = String(String.UnicodeScalarView(rest.prefix { $0 != ";" }.prefix(5)))
                let entities = ["amp": "&", "lt": "<", "gt": ">", "quot": "\"", "apos": "'"]
                guard let meaning = entities[name] else { throw MarkupError(description: "a bare & before \(name)") }
                text += meaning
                rest.removeFirst(name.unicodeScalars.count + 1)
            default: text.unicodeScalars.append(scalar)
            }
        }
        throw MarkupError(description: "the file ends before \(end)")
    }
}
