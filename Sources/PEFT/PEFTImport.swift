import Engine
import Files
import Session
import Support

extension PEFTPrefix {
    /// `adapter(from:backbone:)`, written as an adapter folder, replaced as a whole or not at all.
    /// - Parameters:
    ///   - replaces: whether an adapter that is at `output` is replaced; else it is refused.
    ///   - output: a folder; one of PEFT's is never replaced.
    public static func importAdapter(
        from path: String, backbone: Backbone, replaces: Bool = true, to output: String
    ) throws {
        let adapter = try adapter(from: path, backbone: backbone)
        let file = FileSystem.join(output, AdapterFolder.configName)
        if FileSystem.exists(file), try JSON.read(file)["peft_type"] != nil {
            throw SeamError(.alreadyExists, "cannot replace the folder \"\(output)\", it holds an adapter of PEFT's")
        }
        try AdapterFolder.save(
            adapter, backbone: backbone, isBackboneTrained: false,
            notes: "A prefix that PEFT trained, read with `seam import`.", replaces: replaces, to: output)
    }

    /// A trained prefix that PEFT saved, as an adapter `prefix-tuning` whose numbers are trained themselves
    /// (reparameterization none), not yet attached.
    ///
    /// PEFT saves the prefix that its network gives, not the network, so that there is nothing else to read. A
    /// classification head beside it is left out, with a warning in the log.
    /// - Parameter path: a folder with adapter_config.json and adapter_model.safetensors in F32, F16 or BF16. A pickle
    ///   is never executed.
    /// - Throws: `.notFound` for a missing file; `.format` and `.shape` for a damaged one; `.unsupported` for a method
    ///   other than prefix tuning; `.incompatible` where the prefix is not one for this backbone; `.numeric`.
    public static func adapter(from path: String, backbone: Backbone) throws -> Adapter {
        guard FileSystem.isDirectory(path) else {
            throw SeamError(.notFound, "PEFT folder \"\(path)\": there is no such folder")
        }
        let name = FileSystem.join(path, PEFTConfig.fileName)
        let config = try PEFTConfig(reading: name)
        let info = backbone.info
        try config.check(for: info, in: name)
        let rows = try readRows(path, config, backbone.runtime)
        let attention = PEFTLayout.attention(of: info)
        let layout = PEFTLayout(
            layers: info.prefixLayers[attention.rawValue], storedLayers: config.layers, submodules: config.submodules,
            heads: info.kvHeads, tokens: config.tokens, headDim: info.headDim)
        let adapter = try Adapter(
            backbone: backbone, id: "prefix-tuning",
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

    /// `prompt_embeddings` [tokens, num_layers * 2 * token_dim].
    private static func readRows(_ path: String, _ config: PEFTConfig, _ runtime: Runtime) throws -> [Float] {
        let name = FileSystem.join(path, PEFTConfig.weightsName)
        guard FileSystem.exists(name) else {
            if FileSystem.exists(FileSystem.join(path, PEFTConfig.pickleName)) {
                throw SeamError(
                    .unsupported,
                    "the PEFT folder \"\(path)\" holds only \(PEFTConfig.pickleName), a pickle, which is never executed;"
                        + " save it again with PEFT's safe_serialization")
            }
            throw SeamError(.notFound, "the PEFT folder \"\(path)\" has no \(PEFTConfig.weightsName)")
        }
        let file = try SafetensorsFile(name)
        guard let stored = file[PEFTConfig.tensorName] else {
            throw SeamError(.format, "\(name) has no tensor \"\(PEFTConfig.tensorName)\"")
        }
        try leaveOutHead(file, config, runtime)
        let expected =
            "[\(config.tokens), \(config.layers) * 2 * \(config.tokenDim)] as num_virtual_tokens, num_layers and"
            + " token_dim say"
        // By quotients: the numbers of the config may be too large to multiply.
        let pair = stored.shape.last.map { $0 / config.layers / 2 }
        guard stored.shape.count == 2, stored.shape[0] == config.tokens, pair == config.tokenDim,
            stored.shape[1].isMultiple(of: config.layers), (stored.shape[1] / config.layers).isMultiple(of: 2)
        else {
            throw SeamError(
                .shape, "\(name): tensor \"\(stored.name)\" must be \(expected), found \(stored.shape)")
        }
        let rows = try file.withBytes(of: stored) { bytes throws -> [Float] in
            switch stored.type {
            case .float32: read(bytes, as: UInt32.self) { Float(bitPattern: $0) }
            case .bfloat16: read(bytes, as: UInt16.self) { Float(bitPattern: UInt32($0) << 16) }
            case .float16: read(bytes, as: UInt16.self) { Float(Float16(bitPattern: $0)) }
            default:
                throw SeamError(
                    .unsupported,
                    "\(name): tensor \"\(stored.name)\" must be F32, F16 or BF16, found \(stored.type.rawValue)")
            }
        }
        if let position = rows.firstIndex(where: { !$0.isFinite }) {
            throw SeamError(
                .numeric, "\(name): tensor \"\(stored.name)\" holds NaN or infinity at element \(position)")
        }
        return rows
    }

    /// Little-endian numbers that may stand at any address.
    private static func read<Bits: FixedWidthInteger>(
        _ bytes: UnsafeRawBufferPointer, as: Bits.Type, _ convert: (Bits) -> Float
    ) -> [Float] {
        stride(from: 0, to: bytes.count, by: MemoryLayout<Bits>.size).map {
            convert(Bits(littleEndian: bytes.loadUnaligned(fromByteOffset: $0, as: Bits.self)))
        }
    }

    /// Other tensors: the head that PEFT trains along for a classification is left out, anything else refused.
    private static func leaveOutHead(_ file: SafetensorsFile, _ config: PEFTConfig, _ runtime: Runtime) throws {
        let others = file.tensors.map(\.name).filter { $0 != PEFTConfig.tensorName }
        guard let first = others.first else { return }
        let isHead = { (name: String) in
            name.split(separator: ".").contains { config.trainedHeads.containsExactly(String($0)) }
        }
        if let stranger = others.first(where: { !isHead($0) }) {
            throw SeamError(
                .unsupported,
                "\(file.path) holds \"\(stranger)\" beside the prefix, a part of the model that was trained along:"
                    + " only a prefix alone can be read")
        }
        runtime.log?(
            .warning,
            "\(file.path): the head trained with the prefix (\(first) ...) is left out, train one in its place")
    }
}
