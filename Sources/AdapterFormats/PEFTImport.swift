import Engine
import Files
import SeamHost
import Support

extension PEFTPrefix {
    /// A trained prefix that PEFT saved, as an adapter whose numbers are trained themselves
    /// (reparameterization none), or a cartridge as one, not yet attached.
    ///
    /// PEFT saves the prefix that its network gives, not the network, so that there is nothing else to read. A
    /// classification head beside it is left out, with a warning in the log.
    /// - Parameter folder: one of prefix tuning or of cartridges, with adapter_model.safetensors in F32, F16 or BF16. A pickle is never
    ///   executed.
    /// - Throws: `.notFound` for a missing file; `.format` and `.shape` for a damaged one; `.unsupported` for what is not
    ///   followed; `.incompatible` where the prefix is not one for this backbone; `.numeric`.
    static func adapter(of folder: PEFTFolder, backbone: Backbone) throws -> Adapter {
        let config = try PEFTConfig(folder)
        let info = backbone.info
        try config.check(for: info, in: folder.configPath)
        let rows = try config.rows(in: folder, [config.layers, 2, config.tokenDim], backbone.runtime)
        let attention = PEFTLayout.attention(of: info)
        let layout = PEFTLayout(
            layers: info.prefixLayers[attention.rawValue], storedLayers: config.layers, submodules: config.submodules,
            heads: info.kvHeads, tokens: config.tokens, headDim: info.headDim)
        let own: JSON =
            config.method == .cartridge
            ? ["frozen_tokens": .int(Int64(config.frozenTokens))] : ["reparameterization": "none"]
        let common: JSON = [
            "prefix_length": .int(Int64(config.tokens)), "attention": .string("\(attention)"),
        ]
        let adapter = try Adapter(
            backbone: backbone, id: config.method.adapter,
            options: .object(common.objectValue! + own.objectValue!))
        try assign(layout, layout.keysAndValues(from: rows), frozen: config.frozenTokens, to: adapter)
        return adapter
    }

    /// Sets the parameters of an adapter, [layers, 2, kv_heads, prefix, head_dim]: one or, of a cartridge, its frozen tokens
    /// and behind them the others.
    private static func assign(_ layout: PEFTLayout, _ values: [Float], frozen: Int, to adapter: Adapter) throws {
        let counts = [frozen, layout.tokens - frozen].filter { $0 > 0 }
        let entries = adapter.parameters.entries
        let shapes = counts.map { [layout.layers, 2, layout.heads, $0, layout.headDim] }
        guard entries.map({ Array($0.tensor.shape) }) == shapes else {
            throw SeamError(
                .incompatible,
                "version \(adapter.factory.plugin.version) of \(adapter.origin) keeps its prefix in another form than"
                    + " [layers, 2, kv_heads, prefix, head_dim]")
        }
        var first = 0
        for (entry, count) in zip(entries, counts) {
            let rows = stride(from: 0, to: values.count, by: layout.tokens * layout.headDim)
            entry.tensor.assign(
                rows.flatMap { values[$0 + first * layout.headDim..<$0 + (first + count) * layout.headDim] })
            first += count
        }
    }
}
