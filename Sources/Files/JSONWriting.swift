import Support

extension JSON {
    /// This value as JSON text: on one line without spaces when `indent` is nil, else one member or
    /// element a line with `indent` spaces a level, without a newline at the end.
    ///
    /// Keys keep their order, characters beyond ASCII stand as they are, and every double is written
    /// with the fewest digits that read back as the same double. Throws `SeamError(.numeric)` for NaN
    /// and infinity, which JSON cannot hold.
    public func serialized(indent: Int? = nil) throws -> String {
        var writer = JSONWriter(indent: indent)
        try writer.write(self, depth: 0, path: "")
        return writer.text
    }
}

private struct JSONWriter {
    let indent: Int?
    var text = ""

    init(indent: Int?) { self.indent = indent }

    /// `path` names the value in the error sentence.
    mutating func write(_ value: JSON, depth: Int, path: String) throws {
        switch value {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .int(let value): text += String(value)
        case .double(let value):
            guard value.isFinite else {
                let place = path.isEmpty ? "the value" : "\"\(path)\""
                throw SeamError(.numeric, "\(place) is \(value), JSON holds finite numbers only")
            }
            text += value.description
        case .string(let value): write(string: value)
        case .array(let elements):
            try write("[", elements, "]", depth) { writer, index, element in
                try writer.write(element, depth: depth + 1, path: path.isEmpty ? "\(index)" : "\(path).\(index)")
            }
        case .object(let members):
            try write("{", members, "}", depth) { writer, _, member in
                writer.write(string: member.key)
                writer.text += writer.indent == nil ? ":" : ": "
                try writer.write(
                    member.value, depth: depth + 1, path: path.isEmpty ? member.key : "\(path).\(member.key)")
            }
        }
    }

    private mutating func write<Item>(
        _ open: String, _ items: [Item], _ close: String, _ depth: Int,
        _ body: (inout JSONWriter, Int, Item) throws -> Void
    ) throws {
        text += open
        for (index, item) in items.enumerated() {
            if index > 0 { text += "," }
            newline(depth + 1)
            try body(&self, index, item)
        }
        if !items.isEmpty { newline(depth) }
        text += close
    }

    private mutating func newline(_ depth: Int) {
        guard let indent else { return }
        text += "\n" + String(repeating: " ", count: indent * depth)
    }

    private mutating func write(string: String) {
        text += "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case "\u{0}"..<" ":
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
