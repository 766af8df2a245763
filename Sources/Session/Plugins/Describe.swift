import Files
import Support

extension Runtime {
    /// What a plugin, an adapter or a backbone is, found by its id: seams, options with defaults and ranges, methods
    /// with signatures.
    /// - Throws: `.notFound` with the ids that there are.
    public func describe(_ id: String) throws -> JSON {
        let adapters = plugins.flatMap(\.adapters)
        let backbones = plugins.flatMap(\.backbones)
        if let adapter = adapters.first(where: { $0.id == id }) { return adapter.description }
        if let backbone = backbones.first(where: { $0.id == id }) { return backbone.description }
        if let plugin = plugins.first(where: { $0.id == id }) { return plugin.description }
        let known = (plugins.map(\.id) + adapters.map(\.id) + backbones.map(\.id)).sorted()
        throw SeamError(
            .notFound,
            "no loaded plugin, adapter or backbone has the id \"\(id)\"; there are \(known.isEmpty ? "none" : known.joined(separator: ", "))"
        )
    }
}

extension Plugin {
    public var description: JSON {
        [
            "kind": "plugin", "id": .string(id), "version": .string(version), "license": .string(license),
            "summary": .string(summary), "abi": .string("\(abi.major).\(abi.minor)"), "path": .string(path),
            "adapters": .array(adapters.map { .string($0.id) }), "backbones": .array(backbones.map { .string($0.id) }),
        ]
    }
}

extension AdapterFactory {
    public var description: JSON {
        [
            "kind": "adapter", "id": .string(id), "summary": .string(summary), "plugin": .string(plugin.id),
            "seams": .array(seams.map { .string($0) }), "options": .array(options.map(\.description)),
            "methods": .array(
                methods.map { method in
                    [
                        "name": .string(method.name), "signature": .string(method.signature), "doc": .string(method.doc),
                    ]
                }),
        ]
    }
}

extension BackboneFactory {
    public var description: JSON {
        [
            "kind": "backbone", "id": .string(id), "summary": .string(summary), "plugin": .string(plugin.id),
            "options": .array(options.map(\.description)),
        ]
    }
}

extension Option {
    /// `choices`, `minimum` and `maximum` are there only where the option has them.
    public var description: JSON {
        var members: [(key: String, value: JSON)] = [
            ("name", .string(name)), ("type", .string(kind.name)), ("default", defaultValue),
        ]
        if !choices.isEmpty { members.append(("choices", .array(choices.map { .string($0) }))) }
        if let range {
            members.append(("minimum", number(range.lowerBound)))
            members.append(("maximum", number(range.upperBound)))
        }
        members.append(("doc", .string(doc)))
        return .object(members)
    }

    private func number(_ value: Double) -> JSON {
        if kind == .int, let integer = Int64(exactly: value) { return .int(integer) }
        return .double(value)
    }
}
