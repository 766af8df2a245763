import CSeam
import Engine
import Files
import Support

/// An open pretrained model. Frozen unless `unfreeze` is called. Sessions on threads of their own may read it at once
/// while none of them trains it.
public final class Backbone {
    public let runtime: Runtime
    /// Nil for the description of a model that another engine runs.
    public let factory: BackboneFactory?
    public let info: BackboneInfo
    /// The description as plugins and clients read it; it lives as long as the backbone.
    public let record: BackboneInfoRecord
    public let options: Configuration
    /// Nil for a backbone opened without a folder.
    public let model: PretrainedModel?
    public let parameters: ParameterSet
    /// Whether its weights were ever made trainable, so that they may differ from those of its folder.
    public private(set) var isTrained = false
    /// The factory's object, which its functions are given.
    package let instance: UnsafeMutableRawPointer?
    /// The lock of a backbone that reads text by itself.
    let queries = QueryLock()

    /// Without functions in a description.
    package let table: seam_backbone_factory
    let origin: String
    /// As a sentence begins with it.
    public var name: String { factory.map { "backbone \"\($0.id)\"" } ?? "the model (\(info.family))" }

    /// Opens a model.
    /// - Parameters:
    ///   - id: the backbone's factory; nil asks all that are loaded which of them opens the model best.
    ///   - path: a folder in the Hugging Face layout or a GGUF file; nil for a backbone that needs none.
    ///   - options: a JSON object of the factory's options.
    /// - Throws: when no factory accepts the model, or two accept it alike, or with one sentence that lists the tensors
    ///   that are missing or have another shape.
    public init(runtime: Runtime, id: String? = nil, path: String?, options: JSON = .null) throws {
        self.runtime = runtime
        model = try path.map { try PretrainedModel($0) }
        let factory = try id.map { try runtime.backboneFactory($0) } ?? Self.factory(accepting: model, in: runtime)
        let (origin, table) = (factory.plugin.id, factory.table)
        (self.factory, self.origin, self.table) = (factory, origin, table)
        self.options = try DeclaredOption.resolve(
            options, against: factory.options, owner: "backbone \"\(factory.id)\"")
        var instance: UnsafeMutableRawPointer?
        var failure: OpaquePointer?
        let status = table.create(runtime.host, self.options.handle, model?.handle, &instance, &failure)
        if let error = ErrorObject.failure(
            failure, status: status, origin: origin, during: "opening backbone \"\(factory.id)\"")
        {
            throw model.map { Self.locate(error, in: $0.files) } ?? error
        }
        do {
            try DeclaredOption.checkResolved(
                self.options, against: factory.options, owner: "backbone \"\(factory.id)\"", origin: origin)
            var raw = seam_backbone_info()
            raw.struct_size = UInt32(MemoryLayout<seam_backbone_info>.size)
            (raw.decoder_start_token_id, raw.pad_token_id) = (-1, -1)
            (raw.bos_token_id, raw.mask_token_id) = (-1, -1)
            table.info(instance, &raw)
            info = try BackboneInfo(raw, origin: origin)
            record = BackboneInfoRecord(info)
            try factory.require(functionsOf: info.architecture)
            let declared = try ParameterDeclaration.all(
                count: table.parameter_count(instance), owner: "backbone \"\(factory.id)\"", origin: origin
            ) { table.parameter(instance, $0, &$1) }
            parameters = try Self.makeParameters(declared, model, runtime, origin)
            for point in info.points { try point.check(parameters, origin: origin) }
        } catch {
            table.destroy(instance)
            throw error
        }
        self.instance = instance
        factory.plugin.liveInstances.add(1, ordering: .relaxed)
    }

    /// Describes a model that the caller runs with an engine of its own: adapters are made for it, and nothing is computed.
    /// - Parameters:
    ///   - source: what the model is; its vocab_size may be 0.
    ///   - path: the folder of its weights, by which a saved adapter knows them again.
    /// - Throws: `.invalidArgument` for a description that no backbone may give of itself.
    public init(runtime: Runtime, describing source: seam_backbone_info, path: String? = nil) throws {
        self.runtime = runtime
        model = try path.map { try PretrainedModel($0) }
        do { info = try BackboneInfo(source, mayLackVocabulary: true, origin: "") } catch let error as SeamError {
            throw SeamError(.invalidArgument, error.message)
        }
        guard info.architecture != .text else {
            throw SeamError(.invalidArgument, "a model that reads text by itself has no seams to be described")
        }
        (factory, table, origin, instance) = (nil, seam_backbone_factory(), "", nil)
        options = Configuration(flattening: .object([]))
        record = BackboneInfoRecord(info)
        parameters = ParameterSet([])
    }

    /// Throws `.unsupported` for a description.
    public func requireComputation() throws {
        guard factory == nil else { return }
        throw SeamError(
            .unsupported, "\(name) is run by an engine of the caller's: it is described here, and computes nothing")
    }

    deinit {
        guard let factory else { return }
        table.destroy(instance)
        factory.plugin.liveInstances.subtract(1, ordering: .releasing)
    }

    /// A plugin knows the model's files by name only; the user needs to know where they are.
    private static func locate(_ error: SeamError, in files: ModelFiles) -> SeamError {
        let name = "config.json: "
        let isConfig = error.message.hasPrefix(name)
        let sentence = isConfig ? String(error.message.dropFirst(name.count)) : error.message
        return SeamError(error.code, "\(isConfig ? files.configPath : files.path): \(sentence)", origin: error.origin)
    }

    private static func factory(accepting model: PretrainedModel?, in runtime: Runtime) throws -> BackboneFactory {
        guard let model else { throw SeamError(.invalidArgument, "a backbone needs its id, a model folder, or both") }
        let factories = runtime.plugins.flatMap(\.backbones).filter { $0.table.accepts != nil }
        let scores = try factories.map { factory -> Int32 in
            let score = factory.table.accepts!(runtime.host, model.handle)
            guard (0...100).contains(score) else {
                throw SeamError(
                    .plugin,
                    "accepts of backbone \"\(factory.id)\" must give a score of 0 ... 100, found \(score)",
                    origin: factory.plugin.id)
            }
            return score
        }
        if let best = scores.max(), best > 0 {
            let opening = zip(factories, scores).filter { $0.1 == best }.map(\.0)
            if opening.count == 1 { return opening[0] }
            throw SeamError(
                .invalidArgument,
                "\(model.files.configPath): \(opening.map { "backbone \"\($0.id)\" of \($0.plugin.id)" }.joined(separator: " and ")) open this model equally well (\(best) of 100): name the id of the one that is to open it"
            )
        }
        let type = try model.files.config["model_type"].map { try $0.serialized() } ?? "absent"
        let asked = factories.map { "\($0.id) (\(refusal(of: $0, model, in: runtime)))" }.joined(separator: ", ")
        throw SeamError(
            .unsupported,
            "\(model.files.configPath): no loaded backbone opens this model (\"model_type\" is \(type)); asked: \(factories.isEmpty ? "none is loaded" : asked); in Python seamkit.attach puts adapters on most models of transformers (docs/python.md)"
        )
    }

    /// Why a factory does not open a model: its own words where it makes none of it as unsupported, else what it is.
    private static func refusal(of factory: BackboneFactory, _ model: PretrainedModel, in runtime: Runtime) -> String {
        let owner = "backbone \"\(factory.id)\""
        guard let options = try? DeclaredOption.resolve(.null, against: factory.options, owner: owner) else {
            return factory.summary
        }
        var instance: UnsafeMutableRawPointer?
        var failure: OpaquePointer?
        let status = factory.table.create(runtime.host, options.handle, model.handle, &instance, &failure)
        guard
            let error = ErrorObject.failure(
                failure, status: status, origin: factory.plugin.id, during: "opening \(owner)")
        else {
            factory.table.destroy(instance)
            return factory.summary
        }
        let name = "config.json: "
        guard error.code == .unsupported, error.message.hasPrefix(name) else { return factory.summary }
        return String(error.message.dropFirst(name.count))
    }

    private static func makeParameters(
        _ declared: [ParameterDeclaration], _ model: PretrainedModel?, _ runtime: Runtime, _ origin: String
    ) throws -> ParameterSet {
        var entries: [ParameterSet.Entry] = []
        var missing: [String] = []
        var problems: [SeamError] = []
        for declaration in declared {
            do {
                let tensor: Tensor
                if case .model = declaration.initialisation, let model {
                    guard model.files.tensor(declaration.name) != nil else {
                        missing.append(declaration.name)
                        continue
                    }
                    tensor = try model.tensor(declaration.name, shape: declaration.shape)
                } else {
                    tensor = try declaration.makeTensor(seed: 0, pool: runtime.pool, origin: origin)
                }
                entries.append(.init(name: declaration.name, isFrozen: declaration.isFrozen, tensor: tensor))
            } catch let error as SeamError {
                problems.append(error)
            }
        }
        if let model, !missing.isEmpty {
            let names = missing.map { "\"\($0)\"" }
            problems.insert(
                SeamError(.notFound, "the model \"\(model.files.path)\" has no tensor \(listed(names, ", "))"), at: 0)
        }
        guard let first = problems.first else { return ParameterSet(entries) }
        throw SeamError(first.code, listed(problems.map(\.message), "; "), origin: origin)
    }

    /// Makes the weights trainable, in f32 copies. Throws for an opaque backbone, whose weights the core cannot see.
    public func unfreeze() throws {
        try requireComputation()
        guard !info.isOpaque else {
            throw SeamError(
                .unsupported, "\(name) is opaque: its weights cannot be trained", origin: origin)
        }
        try parameters.makeTrainable(pool: runtime.pool)
        isTrained = true
    }

    public func freeze() { parameters.freeze() }

    public var isFrozen: Bool { parameters.variables.isEmpty }

    /// Whether a gradient at the decoder's scores reaches `encoder.output`.
    public var backpropagates: Bool { !info.isOpaque || table.decode_vjp != nil }

    /// Whether the backbone decodes incrementally.
    public var hasState: Bool { table.state_create != nil }

    /// Whether rows can join others that are being decoded (`ContinuousBatch`).
    public var canJoinRows: Bool { table.state_append != nil }
}
