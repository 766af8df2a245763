import CSeam
import Engine
import Files
import Support

/// An adapter made for a seam of a backbone. One thread per session.
public final class Adapter {
    public let runtime: Runtime
    public let factory: AdapterFactory
    public let seam: String
    /// The options in force, defaults filled in and "auto" resolved by the plugin.
    public let options: Configuration
    public let parameters: ParameterSet
    /// The description of the backbone it was made for.
    public let site: BackboneInfo
    /// Of the classification that it is part of; 0: none.
    public let classes: Int
    /// By `PrefixAttention`: tokens of what enters its seam, where that is one of prefixes; 0: none.
    public let prefixLength: [Int]
    /// Of its own in training; nil: that of the training. Some parameters, such as a gate's before its sigmoid, need larger
    /// steps than the weights of a network.
    public var learningRate: Double?
    /// What the layer above keeps with a saved adapter: a JSON object that is carried along as it is.
    public var task: JSON?
    /// False when it was made for a backbone that is trained with it.
    let backboneFrozen: Bool
    let instance: UnsafeMutableRawPointer?

    var table: seam_adapter_factory { factory.table.pointee }
    public var origin: String { factory.plugin.id }

    /// Whether it is on one of the seams of prefixes.
    public var isPrefix: Bool { Self.isPrefix(seam) }

    private static func isPrefix(_ seam: String) -> Bool { seam == SEAM_ATTENTION_PREFIX || seam == SEAM_PREFIX_TOKENS }

    /// Makes an adapter for a backbone and initialises its parameters.
    /// - Parameters:
    ///   - id: the adapter's factory ("repcali").
    ///   - seam: nil for the factory's first.
    ///   - options: a JSON object; unknown keys are an error.
    ///   - backboneFrozen: false when the backbone will be trained with it.
    ///   - classes: of the classification that it is part of, 0 for none; decoder.output needs at least 2.
    ///   - prefixLength: by `PrefixAttention`, tokens of what enters a seam of prefixes (`Session.prefixLength`); means
    ///     nothing on other seams.
    ///   - seed: of the initial values.
    /// - Throws: when the backbone has no such seam, or no gradient reaches it.
    public init(
        backbone: Backbone, id: String, seam: String? = nil, options: JSON = .null, backboneFrozen: Bool = true,
        classes: Int = 0, prefixLength: [Int] = [0, 0, 0], seed: UInt64 = 0
    ) throws {
        runtime = backbone.runtime
        factory = try runtime.adapterFactory(id)
        site = backbone.info
        self.seam = seam ?? factory.seams[0]
        self.prefixLength = Self.isPrefix(self.seam) ? prefixLength : PrefixAttention.allCases.map { _ in 0 }
        guard factory.seams.contains(self.seam) else {
            throw SeamError(
                .invalidArgument,
                "adapter \"\(id)\" attaches to \(factory.seams.joined(separator: ", ")), not to \"\(self.seam)\"")
        }
        guard site.seams.contains(self.seam) else {
            throw SeamError(
                .unsupported,
                "backbone \"\(backbone.factory.id)\" has no seam \"\(self.seam)\", which adapter \"\(id)\" needs; it has \(site.seams.isEmpty ? "none" : site.seams.joined(separator: ", "))"
            )
        }
        guard classes >= 0, classes <= 1 << 20 else {
            throw SeamError(.invalidArgument, "the number of classes must be 0 ... \(1 << 20), found \(classes)")
        }
        guard self.seam != SEAM_DECODER_OUTPUT || classes >= 2 else {
            throw SeamError(
                .invalidArgument,
                "adapter \"\(id)\" on decoder.output is part of a classification and needs at least 2 classes, found \(classes)")
        }
        // They may come from the file of a saved adapter, and go to a plugin.
        guard self.prefixLength.allSatisfy({ (0...1 << 20).contains($0) }) else {
            throw SeamError(
                .invalidArgument, "the tokens of a prefix must be 0 ... \(1 << 20), found \(self.prefixLength)")
        }
        self.classes = classes
        self.backboneFrozen = backboneFrozen
        let origin = factory.plugin.id
        let table = factory.table.pointee
        let resolved = try DeclaredOption.resolve(options, against: factory.options, owner: "adapter \"\(id)\"")
        self.options = resolved
        let (site, length) = (self.site, self.prefixLength)
        var instance: UnsafeMutableRawPointer?
        var failure: OpaquePointer?
        let status = self.seam.withCString { [runtime] name in
            var raw = site.seamSite(named: name)
            raw.backbone_frozen = backboneFrozen ? 1 : 0
            raw.classes = Int64(classes)
            store(length, in: &raw.prefix_length)
            return table.create(runtime.host, resolved.handle, &raw, &instance, &failure)
        }
        if let error = ErrorObject.failure(
            failure, status: status, origin: origin, during: "creating adapter \"\(id)\"")
        {
            if status == 0 { table.destroy(instance) }
            throw error
        }
        do {
            try DeclaredOption.checkResolved(
                resolved, against: factory.options, owner: "adapter \"\(id)\"", origin: origin)
            let declared = try ParameterDeclaration.all(
                count: table.parameter_count(instance), owner: "adapter \"\(id)\"", origin: origin
            ) { table.parameter(instance, $0, &$1) }
            parameters = ParameterSet(
                try declared.map {
                    .init(
                        name: $0.name, isFrozen: $0.isFrozen,
                        tensor: try $0.makeTensor(seed: seed, pool: backbone.runtime.pool, origin: origin))
                })
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

    /// Makes the parameters leaves of the gradient.
    public func unfreeze() throws { try parameters.makeTrainable(pool: runtime.pool) }

    public func freeze() { parameters.freeze() }

    /// Runs the adapter on what flows into its seam, as include/seam/plugin.h describes it.
    /// - Parameter expected: the shapes that the outputs must have.
    /// - Returns: the outputs, f32, alive as long as the context.
    /// - Throws: what an operation of the plugin failed with; `.plugin` for outputs of another shape.
    public func forward(_ context: Context, inputs: [Tensor], expected: [Shape], training: Bool) throws -> [Tensor] {
        let outputs = try run(context, inputs: inputs, outputs: expected.count, training: training)
        return try zip(outputs, expected).enumerated().map { index, pair in
            guard let tensor = pair.0 else {
                throw SeamError(.plugin, "adapter \"\(factory.id)\" returned NULL for output \(index)", origin: origin)
            }
            guard tensor.shape == pair.1, tensor.dtype == .f32 else {
                throw SeamError(
                    .plugin,
                    "adapter \"\(factory.id)\" must return output \(index) as f32 \(pair.1), found \(tensor.dtype.name) \(tensor.shape)",
                    origin: origin)
            }
            return tensor
        }
    }

    /// The same for seams where an input or output may be left out, with unchecked outputs.
    func run(_ context: Context, inputs: [Tensor?], outputs count: Int, training: Bool) throws -> [Tensor?] {
        var outputs = [OpaquePointer?](repeating: nil, count: count)
        let inputHandles = inputs.map { $0?.handle }
        var io = seam_forward()
        io.struct_size = UInt32(MemoryLayout<seam_forward>.size)
        io.training = training ? 1 : 0
        io.ctx = context.handle
        io.ops = OpsTable.native
        parameters.handles.withUnsafeBufferPointer { handles in
            inputHandles.withUnsafeBufferPointer { inputs in
                outputs.withUnsafeMutableBufferPointer { outputs in
                    io.parameters = handles.baseAddress
                    io.parameter_count = handles.count
                    io.inputs = inputs.baseAddress
                    io.input_count = inputs.count
                    io.outputs = outputs.baseAddress
                    io.output_count = outputs.count
                    table.forward(instance, &io)
                }
            }
        }
        try withExtendedLifetime(inputs) { try context.check(origin: origin) }
        return outputs.map { $0.map { Tensor.from($0) } }
    }

    /// Calls a method of the plugin by name. A tensor result is a contiguous copy that outlives the call.
    public func call(_ name: String, _ arguments: [Method.Value] = []) throws -> Method.Value {
        guard let method = factory.methods.first(where: { $0.name == name }) else {
            let known = factory.methods.map(\.name).joined(separator: ", ")
            throw SeamError(
                .notFound, "adapter \"\(factory.id)\" has no method \"\(name)\"; it has \(known.isEmpty ? "none" : known)",
                origin: origin)
        }
        let context = Context(pool: runtime.pool, recordsGradients: false)
        return try parameters.handles.withUnsafeBufferPointer { handles in
            var frame = seam_method_call()
            frame.struct_size = UInt32(MemoryLayout<seam_method_call>.size)
            frame.ctx = context.handle
            frame.ops = OpsTable.native
            frame.`self` = instance
            frame.parameters = handles.baseAddress
            frame.parameter_count = handles.count
            let value = try method.call(frame, arguments, origin: origin)
            try context.check(origin: origin)
            if case .void = value, method.result == .tensor {
                throw SeamError(.plugin, "method \"\(name)\" returned NULL", origin: origin)
            }
            guard case .tensor(let tensor) = value else { return value }
            return .tensor(try context.copied(tensor))
        }
    }
}
