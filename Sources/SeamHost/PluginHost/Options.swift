import CSeam
import Files
import Support

/// One option that a factory declares (`seam_option`).
public struct DeclaredOption: Sendable {
    public enum Kind: Int32, Sendable {
        case bool = 0
        case int = 1
        case double = 2
        case string = 3

        public var name: String {
            switch self {
            case .bool: "boolean"
            case .int: "integer"
            case .double: "number"
            case .string: "string"
            }
        }
    }

    public let name: String
    public let kind: Kind
    public let defaultValue: JSON
    public let choices: [String]
    public let range: ClosedRange<Double>?
    public let doc: String

    /// The name by which a run gives an adapter a learning rate of its own.
    private static let reservedName = "learning_rate"

    /// - Parameter owner: the adapter or backbone that declares it, for a sentence.
    package init(_ pointer: UnsafePointer<seam_option>, owner: String, origin: String) throws {
        let source = try bounded(pointer, atLeast: SEAM_OPTION_SIZE_1_0, "an option of \(owner)", origin: origin)
        let name = try checkedName(source.name, "an option name of \(owner)", origin: origin)
        guard name != Self.reservedName else {
            throw SeamError(
                .plugin, "\(owner) must not declare an option \"\(name)\": every adapter has it from the host",
                origin: origin)
        }
        guard let kind = Kind(rawValue: source.kind) else {
            throw SeamError(.plugin, "option \"\(name)\" has the unknown kind \(source.kind)", origin: origin)
        }
        guard let fallback = source.default_value.map({ String(cString: $0) }) else {
            throw SeamError(.plugin, "option \"\(name)\" has no default value", origin: origin)
        }
        self.name = name
        self.kind = kind
        // A lone value is no JSON document to every parser: wrap it.
        guard let values = try? JSON.parse("[\(fallback)]", name: name).arrayValue, values.count == 1 else {
            throw SeamError(
                .plugin, "the default of option \"\(name)\" must be one JSON value, found \(fallback)", origin: origin)
        }
        defaultValue = values[0]
        choices = source.choices.map { String(cString: $0).split(separator: "|").map(String.init) } ?? []
        guard source.minimum <= source.maximum else {
            throw SeamError(
                .plugin, "option \"\(name)\" allows \(source.minimum) to \(source.maximum), which is no range",
                origin: origin)
        }
        range = source.minimum == 0 && source.maximum == 0 ? nil : source.minimum...source.maximum
        doc = source.doc.map { String(cString: $0) } ?? ""
        do { _ = try check(defaultValue, owner: origin) } catch {
            throw SeamError(.plugin, "the default of option \"\(name)\" is not valid: \(error)", origin: origin)
        }
    }

    /// `value` if it has the option's type and range, integers widened for a number.
    func check(_ value: JSON, owner: String) throws -> JSON {
        func wrong(_ expected: String) -> SeamError {
            let found = (try? value.serialized()) ?? value.kind
            return SeamError(.invalidArgument, "\(owner): option \"\(name)\" must be \(expected), found \(found)")
        }
        switch (kind, value) {
        case (.bool, .bool): return value
        case (.string, .string(let text)):
            guard choices.isEmpty || choices.containsExactly(text) else {
                throw wrong("one of \(choices.joined(separator: ", "))")
            }
            guard !text.utf8.contains(0) else { throw wrong("a string without the character U+0000") }
            return value
        case (.int, .int(let number)):
            if let range, !range.contains(Double(number)) {
                throw wrong("an integer \(Self.words(range) { Int64(exactly: $0).map { "\($0)" } ?? "\($0)" })")
            }
            return value
        case (.double, .int), (.double, .double):
            let number = value.doubleValue!
            guard number.isFinite, range?.contains(number) ?? true else {
                throw wrong(range.map { range in "a number \(Self.words(range) { "\($0)" })" } ?? "a finite number")
            }
            return .double(number)
        default: throw wrong("\(kind == .int ? "an" : "a") \(kind.name)")
        }
    }

    /// Throws `.plugin` for a value that a plugin has put in the place of an option's and that the option does not allow:
    /// with it a saved adapter could not be made again.
    static func checkResolved(
        _ configuration: Configuration, against declared: [DeclaredOption], owner: String, origin: String
    ) throws {
        for option in declared {
            do {
                _ = try option.check(configuration[option.name] ?? .null, owner: "\(owner) resolves an option wrongly")
            } catch {
                throw SeamError(.plugin, "\(error)", origin: origin)
            }
        }
    }

    /// A range for a sentence; a plugin may leave an end open with an infinity.
    private static func words(_ range: ClosedRange<Double>, _ number: (Double) -> String) -> String {
        if range.upperBound == .infinity { return "of \(number(range.lowerBound)) or more" }
        if range.lowerBound == -.infinity { return "of \(number(range.upperBound)) or less" }
        return "from \(number(range.lowerBound)) to \(number(range.upperBound))"
    }

    /// All options of `declared` with the given values or their defaults, in declared order. Unknown keys are an
    /// error that lists the known ones.
    package static func resolve(_ given: JSON, against declared: [DeclaredOption], owner: String) throws
        -> Configuration
    {
        guard let members = given == .null ? [] : given.objectValue else {
            throw SeamError(.invalidArgument, "\(owner): the options must be a JSON object, found \(given.kind)")
        }
        let unknown = members.map(\.key).filter { key in !declared.map(\.name).containsExactly(key) }
        guard unknown.isEmpty else {
            let names = declared.map(\.name).joined(separator: ", ")
            throw SeamError(
                .invalidArgument,
                "\(owner): unknown option \(unknown.map { "\"\($0)\"" }.joined(separator: ", ")); known are \(names.isEmpty ? "none" : names)"
            )
        }
        return Configuration(
            flattening: .object(
                try declared.map { option in
                    let value = given[option.name]
                    return (key: option.name, value: try option.check(value ?? option.defaultValue, owner: owner))
                }))
    }
}
