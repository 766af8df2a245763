import Engine
import Files
import Support

/// Reading and writing a trained adapter: a folder with `adapter_config.json`, `adapter_model.safetensors` and a model
/// card, replaced as a whole or not at all.
public enum AdapterFolder {
    public static let configName = "adapter_config.json"
    public static let weightsName = "adapter_model.safetensors"
    private static let cardName = "README.md"

    /// What is replaced where an adapter is saved: the folder of one, or of several, with nothing else in it.
    public static let kind = FolderKind(marker: configName) { path in
        let name = FileSystem.baseName(path)
        guard FileSystem.isDirectory(path) else { return [weightsName, cardName].contains(name) }
        let listed = (try? list(in: FileSystem.parent(path))) ?? nil
        let files = (try? FileSystem.list(path)) ?? []
        return !FileSystem.isLink(path) && listed?.containsExactly(name) == true
            && files.allSatisfy {
                [configName, weightsName, cardName].contains($0) && FileSystem.isPlainFile(FileSystem.join(path, $0))
            }
    }

    /// Whether a folder holds an adapter, or several, as this program saves them, and not another program's.
    public static func isOwn(_ path: String) -> Bool {
        guard let config = try? JSON.read(FileSystem.join(path, configName)) else { return false }
        return config["peft_type"] == nil && config["schema"]?.intValue != nil
    }

    /// The newest revision of adapter_config.json that is read. 2: with "points", "score_kind", "prompts" or "task", which a reader of
    /// the first one does not know or knows otherwise; what has none of these is written as 1.
    static let schema = 2

    /// What an adapter_config.json says.
    public struct Config {
        public let adapterID: String
        public let pluginID: String
        public let pluginVersion: String
        public let seam: String
        public let options: JSON
        public let backboneFamily: String
        public let dModel: Int
        public let encoderLayers: Int
        public let decoderLayers: Int
        public let kvHeads: Int
        public let headDim: Int
        public let vocabSize: Int
        /// `ModelFiles.fingerprint` of the weights it was trained on, as hex; nil for a backbone without a folder.
        public let fingerprint: String?
        public let isBackboneTrained: Bool
        /// Of the classification that it is part of; 0: none.
        public let classes: Int
        /// Of decoder.output: the prompts about each text that it reads; else 1.
        public let prompts: Int
        /// By `PrefixAttention`, tokens of what enters its seam, where that is one of prefixes.
        public let prefixLength: [Int]
        /// Of decoder.output: what its scores are.
        public let scoreKind: ScoreKind
        /// The names of its points, of a seam inside the layers ("decoder.0.q"); nil on other seams.
        public let points: [String]?
        /// `Adapter.task`: an object, or nil.
        public let task: JSON?
    }

    /// Writes an adapter.
    /// - Parameters:
    ///   - isBackboneTrained: the backbone was trained with it.
    ///   - weights: the folder of the weights it belongs to; nil for the one the backbone was opened from.
    ///   - notes: further lines of the model card (data, metrics), Markdown.
    ///   - replaces: whether an adapter that is at `path` is replaced; else it is refused.
    public static func save(
        _ adapter: Adapter, backbone: Backbone, isBackboneTrained: Bool, weights: ModelFiles? = nil, notes: String,
        replaces: Bool = true, to path: String
    ) throws {
        let fingerprint = (weights ?? backbone.model?.files).map { ContentHash.hex($0.fingerprint()) }
        let site = adapter.site
        let plugin = adapter.factory.plugin
        guard adapter.task?.objectValue != nil || adapter.task == nil else {
            throw SeamError(
                .invalidArgument, "the task of an adapter must be a JSON object, found \(adapter.task!.kind)")
        }
        let always: JSON = [
            "schema": .int(isOfFirstSchema(adapter) ? 1 : Int64(schema)),
            "abi": .string("\(plugin.abi.major).\(plugin.abi.minor)"),
            "plugin": ["id": .string(plugin.id), "version": .string(plugin.version)],
            "adapter": .string(adapter.factory.id),
            "seam": .string(adapter.seam),
            "options": adapter.options.json,
            "backbone": [
                "family": .string(site.family),
                "d_model": .int(Int64(site.dModel)),
                "encoder_layers": .int(Int64(site.encoderLayers)),
                "decoder_layers": .int(Int64(site.decoderLayers)),
                "kv_heads": .int(Int64(site.kvHeads)),
                "head_dim": .int(Int64(site.headDim)),
                "vocab_size": .int(Int64(site.vocabSize)),
                "fingerprint": fingerprint.map { .string($0) } ?? .null,
                "trained": .bool(isBackboneTrained),
            ],
        ]
        var members = always.objectValue!
        if adapter.classes > 0 { members.append(("classes", .int(Int64(adapter.classes)))) }
        if adapter.prompts > 1 { members.append(("prompts", .int(Int64(adapter.prompts)))) }
        if adapter.prefixLength.contains(where: { $0 > 0 }) {
            members.append(("prefix_length", .array(adapter.prefixLength.map { .int(Int64($0)) })))
        }
        if adapter.scoreKind != .unknown { members.append(("score_kind", .string(adapter.scoreKind.name))) }
        if !adapter.points.isEmpty { members.append(("points", .array(adapter.points.map { .string($0.path) }))) }
        if let task = adapter.task { members.append(("task", task)) }
        let config = JSON.object(members)
        for entry in adapter.parameters.entries {
            if let position = NativeEngine.firstNonFinite(
                entry.tensor.baseAddress, .f32, count: entry.tensor.elementCount)
            {
                throw SeamError(
                    .numeric,
                    "adapter \"\(adapter.factory.id)\" is not saved: parameter \"\(entry.name)\" holds NaN or infinity at element \(position)"
                )
            }
        }
        try AtomicFolder.write(path, kind, replaces: replaces) { folder in
            try FileSystem.atomicWriteFile(
                FileSystem.join(folder, configName), text: try config.serialized(indent: 2) + "\n")
            try SafetensorsWriter.write(
                adapter.parameters.entries.map { entry in
                    SafetensorsWriter.Tensor(name: entry.name, type: .float32, shape: Array(entry.tensor.shape)) {
                        body in
                        try body(
                            UnsafeRawBufferPointer(
                                start: entry.tensor.baseAddress, count: entry.tensor.elementCount * 4))
                    }
                }, metadata: ["format": "seamkit"], to: FileSystem.join(folder, weightsName))
            try FileSystem.atomicWriteFile(
                FileSystem.join(folder, cardName), text: card(adapter, backbone, isBackboneTrained, notes))
        }
    }

    private static func isOfFirstSchema(_ adapter: Adapter) -> Bool {
        adapter.points.isEmpty && adapter.scoreKind == .unknown && adapter.task == nil && adapter.prompts == 1
    }

    /// Reads and checks adapter_config.json.
    public static func readConfig(_ path: String) throws -> Config {
        if let names = try list(in: path) {
            throw SeamError(
                .invalidArgument,
                "adapter folder \"\(path)\" holds \(names.count) adapters: load all of them at once, or one from its own folder in it, \(names.joined(separator: " or "))"
            )
        }
        let name = FileSystem.join(path, configName)
        let json = try JSON.read(name)
        guard json["peft_type"] == nil else {
            throw SeamError(.format, "\(name) is of an adapter of PEFT: `seam import` makes one for SeamKit of it")
        }
        let known: [String: [String]] = [
            "": [
                "schema", "abi", "plugin", "adapter", "seam", "options", "backbone", "classes", "prompts",
                "prefix_length",
                "score_kind", "points", "task",
            ],
            "plugin": ["id", "version"],
            "backbone": [
                "family", "d_model", "encoder_layers", "decoder_layers", "kv_heads", "head_dim", "vocab_size",
                "fingerprint", "trained",
            ],
        ]
        let revision = try json.requireInt("schema", in: name)
        guard (1...schema).contains(revision) else {
            throw SeamError(
                .incompatible, "\(name): schema must be 1 ... \(schema), which this version reads, found \(revision)")
        }
        for (section, keys) in known {
            let object = section.isEmpty ? json.objectValue ?? [] : try json.requireObject(section, in: name)
            if let stranger = object.first(where: { !keys.containsExactly($0.key) }) {
                throw SeamError(
                    .format,
                    "\(name): unknown key \"\(section.isEmpty ? "" : section + ".")\(stranger.key)\"; known are \(keys.joined(separator: ", "))"
                )
            }
        }
        return Config(
            adapterID: try json.requireString("adapter", in: name),
            pluginID: try json.requireString("plugin.id", in: name),
            pluginVersion: try json.requireString("plugin.version", in: name),
            seam: try json.requireString("seam", in: name),
            options: .object(try json.requireObject("options", in: name)),
            backboneFamily: try json.requireString("backbone.family", in: name),
            dModel: try json.requireInt("backbone.d_model", in: name),
            encoderLayers: try json.requireInt("backbone.encoder_layers", in: name),
            decoderLayers: try json.requireInt("backbone.decoder_layers", in: name),
            kvHeads: try json.requireInt("backbone.kv_heads", in: name),
            headDim: try json.requireInt("backbone.head_dim", in: name),
            vocabSize: try json.requireInt("backbone.vocab_size", in: name),
            fingerprint: try json.optionalString("backbone.fingerprint", in: name),
            isBackboneTrained: try json.requireBool("backbone.trained", in: name),
            classes: try json.optionalInt("classes", in: name) ?? 0,
            prompts: try json.optionalInt("prompts", in: name) ?? 1,
            prefixLength: try prefixLength(json, in: name),
            scoreKind: try scoreKind(json, in: name), points: try points(json, in: name),
            task: try json.optionalObject("task", in: name).map { .object($0) })
    }

    private static func prefixLength(_ json: JSON, in name: String) throws -> [Int] {
        let none = PrefixAttention.allCases.map { _ in 0 }
        guard json["prefix_length"] != nil else { return none }
        let lengths = try json.requireArray("prefix_length", in: name).map { $0.intValue ?? -1 }
        guard lengths.count == none.count, lengths.allSatisfy({ $0 >= 0 }) else {
            throw SeamError(
                .format, "\(name): \"prefix_length\" must be \(none.count) numbers of tokens, found \(lengths)")
        }
        return lengths
    }

    private static func scoreKind(_ json: JSON, in name: String) throws -> ScoreKind {
        guard let text = try json.optionalString("score_kind", in: name) else { return .unknown }
        guard let kind = ScoreKind.allCases.first(where: { $0.name == text }) else {
            throw SeamError(
                .format,
                "\(name): \"score_kind\" must be one of \(ScoreKind.allCases.map(\.name).joined(separator: ", ")), found \"\(text)\""
            )
        }
        return kind
    }

    private static func points(_ json: JSON, in name: String) throws -> [String]? {
        guard json["points"] != nil else { return nil }
        let names = try json.requireArray("points", in: name).map(\.stringValue)
        guard !names.isEmpty, names.count <= 1 << 16, !names.contains(nil) else {
            throw SeamError(.format, "\(name): \"points\" must be names of points such as \"decoder.0.q\", one or more")
        }
        return names.compactMap(\.self)
    }

    /// Makes the saved adapter for a backbone. An adapter that was made for a backbone of another shape is refused; other
    /// weights of the same shape are a warning in the log.
    public static func load(_ path: String, backbone: Backbone) throws -> Adapter {
        let config = try readConfig(path)
        let info = backbone.info
        for (name, saved, found) in [
            ("d_model", config.dModel, info.dModel), ("encoder_layers", config.encoderLayers, info.encoderLayers),
            ("decoder_layers", config.decoderLayers, info.decoderLayers), ("kv_heads", config.kvHeads, info.kvHeads),
            ("head_dim", config.headDim, info.headDim),
        ] where saved != found {
            throw SeamError(
                .incompatible,
                "adapter folder \"\(path)\" was trained for a backbone with \(name) \(saved), this one has \(found)")
        }
        if let saved = config.fingerprint, let model = backbone.model {
            let found = ContentHash.hex(model.files.fingerprint())
            if saved != found {
                backbone.runtime.log?(
                    .warning,
                    "adapter folder \"\(path)\" was trained on other weights (\(saved)) than \"\(model.files.path)\" holds (\(found))"
                )
            }
        }
        guard Point.seams.contains(config.seam) == (config.points != nil) else {
            throw SeamError(
                .format,
                "\(FileSystem.join(path, configName)): an adapter on \(config.seam) must have \(config.points == nil ? "" : "no ")\"points\""
            )
        }
        guard
            backbone.runtime.plugins.contains(where: { plugin in
                plugin.id == config.pluginID || plugin.adapters.contains { $0.id == config.adapterID }
            })
        else {
            throw SeamError(
                .notFound,
                "adapter folder \"\(path)\" needs the adapter \"\(config.adapterID)\" of the plugin \(config.pluginID)"
                    + " \(config.pluginVersion), which is not loaded: load its library, or name its folder in SEAM_PLUGIN_PATH"
            )
        }
        let adapter = try naming(FileSystem.join(path, configName)) {
            try Adapter(
                backbone: backbone, id: config.adapterID, seam: config.seam, options: config.options,
                backboneFrozen: !config.isBackboneTrained, classes: config.classes, prompts: config.prompts,
                scoreKind: config.scoreKind, prefixLength: config.prefixLength, points: config.points)
        }
        adapter.task = config.task
        let file = try SafetensorsFile(FileSystem.join(path, weightsName))
        let names = adapter.parameters.entries.map(\.name)
        if let missing = names.first(where: { file[$0] == nil }) {
            throw SeamError(
                .format, "\(file.path) has no tensor \"\(missing)\", which adapter \"\(config.adapterID)\" needs")
        }
        if let stranger = file.tensors.first(where: { !names.containsExactly($0.name) }) {
            throw SeamError(
                .format,
                "\(file.path) holds tensor \"\(stranger.name)\", which adapter \"\(config.adapterID)\" does not have")
        }
        for entry in adapter.parameters.entries {
            let stored = file[entry.name]!
            guard stored.type == .float32, stored.shape == Array(entry.tensor.shape) else {
                throw SeamError(
                    .shape,
                    "\(file.path): tensor \"\(entry.name)\" must be F32 \(entry.tensor.shape), found \(stored.type.rawValue) \(stored.shape)"
                )
            }
            try adapter.parameters.load(entry.name, file.bytes(of: stored))
            if let position = NativeEngine.firstNonFinite(
                entry.tensor.baseAddress, .f32, count: entry.tensor.elementCount)
            {
                throw SeamError(
                    .numeric, "\(file.path): tensor \"\(entry.name)\" holds NaN or infinity at element \(position)")
            }
        }
        adapter.isPrepared = true
        return adapter
    }

    /// Puts the file whose content is to blame before the sentence of an error.
    private static func naming<R>(_ file: String, _ body: () throws -> R) throws -> R {
        do {
            return try body()
        } catch let error as SeamError {
            throw SeamError(error.code, "\(file): \(error.message)", origin: error.origin)
        }
    }

    private static func card(_ adapter: Adapter, _ backbone: Backbone, _ isBackboneTrained: Bool, _ notes: String)
        -> String
    {
        let options = (adapter.options.json.objectValue ?? [])
            .map { "- \($0.key): \((try? $0.value.serialized()) ?? "")" }.joined(separator: "\n")
        return """
            # \(adapter.factory.id) adapter

            \(adapter.factory.summary)

            - plugin: \(adapter.factory.plugin.id) \(adapter.factory.plugin.version)
            - seam: \(adapter.seam)\(adapter.points.isEmpty ? "" : ", at \(listed(adapter.points.map(\.path), ", "))")\(adapter.classes > 0 ? ", \(adapter.classes) classes" : "")\(adapter.prompts > 1 ? ", \(adapter.prompts) prompts" : "")
            - backbone: \(adapter.site.family), d_model \(adapter.site.dModel), \(isBackboneTrained ? "trained with the adapter" : "frozen")
            - parameters: \(listed(adapter.parameters.entries.map { "\($0.name) \($0.tensor.shape)" }, ", "))
            - trained numbers: \(adapter.parameters.trainableCount)

            ## Options

            \(options)

            ## Training

            \(notes.isEmpty ? "No notes were given." : notes)

            """
    }
}
