import CSeam
import Files
import Support

/// Descriptions for people and tools, as JSON objects (`seam_runtime_describe`, `seam describe`).
public enum Description {
    /// What a plugin, an adapter or a backbone is, found by its id: seams, options with defaults and ranges, methods
    /// with signatures.
    /// - Throws: `.notFound` with the ids that there are.
    public static func of(_ id: String, in runtime: Runtime) throws -> JSON {
        let adapters = runtime.plugins.flatMap(\.adapters)
        let backbones = runtime.plugins.flatMap(\.backbones)
        if let adapter = adapters.first(where: { $0.id == id }) { return adapter.description }
        if let backbone = backbones.first(where: { $0.id == id }) { return backbone.description }
        if let plugin = runtime.plugins.first(where: { $0.id == id }) { return plugin.description }
        let known = (runtime.plugins.map(\.id) + adapters.map(\.id) + backbones.map(\.id)).sorted()
        throw SeamError(
            .notFound,
            "no loaded plugin, adapter or backbone has the id \"\(id)\"; there are \(known.isEmpty ? "none" : known.joined(separator: ", "))"
        )
    }

    /// What an open backbone is.
    public static func of(_ backbone: Backbone) -> JSON {
        let info = backbone.info
        func id(_ token: Int32?) -> JSON { token.map { .int(Int64($0)) } ?? .null }
        return [
            "kind": "open backbone", "id": backbone.factory.map { .string($0.id) } ?? .null,
            "plugin": backbone.factory.map { .string($0.plugin.id) } ?? .null,
            "path": backbone.model.map { .string($0.files.path) } ?? .null, "family": .string(info.family),
            "computation": .string(info.isOpaque ? "opaque" : "traced"),
            "gradients": .bool(backbone.backpropagates), "seams": .array(info.seams.map { .string($0) }),
            "d_model": .int(Int64(info.dModel)), "encoder_layers": .int(Int64(info.encoderLayers)),
            "decoder_layers": .int(Int64(info.decoderLayers)), "heads": .int(Int64(info.heads)),
            "kv_heads": .int(Int64(info.kvHeads)), "head_dim": .int(Int64(info.headDim)),
            "max_source_positions": .int(Int64(info.maxSourcePositions)),
            "max_target_positions": .int(Int64(info.maxTargetPositions)), "vocab_size": .int(Int64(info.vocabSize)),
            "decoder_start_token_id": id(info.decoderStartToken),
            "eos_token_ids": .array(info.eosTokens.map { .int(Int64($0)) }),
            "pad_token_id": id(info.padToken), "points": .array(points(of: info)), "options": backbone.options.json,
        ]
    }

    /// The points, gathered by stack and seam.
    private static func points(of info: BackboneInfo) -> [JSON] {
        Stack.allCases.flatMap { stack in
            Point.seams.compactMap { seam -> JSON? in
                let points = info.points.filter { $0.stack == stack && $0.seam == seam }
                guard !points.isEmpty else { return nil }
                var names: [String] = []
                for point in points where point.isProjection && !names.contains(point.name) { names.append(point.name) }
                return [
                    "seam": .string(seam), "stack": .string(stack.name),
                    "layers": .int(Int64(Set(points.map(\.layer)).count)), "names": .array(names.map { .string($0) }),
                ]
            }
        }
    }
}

extension Plugin {
    var description: JSON {
        [
            "kind": "plugin", "id": .string(id), "version": .string(version), "license": .string(license),
            "summary": .string(summary), "abi": .string("\(abi.major).\(abi.minor)"), "path": .string(path),
            "adapters": .array(adapters.map { .string($0.id) }), "backbones": .array(backbones.map { .string($0.id) }),
        ]
    }
}

extension AdapterFactory {
    /// Whether it reads several prompts is there only for an adapter on decoder.output; `point_options`, and whether it can be
    /// merged into the weights, only for one on a seam inside the layers.
    var description: JSON {
        var members: [(key: String, value: JSON)] = [
            ("kind", "adapter"), ("id", .string(id)), ("summary", .string(summary)), ("plugin", .string(plugin.id)),
            ("seams", .array(seams.map { .string($0) })),
            ("options", .array(options.map(\.description))),
        ]
        if seams.contains(SEAM_DECODER_OUTPUT) { members.append(("reads_prompts", .bool(readsPrompts))) }
        if seams.contains(where: Point.seams.contains) {
            members.append(("point_options", .array(PointChoice.descriptions(self))))
            members.append(("folds_weight", .bool(table.fold_weight != nil)))
        }
        let methods = methods.map { method -> JSON in
            ["name": .string(method.name), "signature": .string(method.signature), "doc": .string(method.doc)]
        }
        return .object(members + [("methods", .array(methods))])
    }
}

extension BackboneFactory {
    var description: JSON {
        [
            "kind": "backbone", "id": .string(id), "summary": .string(summary), "plugin": .string(plugin.id),
            "options": .array(options.map(\.description)),
        ]
    }
}

extension DeclaredOption {
    /// `choices`, `minimum` and `maximum` are there only where the option has them.
    package var description: JSON {
        var members: [(key: String, value: JSON)] = [
            ("name", .string(name)), ("type", .string(kind.name)), ("default", defaultValue),
        ]
        if !choices.isEmpty { members.append(("choices", .array(choices.map { .string($0) }))) }
        if let range {
            if range.lowerBound.isFinite { members.append(("minimum", number(range.lowerBound))) }
            if range.upperBound.isFinite { members.append(("maximum", number(range.upperBound))) }
        }
        members.append(("doc", .string(doc)))
        return .object(members)
    }

    private func number(_ value: Double) -> JSON {
        if kind == .int, let integer = Int64(exactly: value) { return .int(integer) }
        return .double(value)
    }
}
