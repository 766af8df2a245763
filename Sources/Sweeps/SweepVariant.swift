import Files
import Support

/// One value for one name: of an option of an adapter, or of the training.
public struct SweepSetting: Hashable, Sendable {
    /// `prefix_length`, or `gate.scope` for the option of one adapter.
    public let name: String
    public let value: String

    public init(name: String, value: String) {
        self.name = name
        self.value = value
    }

    /// Reads NAME=VALUE; nil for a text that is not of this form.
    public init?(_ text: some StringProtocol) {
        guard let equals = text.firstIndex(of: "="), equals > text.startIndex else { return nil }
        self.init(name: String(text[..<equals]), value: String(text[text.index(after: equals)...]))
    }

    /// The setting as an option on the command line.
    public var text: String { "\(name)=\(value)" }
    /// The setting as people read it.
    var title: String { "\(name) \(value)" }
    /// The name without the adapter's in front, and that adapter, if it is named.
    var option: Substring { name.split(separator: ".").last ?? "" }
    private var adapter: Substring? { name.lastIndex(of: ".").map { name[..<$0] } }

    /// Whether both set the same option of an adapter. What sets the training itself, such as `learning_rate`, is
    /// another setting than `gate.learning_rate`.
    func sets(sameAs other: SweepSetting) -> Bool {
        guard option == other.option, adapter != other.adapter else { return option == other.option }
        return (adapter == nil || other.adapter == nil) && RunSetting(rawValue: String(option)) == nil
    }
}

/// A named composition of adapters, with options of its own, that a sweep compares with others.
///
/// A value type without shared state, as all of a sweep's descriptions.
public struct SweepVariant: Hashable, Sendable {
    /// The name in paths, tables and plots.
    public let name: String
    /// Ids of adapters in the order in which they run.
    public let adapters: [String]
    /// Options that only this variant has, each behind its adapter's id: `residual-prefix.residual=hidden`.
    public let settings: [SweepSetting]
    /// The variant as it was given.
    public let text: String

    private static let form = "NAME=ADAPTER[:OPTION=VALUE...][+ADAPTER...]"

    /// Reads `NAME=ADAPTER:OPTION=VALUE:OPTION=VALUE+ADAPTER`, which no shell takes for a pattern.
    ///
    /// Throws `SeamError(.invalidArgument)` for a text of another form, a name that cannot stand in a path, and an
    /// adapter that is named twice.
    public init(_ text: String) throws {
        guard let whole = SweepSetting(text), !whole.value.isEmpty else {
            throw SeamError(.invalidArgument, "--variant must be \(Self.form), found \(text.debugDescription)")
        }
        try checkPathName(whole.name, in: "--variant \(text)")
        var adapters: [String] = []
        var settings: [SweepSetting] = []
        for part in whole.value.split(separator: "+", omittingEmptySubsequences: false) {
            let pieces = part.split(separator: ":", omittingEmptySubsequences: false)
            let id = String(pieces[0])
            guard !id.isEmpty, !id.contains("=") else {
                throw SeamError(.invalidArgument, "--variant must be \(Self.form), found \(text.debugDescription)")
            }
            guard !adapters.contains(id) else {
                throw SeamError(.invalidArgument, "--variant \(text): adapter \"\(id)\" is named twice")
            }
            adapters.append(id)
            for piece in pieces.dropFirst() {
                guard let setting = SweepSetting(piece) else {
                    throw SeamError(
                        .invalidArgument,
                        "--variant \(text): an option must be OPTION=VALUE, found \(String(piece).debugDescription)")
                }
                settings.append(SweepSetting(name: "\(id).\(setting.name)", value: setting.value))
            }
        }
        (name, self.adapters, self.settings, self.text) = (whole.name, adapters, settings, text)
    }
}

/// A setting and the values that it takes in turn.
public struct SweepAxis: Hashable, Sendable {
    public let name: String
    /// The values as they were given, none twice.
    public let values: [String]

    public var text: String { "\(name)=\(values.joined(separator: ","))" }

    /// Reads `NAME=VALUE,VALUE`.
    ///
    /// Throws `SeamError(.invalidArgument)` for a text of another form, a value that comes twice, and one that cannot
    /// stand in a path.
    public init(_ text: String) throws {
        guard let whole = SweepSetting(text) else {
            throw SeamError(.invalidArgument, "--vary must be NAME=VALUE,VALUE..., found \(text.debugDescription)")
        }
        values = whole.value.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        name = whole.name
        for name in [name] + values { try checkPathName(name, in: "--vary \(text)") }
        if let twice = firstTwice(values) {
            throw SeamError(.invalidArgument, "--vary \(text): the value \(twice) is given twice")
        }
    }

    /// The values as whole numbers above 0, or nil where one is something else.
    var counts: [Int]? {
        let numbers = values.compactMap(Int.init)
        return numbers.count == values.count && numbers.allSatisfy { $0 > 0 } ? numbers : nil
    }
}

/// The first element that stands before another equal to it.
func firstTwice<Element: Hashable>(_ elements: [Element]) -> Element? {
    var seen: Set<Element> = []
    return elements.first { !seen.insert($0).inserted }
}

/// Names and values become names of folders, so they hold letters, digits and . _ - + only, and begin with no dot.
private func checkPathName(_ name: String, in place: String) throws {
    guard FileSystem.isPortableName(name, signs: "._-+") else {
        throw SeamError(
            .invalidArgument,
            "\(place): names and values stand in paths and must be letters, digits and . _ - +, found \(name.debugDescription)"
        )
    }
}
