import Engine
import Files
import Session
import Support

/// Folders of PEFT: which method they are of, and what all of them have in common.
public enum PEFTFolder {
    /// Writes what the adapters attached to a session put before the tokens, a prefix (`PEFTPrefix`) or a prompt
    /// (`PEFTPrompt`).
    /// - Throws: as these do.
    public static func export(
        _ session: Session, baseModel: String? = nil, replaces: Bool = true, to path: String
    ) throws {
        if session.adapters.contains(where: \.isPrompt) {
            try PEFTPrompt.export(session, baseModel: baseModel, replaces: replaces, to: path)
        } else {
            try PEFTPrefix.export(session, baseModel: baseModel, replaces: replaces, to: path)
        }
    }

    /// Makes an adapter folder of a trained prefix or prompt, replaced as a whole or not at all.
    /// - Parameters:
    ///   - replaces: whether an adapter that is at `output` is replaced; else it is refused.
    ///   - output: a folder; one of PEFT's is never replaced.
    /// - Throws: as `PEFTPrefix.adapter` and `PEFTPrompt.adapter` do.
    public static func importAdapter(
        from path: String, backbone: Backbone, replaces: Bool = true, to output: String
    ) throws {
        let (config, _) = try config(in: path)
        let adapter =
            config.method == .prefixTuning
            ? try PEFTPrefix.adapter(from: path, backbone: backbone)
            : try PEFTPrompt.adapter(from: path, backbone: backbone)
        try save(adapter, config.method.product, backbone: backbone, replaces: replaces, to: output)
    }

    /// Writes an adapter whose values PEFT trained.
    /// - Parameter product: "prefix", for the notes.
    static func save(
        _ adapter: Adapter, _ product: String, backbone: Backbone, replaces: Bool, to output: String
    ) throws {
        let file = FileSystem.join(output, AdapterFolder.configName)
        if FileSystem.exists(file), try JSON.read(file)["peft_type"] != nil {
            throw SeamError(.alreadyExists, "cannot replace the folder \"\(output)\", it holds an adapter of PEFT's")
        }
        try AdapterFolder.save(
            adapter, backbone: backbone, isBackboneTrained: false,
            notes: "A \(product) that PEFT trained, read with `seam import`.", replaces: replaces, to: output)
    }

    /// The config of a folder, and its path.
    static func config(in path: String) throws -> (PEFTConfig, name: String) {
        guard FileSystem.isDirectory(path) else {
            throw SeamError(.notFound, "PEFT folder \"\(path)\": there is no such folder")
        }
        let name = FileSystem.join(path, PEFTConfig.fileName)
        return (try PEFTConfig(reading: name), name)
    }

    /// `prompt_embeddings`: of a prefix [tokens, num_layers * 2 * token_dim], of a prompt [tokens of all submodules, token_dim].
    /// - Parameter factors: of the width of a row, as the config says.
    static func readRows(_ path: String, _ config: PEFTConfig, _ factors: [Int], _ runtime: Runtime) throws -> [Float] {
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
        let count = config.method == .prefixTuning ? config.tokens : config.tokens * config.submodules
        let width = factors.map(String.init).joined(separator: " * ")
        let keys =
            config.method == .prefixTuning
            ? "num_virtual_tokens, num_layers and token_dim say"
            : "num_virtual_tokens, num_transformer_submodules and token_dim say"
        // By quotients: the numbers of the config may be too large to multiply.
        var rest = stored.shape.last ?? 0
        let divides = factors.allSatisfy { factor in
            defer { rest /= factor }
            return rest.isMultiple(of: factor)
        }
        guard stored.shape.count == 2, stored.shape[0] == count, divides, rest == 1 else {
            throw SeamError(
                .shape,
                "\(name): tensor \"\(stored.name)\" must be [\(count), \(width)] as \(keys), found \(stored.shape)")
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
                "\(file.path) holds \"\(stranger)\" beside the \(config.method.product), a part of the model that was trained along:"
                    + " only a \(config.method.product) alone can be read")
        }
        runtime.log?(
            .warning,
            "\(file.path): the head trained with the \(config.method.product) (\(first) ...) is left out, train one in its place"
        )
    }
}
