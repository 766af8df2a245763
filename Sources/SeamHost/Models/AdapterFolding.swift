import CSeam
import Engine
import Files
import Support

extension Adapter {
    /// Whether it holds what only training needs (`seam_adapter_factory.fold`).
    public var isFoldable: Bool { table.fold != nil && !isFolded }

    private var isFolded: Bool { options[AdapterFactory.foldedOption] == .bool(true) }

    /// A new adapter with the same outputs, without what only training needs; this one when it has nothing of the kind.
    /// - Throws: what the plugin failed with; `.plugin` or `.numeric`, with the plugin's id, for a value that is not f32 of
    ///   its parameter's shape or not finite.
    public func folded(for backbone: Backbone) throws -> Adapter {
        guard isFoldable, let fold = table.fold else { return self }
        let options = JSON.object(
            (self.options.json.objectValue ?? []).map {
                $0.key == AdapterFactory.foldedOption ? (key: $0.key, value: .bool(true)) : $0
            })
        let result = try Adapter(
            backbone: backbone, id: factory.id, seam: seam, options: options, backboneFrozen: backboneFrozen,
            classes: classes, prompts: prompts, scoreKind: scoreKind, prefixLength: prefixLength,
            points: points.isEmpty ? nil : points.map(\.path))
        result.task = task
        let context = Context(pool: runtime.pool, recordsGradients: false)
        var values = [OpaquePointer?](repeating: nil, count: result.parameters.entries.count)
        var io = seam_fold()
        io.struct_size = UInt32(MemoryLayout<seam_fold>.size)
        context.withPass(parameters.handles) { pass in
            values.withUnsafeMutableBufferPointer { values in
                io.values = values.baseAddress
                io.value_count = values.count
                fold(instance, pass, &io)
            }
        }
        try context.check(origin: origin)
        if let index = values.firstIndex(of: nil) {
            throw SeamError(
                .plugin,
                "adapter \"\(factory.id)\" gives no folded value for parameter \"\(result.parameters.entries[index].name)\"",
                origin: origin)
        }
        try result.assign(values, in: context)
        return result
    }
}
