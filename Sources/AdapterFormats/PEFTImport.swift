import Engine
import Files
import SeamHost
import Support

extension PEFTPrefix {
    /// A trained prefix that PEFT saved, as an adapter whose numbers are trained themselves
    /// (reparameterization none), not yet attached.
    ///
    /// PEFT saves the prefix that its network gives, not the network, so that there is nothing else to read. A
    /// classification head beside it is left out, with a warning in the log.
    /// - Parameter folder: one of prefix tuning, with adapter_model.safetensors in F32, F16 or BF16. A pickle is never
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
        let adapter = try Adapter(
            backbone: backbone, id: config.method.adapter,
            options: [
                "prefix_length": .int(Int64(config.tokens)), "attention": .string("\(attention)"),
                "reparameterization": "none",
            ])
        guard let parameter = adapter.parameters.entries.first, adapter.parameters.entries.count == 1,
            parameter.tensor.shape == [layout.layers, 2, layout.heads, layout.tokens, layout.headDim]
        else {
            throw SeamError(
                .incompatible,
                "version \(adapter.factory.plugin.version) of \(adapter.origin) keeps its prefix in another form than"
                    + " [layers, 2, kv_heads, prefix, head_dim]")
        }
        parameter.tensor.assign(layout.keysAndValues(from: rows))
        return adapter
    }
}
