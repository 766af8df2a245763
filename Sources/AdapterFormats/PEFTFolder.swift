import Files
import SeamHost
import Support

/// A folder that PEFT saved an adapter in: what all methods have in common.
struct PEFTFolder {
    static let configName = "adapter_config.json"
    static let weightsName = "adapter_model.safetensors"
    static let pickleName = "adapter_model.bin"
    /// What is replaced: what PEFT and the export write, and nothing else.
    static let kind = FolderKind(configName, weightsName, pickleName, "README.md")

    let path: String
    /// The members of adapter_config.json.
    let config: JSON
    let method: PEFTMethod

    var configPath: String { FileSystem.join(path, Self.configName) }
    var weightsPath: String { FileSystem.join(path, Self.weightsName) }

    /// Keys of every method that do not change what the model computes: where the model is found, who wrote the file.
    private static let harmless = [
        "auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision",
    ]
    /// The heads that PEFT trains along, by task.
    private static let headsOfTasks = [
        "SEQ_CLS": ["classifier", "score"], "TOKEN_CLS": ["classifier", "score"], "QUESTION_ANS": ["qa_outputs"],
    ]

    /// The parts of the model that are a head of the config's task.
    private var trainedHeads: [String] { config["task_type"]?.stringValue.flatMap { Self.headsOfTasks[$0] } ?? [] }

    /// Reads the config of a folder.
    /// - Throws: `.notFound` for a missing folder or config, `.unsupported` for a method that is not read.
    init(_ path: String) throws {
        guard FileSystem.isDirectory(path) else {
            throw SeamError(.notFound, "PEFT folder \"\(path)\": there is no such folder")
        }
        self.path = path
        let name = FileSystem.join(path, Self.configName)
        try Self.refuseInterventions(path)
        config = try JSON.read(name)
        guard config["schema"] == nil || config["peft_type"] != nil else {
            throw SeamError(.invalidArgument, "\(name) is of an adapter of SeamKit: it needs no import")
        }
        let type = try config.requireString("peft_type", in: name)
        guard let method = PEFTMethod(rawValue: type) else {
            let known = PEFTMethod.allCases.map(\.rawValue).joined(separator: ", ")
            throw SeamError(
                .unsupported, "\(name): peft_type must be one of \(known), those that can be read, found \(type)")
        }
        self.method = method
    }

    /// Throws `.unsupported` for a folder of pyreft, whose tensors are pickles.
    private static func refuseInterventions(_ path: String) throws {
        guard !FileSystem.exists(FileSystem.join(path, configName)),
            let name = try? FileSystem.list(path).first(where: { $0.hasPrefix("intkey_") && $0.hasSuffix(".bin") })
        else { return }
        throw SeamError(
            .unsupported,
            "the folder \"\(path)\" holds interventions of pyreft, pickles (\(name)), which are never executed here:"
                + " seamkit.torch.load_pyreft in Python reads the tensors in them")
    }

    /// Throws `.unsupported` where another part of the model than a head was trained along.
    func checkModules() throws {
        guard let value = config["modules_to_save"], value != .null else { return }
        let modules = value.arrayValue?.compactMap(\.stringValue) ?? []
        guard modules.count == value.arrayValue?.count else {
            throw SeamError(
                .format, "\(configPath): modules_to_save must be an array of strings, found \(try value.serialized())")
        }
        if let stranger = modules.first(where: { !trainedHeads.containsExactly($0) }) {
            throw SeamError(
                .unsupported,
                "\(configPath): modules_to_save names \"\(stranger)\", a part of the model that was trained along:"
                    + " only a \(method.product) alone can be read")
        }
    }

    /// Throws `.unsupported` for a key that asks for something and is neither harmless in every method nor among `known`.
    func refuseUnknownKeys(besides known: [String]) throws {
        let known = Self.harmless + known
        for (key, value) in config.objectValue ?? [] where !known.containsExactly(key) {
            guard [.null, .bool(false), [], .object([])].contains(value) else {
                throw SeamError(
                    .unsupported,
                    "\(configPath): \(key) is no key of PEFT's \(method.name) that is known, and could change what the"
                        + " \(method.product) does: expected none, found \(try value.serialized()); take it out if it does not"
                )
            }
        }
    }

    /// Maps the weights; no values are read.
    /// - Throws: `.notFound` where there are none, `.unsupported` for a pickle, which is never executed.
    func openWeights() throws -> SafetensorsFile {
        guard FileSystem.exists(weightsPath) else {
            if FileSystem.exists(FileSystem.join(path, Self.pickleName)) {
                throw SeamError(
                    .unsupported,
                    "the PEFT folder \"\(path)\" holds only \(Self.pickleName), a pickle, which is never executed;"
                        + " save it again with PEFT's safe_serialization")
            }
            throw SeamError(.notFound, "the PEFT folder \"\(path)\" has no \(Self.weightsName)")
        }
        return try SafetensorsFile(weightsPath)
    }

    /// Tensors that are not of the method itself: the head that PEFT trains along for a classification is left out, anything
    /// else refused.
    func leaveOut(_ others: [String], of file: SafetensorsFile, _ runtime: Runtime) throws {
        guard let first = others.first else { return }
        let isHead = { (name: String) in
            name.split(separator: ".").contains { trainedHeads.containsExactly(String($0)) }
        }
        if let stranger = others.first(where: { !isHead($0) }) {
            throw SeamError(
                .unsupported,
                "\(file.path) holds \"\(stranger)\" beside the \(method.product), a part of the model that was trained along:"
                    + " only a \(method.product) alone can be read")
        }
        runtime.log?(
            .warning,
            "\(file.path): the head trained with the \(method.product) (\(first) ...) is left out, train one in its place"
        )
    }

    /// The numbers of a tensor, in its order.
    /// - Throws: as the other form.
    static func numbers(of stored: StoredTensor, in file: SafetensorsFile) throws -> [Float] {
        try file.withBytes(of: stored) { try numbers($0, stored.type, name: stored.name, in: file.path) }
    }

    /// The numbers that bytes stand for.
    /// - Throws: `.unsupported` for a type that is no F32, F16 or BF16, `.numeric` for NaN or infinity.
    static func numbers(
        _ bytes: UnsafeRawBufferPointer, _ type: StoredType, name: String, in path: String
    ) throws -> [Float] {
        let numbers: [Float]
        switch type {
        case .float32: numbers = read(bytes, as: UInt32.self) { Float(bitPattern: $0) }
        case .bfloat16: numbers = read(bytes, as: UInt16.self) { Float(bitPattern: UInt32($0) << 16) }
        case .float16: numbers = read(bytes, as: UInt16.self) { Float(Float16(bitPattern: $0)) }
        default:
            throw SeamError(
                .unsupported, "\(path): tensor \"\(name)\" must be F32, F16 or BF16, found \(type.rawValue)")
        }
        if let position = numbers.firstIndex(where: { !$0.isFinite }) {
            throw SeamError(.numeric, "\(path): tensor \"\(name)\" holds NaN or infinity at element \(position)")
        }
        return numbers
    }

    /// Little-endian numbers that may stand at any address.
    private static func read<Bits: FixedWidthInteger>(
        _ bytes: UnsafeRawBufferPointer, as: Bits.Type, _ convert: (Bits) -> Float
    ) -> [Float] {
        stride(from: 0, to: bytes.count, by: MemoryLayout<Bits>.size).map {
            convert(Bits(littleEndian: bytes.loadUnaligned(fromByteOffset: $0, as: Bits.self)))
        }
    }

    /// A tensor to be written, in F32.
    struct Tensor {
        let name: String
        let shape: [Int]
        let values: [Float]
    }

    /// Writes a folder, replaced as a whole or not at all.
    /// - Parameters:
    ///   - replaces: whether one of PEFT's that is at `path` is replaced; else it is refused.
    ///   - path: a folder; an adapter of SeamKit's that is there is never replaced.
    static func write(_ config: JSON, _ tensors: [Tensor], replaces: Bool, to path: String) throws {
        let file = FileSystem.join(path, configName)
        if FileSystem.exists(file), try JSON.read(file)["peft_type"] == nil {
            throw SeamError(
                .alreadyExists, "cannot replace the folder \"\(path)\", it holds an adapter that is not one of PEFT's")
        }
        try AtomicFolder.write(path, kind, replaces: replaces) { folder in
            try FileSystem.atomicWriteFile(
                FileSystem.join(folder, configName), text: try config.serialized(indent: 2) + "\n")
            let written = tensors.map { tensor in
                SafetensorsWriter.Tensor(name: tensor.name, type: .float32, shape: tensor.shape) { body in
                    try tensor.values.withUnsafeBytes { try body($0) }
                }
            }
            try SafetensorsWriter.write(
                written, metadata: ["format": "pt"], to: FileSystem.join(folder, weightsName))
        }
    }
}
