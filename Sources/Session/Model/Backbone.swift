import CSeam
import Engine
import Files
import Support

/// What a backbone is (`seam_backbone_info`). Zero: none, unknown or unlimited; token ids: nil for none.
public struct BackboneInfo: Sendable, Equatable {
    public let isOpaque: Bool
    public let family: String
    public let seams: [String]
    public let dModel: Int
    public let encoderLayers: Int
    public let decoderLayers: Int
    public let heads: Int
    public let kvHeads: Int
    public let headDim: Int
    public let maxSourcePositions: Int
    public let maxTargetPositions: Int
    /// Of targets, and of sources unless they have their own.
    public let vocabSize: Int
    public let sourceVocabSize: Int
    public let decoderStartToken: Int32?
    public let eosToken: Int32?
    public let padToken: Int32?

    init(_ source: seam_backbone_info, origin: String) throws {
        isOpaque = source.kind == SEAM_BACKBONE_OPAQUE
        family = source.family.map { String(cString: $0) } ?? ""
        seams = (0..<source.seam_count).compactMap { source.seams?[$0].map { String(cString: $0) } }
        dModel = Int(source.d_model)
        encoderLayers = Int(source.encoder_layers)
        decoderLayers = Int(source.decoder_layers)
        heads = Int(source.heads)
        kvHeads = Int(source.kv_heads)
        headDim = Int(source.head_dim)
        maxSourcePositions = Int(source.max_source_positions)
        maxTargetPositions = Int(source.max_target_positions)
        vocabSize = Int(source.vocab_size)
        sourceVocabSize = source.source_vocab_size > 0 ? Int(source.source_vocab_size) : vocabSize
        func token(_ id: Int64) -> Int32? { id < 0 ? nil : Int32(exactly: id) }
        decoderStartToken = token(source.decoder_start_token_id)
        eosToken = token(source.eos_token_id)
        padToken = token(source.pad_token_id)
        guard vocabSize > 0, dModel > 0 else {
            throw SeamError(
                .plugin, "the backbone describes itself with d_model \(dModel) and vocab_size \(vocabSize); both must be positive",
                origin: origin)
        }
    }
}

/// An open pretrained model. Frozen unless `unfreeze` is called. One thread per session.
public final class Backbone {
    public let runtime: Runtime
    public let factory: BackboneFactory
    public let info: BackboneInfo
    public let options: Configuration
    /// Nil for a backbone opened without a folder.
    public let model: PretrainedModel?
    public let parameters: ParameterSet
    /// Whether its weights were ever made trainable, so that they may differ from those of its folder.
    public private(set) var isTrained = false
    private let instance: UnsafeMutableRawPointer?

    private var table: seam_backbone_factory { factory.table.pointee }
    private var origin: String { factory.plugin.id }

    /// Opens a model.
    /// - Parameters:
    ///   - id: the backbone's factory; nil asks every loaded backbone whether it accepts the model.
    ///   - path: a folder in the Hugging Face layout or a GGUF file; nil for a backbone that needs none.
    ///   - options: a JSON object of the factory's options.
    /// - Throws: when no factory accepts the model, or with one sentence that lists the tensors that are missing or
    ///   have another shape.
    public init(runtime: Runtime, id: String? = nil, path: String?, options: JSON = .null) throws {
        self.runtime = runtime
        model = try path.map { try PretrainedModel($0) }
        factory = try id.map { try runtime.backboneFactory($0) } ?? Self.factory(accepting: model, in: runtime)
        let origin = factory.plugin.id
        let table = factory.table.pointee
        self.options = try DeclaredOption.resolve(options, against: factory.options, owner: "backbone \"\(factory.id)\"")
        var instance: UnsafeMutableRawPointer?
        var failure: OpaquePointer?
        let status = table.create(runtime.host, self.options.handle, model?.handle, &instance, &failure)
        guard status == 0 else {
            let error = ErrorObject.take(failure, status: status, origin: origin, during: "opening backbone \"\(factory.id)\"")
            throw model.map { Self.locate(error, in: $0.files) } ?? error
        }
        do {
            var raw = seam_backbone_info()
            raw.struct_size = UInt32(MemoryLayout<seam_backbone_info>.size)
            (raw.decoder_start_token_id, raw.eos_token_id, raw.pad_token_id) = (-1, -1, -1)
            table.info(instance, &raw)
            info = try BackboneInfo(raw, origin: origin)
            parameters = try Self.makeParameters(table, instance, model, runtime, origin)
        } catch {
            table.destroy(instance)
            throw error
        }
        self.instance = instance
        factory.plugin.liveInstances += 1
    }

    deinit {
        table.destroy(instance)
        factory.plugin.liveInstances -= 1
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
        let factories = runtime.plugins.flatMap(\.backbones)
        if let factory = factories.first(where: {
            ($0.table.pointee.accepts?(runtime.host, model.handle) ?? 0) != 0
        }) { return factory }
        let type = try model.files.config["model_type"].map { try $0.serialized() } ?? "absent"
        throw SeamError(
            .unsupported,
            "\(model.files.configPath): no loaded backbone opens this model (\"model_type\" is \(type)); asked: \(factories.isEmpty ? "none is loaded" : factories.map(\.id).joined(separator: ", "))"
        )
    }

    private static func makeParameters(
        _ table: seam_backbone_factory, _ instance: UnsafeMutableRawPointer?, _ model: PretrainedModel?,
        _ runtime: Runtime, _ origin: String
    ) throws -> ParameterSet {
        var entries: [ParameterSet.Entry] = []
        var missing: [String] = []
        var problems: [SeamError] = []
        for index in 0..<table.parameter_count(instance) {
            var raw = seam_parameter()
            raw.struct_size = UInt32(MemoryLayout<seam_parameter>.size)
            table.parameter(instance, index, &raw)
            let declaration = try ParameterDeclaration(raw, origin: origin)
            do {
                let tensor: Tensor
                if case .model = declaration.initialisation, let model {
                    guard model.files.tensor(declaration.name) != nil else {
                        missing.append(declaration.name)
                        continue
                    }
                    tensor = try model.tensor(declaration.name, shape: declaration.shape)
                } else {
                    tensor = try declaration.makeTensor(seed: 0, pool: runtime.pool)
                }
                entries.append(.init(name: declaration.name, isFrozen: declaration.isFrozen, tensor: tensor))
            } catch let error as SeamError {
                problems.append(error)
            }
        }
        if let model, !missing.isEmpty {
            let names = missing.map { "\"\($0)\"" }
            problems.insert(SeamError(.notFound, "the model \"\(model.files.path)\" has no tensor \(list(names, ", "))"), at: 0)
        }
        guard let first = problems.first else { return ParameterSet(entries) }
        throw SeamError(first.code, list(problems.map(\.message), "; "), origin: origin)
    }

    /// All of a few items, the first and the number of many: a sentence must stay one.
    private static func list(_ items: [String], _ separator: String) -> String {
        let shown = items.prefix(10).joined(separator: separator)
        return items.count > 10 ? "\(shown)\(separator)and \(items.count - 10) more" : shown
    }

    /// Makes the weights trainable, in f32 copies. Throws for an opaque backbone, whose weights the core cannot see.
    public func unfreeze() throws {
        guard !info.isOpaque else {
            throw SeamError(.unsupported, "backbone \"\(factory.id)\" is opaque: its weights cannot be trained", origin: origin)
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

    // MARK: Forward

    /// Source tokens to hidden states [batch, source, d_model].
    func encode(_ context: Context, inputIDs: Tensor, mask: Tensor, training: Bool) throws -> Tensor {
        var io = seam_encode()
        io.struct_size = UInt32(MemoryLayout<seam_encode>.size)
        io.training = training ? 1 : 0
        io.ctx = context.handle
        io.ops = OpsTable.native
        io.input_ids = inputIDs.handle
        io.attention_mask = mask.handle
        parameters.handles.withUnsafeBufferPointer { handles in
            io.parameters = handles.baseAddress
            io.parameter_count = handles.count
            table.encode(instance, &io)
        }
        try context.check(origin: origin)
        return try output(io.hidden, "encode", "hidden", [inputIDs.shape[0], inputIDs.shape[1], info.dModel])
    }

    /// Target tokens and encoder hidden states to scores.
    func decode(
        _ context: Context, decoderInputIDs: Tensor, encoderHidden: Tensor?, mask: Tensor, state: DecodingState? = nil,
        training: Bool
    ) throws -> (logits: Tensor, hidden: Tensor) {
        let (batch, target) = (decoderInputIDs.shape[0], decoderInputIDs.shape[1])
        // An opaque backbone must not see handles with history: its gradient goes through decode_vjp.
        let given = info.isOpaque ? encoderHidden?.detached : encoderHidden
        var io = seam_decode()
        io.struct_size = UInt32(MemoryLayout<seam_decode>.size)
        io.training = training ? 1 : 0
        io.ctx = context.handle
        io.ops = OpsTable.native
        io.decoder_input_ids = decoderInputIDs.handle
        io.encoder_hidden = given?.handle
        io.encoder_attention_mask = mask.handle
        io.state = state?.pointer
        parameters.handles.withUnsafeBufferPointer { handles in
            io.parameters = handles.baseAddress
            io.parameter_count = handles.count
            table.decode(instance, &io)
        }
        withExtendedLifetime(given) {}
        try context.check(origin: origin)
        var logits = try output(io.logits, "decode", "logits", [batch, target, info.vocabSize])
        let hidden = try output(io.hidden, "decode", "hidden", [batch, target, info.dModel])
        if info.isOpaque, let encoderHidden, encoderHidden.requiresGradient {
            logits = try differentiable(logits, decoderInputIDs, encoderHidden, mask, in: context)
        }
        return (logits, hidden)
    }

    private func output(_ handle: OpaquePointer?, _ function: String, _ name: String, _ shape: Shape) throws -> Tensor {
        guard let handle else { throw SeamError(.plugin, "\(function) returned NULL for \(name)", origin: origin) }
        let tensor = Tensor.from(handle)
        guard tensor.shape == shape, tensor.dtype == .f32 else {
            throw SeamError(
                .plugin, "\(function) must return \(name) as f32 \(shape), found \(tensor.dtype.name) \(tensor.shape)",
                origin: origin)
        }
        return tensor
    }

    private func differentiable(_ logits: Tensor, _ ids: Tensor, _ hidden: Tensor, _ mask: Tensor, in context: Context)
        throws -> Tensor
    {
        guard let vjp = table.decode_vjp else {
            throw SeamError(
                .unsupported, "backbone \"\(factory.id)\" offers no gradient, so no adapter can be trained through it",
                origin: origin)
        }
        let values = hidden.detached
        let (instance, origin, pool) = (self.instance, self.origin, runtime.pool)
        return context.retain(
            context.custom(result: logits, operand: hidden) { (gradient) throws(SeamError) in
                // A context of its own: the plugin's handles end with this call.
                let pass = Context(pool: pool, recordsGradients: false)
                var io = seam_decode_vjp()
                io.struct_size = UInt32(MemoryLayout<seam_decode_vjp>.size)
                io.ctx = pass.handle
                io.ops = OpsTable.native
                io.decoder_input_ids = ids.handle
                io.encoder_hidden = values.handle
                io.encoder_attention_mask = mask.handle
                io.logits_gradient = gradient.handle
                vjp(instance, &io)
                if let failure = pass.failure { throw SeamError(failure.code, failure.message, origin: origin) }
                guard let handle = io.encoder_hidden_gradient, Tensor.from(handle).shape == values.shape else {
                    throw SeamError(
                        .plugin, "decode_vjp must return encoder_hidden_gradient with shape \(values.shape)", origin: origin)
                }
                return Tensor.from(handle)
            })
    }

    // MARK: Decoding state

    func makeState(_ context: Context, batch: Int, capacity: Int) throws -> DecodingState? {
        guard let create = table.state_create else { return nil }
        let pointer = create(instance, context.handle, OpsTable.native, Int64(batch), Int64(capacity))
        try context.check(origin: origin)
        guard let pointer else { throw SeamError(.plugin, "state_create returned NULL", origin: origin) }
        return DecodingState(pointer, backbone: self)
    }

    fileprivate func destroy(_ state: OpaquePointer) { table.state_destroy(instance, state) }

    fileprivate func select(_ context: Context, _ state: OpaquePointer, _ rows: [Int32]) throws {
        rows.withUnsafeBufferPointer {
            table.state_select(instance, context.handle, OpsTable.native, state, $0.baseAddress, Int64(rows.count))
        }
        try context.check(origin: origin)
    }
}

/// A backbone's decoding state; destroyed with this object.
final class DecodingState {
    let pointer: OpaquePointer
    private let backbone: Backbone

    init(_ pointer: OpaquePointer, backbone: Backbone) {
        self.pointer = pointer
        self.backbone = backbone
    }

    deinit { backbone.destroy(pointer) }

    /// New row i continues old row `rows[i]`.
    func select(_ context: Context, rows: [Int32]) throws { try backbone.select(context, pointer, rows) }
}
