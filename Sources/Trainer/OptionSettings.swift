import Files
import SeamHost
import Support

/// NAME=VALUE settings as a JSON object; a value is a text where the option declares one.
/// - Parameter flag: what the settings are called in an error.
/// - Throws: `.invalidArgument` for a setting without "=", and for a name that comes twice.
public func parseSettings(_ settings: [String], declared: [DeclaredOption], flag: String) throws -> JSON {
    var members: [(key: String, value: JSON)] = []
    for setting in settings {
        guard let equals = setting.firstIndex(of: "=") else {
            throw SeamError(.invalidArgument, "\(flag) must be NAME=VALUE, found \"\(setting)\"")
        }
        let name = String(setting[..<equals])
        let text = String(setting[setting.index(after: equals)...])
        guard !members.map(\.key).containsExactly(name) else {
            throw SeamError(.invalidArgument, "\(flag) \(setting): \"\(name)\" is given twice")
        }
        let isText = declared.first { TextKey($0.name) == TextKey(name) }?.kind == .string
        members.append((key: name, value: isText ? .string(text) : parseValue(text)))
    }
    return .object(members)
}

/// A number, true or false; anything else as a text, which the option then refuses by its name.
private func parseValue(_ text: String) -> JSON {
    // A lone value is no JSON document to every parser: wrap it. "0,5" must not pass as a list of two.
    guard let values = try? JSON.parse("[\(text)]", name: "").arrayValue, values.count == 1 else {
        return .string(text)
    }
    return values[0]
}

/// NAME=VALUE settings as the options of each of several adapters.
///
/// A setting goes to the adapter that declares its name, to every one of that id. A name that several declare stands
/// behind the adapter's: repcali.lambda=0.5.
/// - Parameter qualifiedOnly: ids that take only settings with the adapter's name.
/// - Throws: `.invalidArgument` for a setting that no adapter takes, or that several would.
public func adapterOptions(
    _ settings: [String], for factories: [AdapterFactory], qualifiedOnly: [String] = []
) throws -> [JSON] {
    var ids: [String] = []
    for factory in factories where !ids.contains(factory.id) { ids.append(factory.id) }
    var taken: [String: [String]] = [:]
    for setting in settings {
        if let id = ids.first(where: { setting.hasPrefix($0 + ".") }) {
            taken[id, default: []].append(String(setting.dropFirst(id.count + 1)))
            continue
        }
        let name = String(setting.prefix { $0 != "=" })
        let named = ids.filter { !qualifiedOnly.contains($0) }
        let owners = named.filter { id in
            factories.first { $0.id == id }!.optionNames.containsExactly(name)
        }
        switch (owners.count, named.count) {
        case (1, _): taken[owners[0], default: []].append(setting)
        // The only adapter says itself which options it has.
        case (0, 1): taken[named[0], default: []].append(setting)
        case (0, 0): throw SeamError(.invalidArgument, "--option \(setting) has no adapter to go to")
        case (0, _):
            throw SeamError(
                .invalidArgument,
                "--option \(setting): none of the adapters \(named.joined(separator: ", ")) has an option \"\(name)\"")
        default:
            throw SeamError(
                .invalidArgument,
                "--option \(setting): \(owners.joined(separator: " and ")) both have this option: write \(owners.map { "\($0).\(setting)" }.joined(separator: " or "))"
            )
        }
    }
    return try factories.map {
        try parseSettings(taken[$0.id] ?? [], declared: $0.options, flag: "--option")
    }
}
