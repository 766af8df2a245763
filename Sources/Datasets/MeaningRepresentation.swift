import Support

/// A meaning representation of the E2E NLG Challenge (Novikova, Dušek and Rieser 2017): attributes with values, written
/// `name[Blue Spice], eatType[coffee shop], area[city centre]`.
public struct MeaningRepresentation: Sendable, Equatable {
    /// One attribute as the data set writes it.
    public struct Attribute: Sendable, Equatable {
        public let name: String
        public let value: String

        public init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    /// One or more, in the order of the text.
    public let attributes: [Attribute]

    /// Parses a meaning representation. White space around attributes, names and values is left out.
    ///
    /// - Parameters:
    ///   - text: attributes with commas between them; a name holds no comma or bracket, a value no bracket.
    ///   - place: the beginning of an error sentence, such as the file and line.
    /// - Throws: `SeamError(.format)` that says what is wrong with which attribute.
    ///
    /// Pure; safe from any thread.
    public init(_ text: String, place: String) throws {
        func error(_ found: String) -> SeamError {
            SeamError(
                .format,
                "\(place) must be a meaning representation like name[Blue Spice], area[riverside]; found \(found)")
        }
        var attributes: [Attribute] = []
        var rest = text[...]
        repeat {
            guard let open = rest.firstIndex(of: "[") else {
                throw error("\"\(trimmed(rest).prefix(40))\" where an attribute and its value in brackets should be")
            }
            let name = trimmed(rest[..<open])
            guard !name.isEmpty else { throw error("a value without the name of its attribute") }
            guard !name.contains(where: { $0 == "," || $0 == "]" }) else {
                throw error("\"\(name.prefix(40))\" where the name of an attribute should be")
            }
            rest = rest[rest.index(after: open)...]
            guard let close = rest.firstIndex(where: { $0 == "]" || $0 == "[" }), rest[close] == "]" else {
                throw error("no closing bracket behind the value of \"\(name)\"")
            }
            let value = trimmed(rest[..<close])
            guard !value.isEmpty else { throw error("no value of \"\(name)\"") }
            attributes.append(Attribute(name: name, value: value))
            rest = rest[rest.index(after: close)...].drop(while: \.isWhitespace)
            guard let next = rest.first else { break }
            guard next == "," else {
                throw error("\"\(rest.prefix(40))\" behind \"\(name)\", where a comma should be")
            }
            rest = rest.dropFirst()
        } while true
        self.attributes = attributes
    }

    /// The text that a model is given: `name : Blue Spice | Type : coffee shop | area : city centre`, as in the data of
    /// prefix-tuning (Li and Liang 2021, src1_*.txt), with their names of the attributes in the order of the data set.
    /// Values stay as they are written; there they are cut into tokens (`£20-25` is `£ 20 - 25`).
    public var linearised: String {
        attributes.map { "\(Self.linearNames[$0.name] ?? $0.name) : \($0.value)" }.joined(separator: " | ")
    }

    private static let linearNames = [
        "eatType": "Type", "familyFriendly": "family friendly", "priceRange": "price",
        "customerRating": "customer rating",
    ]
}

private func trimmed(_ text: Substring) -> String {
    let start = text.drop(while: \.isWhitespace)
    guard let last = start.lastIndex(where: { !$0.isWhitespace }) else { return "" }
    return String(start[...last])
}
