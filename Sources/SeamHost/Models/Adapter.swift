import CSeam
import Engine
import Files
import Support

/// What the scores that enter decoder.output are, all of them or unknown.
public enum ScoreKind: seam_score_kind, Sendable, CaseIterable {
    case unknown = 0
    case logits = 1
    case logProbabilities = 2
    case probabilities = 3
    case similarities = 4

    /// As adapter_config.json has it.
    public var name: String {
        switch self {
        case .unknown: "unknown"
        case .logits: "logits"
        case .logProbabilities: "log_probabilities"
        case .probabilities: "probabilities"
        case .similarities: "similarities"
        }
    }
}

/// An adapter made for a seam of a backbone. One thread at a time, but for sessions that run it untrained: these
/// may be on threads of their own.
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
    /// Of decoder.output: the prompts about each text whose answers it reads; 1 for an adapter that reads one, and on other
    /// seams.
    public let prompts: Int
    /// By `PrefixAttention`: tokens of what enters its seam, where that is one of prefixes; 0: none.
    public let prefixLength: [Int]
    /// Where it sits, of a seam inside the layers, in the backbone's order; else empty.
    public let points: [Point]
    /// When the plugin wants each of `points`.
    public let phases: [seam_phases]
    /// Of decoder.output: what the scores are.
    public let scoreKind: ScoreKind
    /// Of its own in training; nil: that of the training. Some parameters, such as a gate's before its sigmoid, need
    /// larger steps than the weights of a network.
    public var learningRate: Double?
    /// Whether it has been prepared, or its values are those of a saved adapter: a training then goes on from them.
    public internal(set) var isPrepared = false
    /// In a preparation point by point: what the plugin has given at the points before the next one.
    var startingValues: (next: Int, values: [Tensor?])?
    /// What the layer above keeps with a saved adapter: a JSON object that is carried along as it is.
    public var task: JSON?
    /// False when it was made for a backbone that is trained with it.
    public let backboneFrozen: Bool
    let instance: UnsafeMutableRawPointer?

    var table: seam_adapter_factory { factory.table }
    public var origin: String { factory.plugin.id }

    /// Whether it is on one of the seams of prefixes.
    public var isPrefix: Bool { Self.isPrefix(seam) }

    private static func isPrefix(_ seam: String) -> Bool { seam == SEAM_ATTENTION_PREFIX || seam == SEAM_PREFIX_TOKENS }

    /// Makes an adapter for a backbone and initialises its parameters.
    /// - Parameters:
    ///   - id: the adapter's factory ("repcali").
    ///   - seam: nil for the factory's first.
    ///   - options: a JSON object; unknown keys are an error. On a seam inside the layers "layers", "targets" and
    ///     "stack" choose its points (`PointChoice`).
    ///   - backboneFrozen: false when the backbone will be trained with it.
    ///   - classes: of the classification that it is part of, 0 for none; decoder.output needs at least 2.
    ///   - prompts: of decoder.output: those about each text, 1 or more; several only of an adapter that reads them.
    ///   - scoreKind: of decoder.output: what its scores are.
    ///   - prefixLength: by `PrefixAttention`, tokens of what enters a seam of prefixes (`Session.prefixLength`); means
    ///     nothing on other seams.
    ///   - points: on a seam inside the layers: the names of its points ("decoder.0.q"), in place of the options that
    ///     choose them.
    ///   - seed: of the initial values.
    /// - Throws: when the backbone has no such seam, or no gradient reaches it.
    public init(
        backbone: Backbone, id: String, seam: String? = nil, options: JSON = .null, backboneFrozen: Bool = true,
        classes: Int = 0, prompts: Int = 1, scoreKind: ScoreKind = .unknown, prefixLength: [Int] = [0, 0, 0],
        points names: [String]? = nil,
        seed: UInt64 = 0
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
                "\(backbone.name) has no seam \"\(self.seam)\", which adapter \"\(id)\" needs; it has \(site.seams.isEmpty ? "none" : site.seams.joined(separator: ", "))"
            )
        }
        guard classes >= 0, classes <= 1 << 20 else {
            throw SeamError(.invalidArgument, "the number of classes must be 0 ... \(1 << 20), found \(classes)")
        }
        guard self.seam != SEAM_DECODER_OUTPUT || classes >= 2 else {
            throw SeamError(
                .invalidArgument,
                "adapter \"\(id)\" on decoder.output is part of a classification and needs at least 2 classes, found \(classes)"
            )
        }
        try Self.check(prompts: prompts, of: factory, on: self.seam)
        self.prompts = prompts
        // They may come from the file of a saved adapter, and go to a plugin.
        guard self.prefixLength.allSatisfy({ (0...1 << 20).contains($0) }) else {
            throw SeamError(
                .invalidArgument, "the tokens of a prefix must be 0 ... \(1 << 20), found \(self.prefixLength)")
        }
        self.classes = classes
        self.backboneFrozen = backboneFrozen
        self.scoreKind = scoreKind
        let origin = factory.plugin.id
        let table = factory.table
        var own = options
        var places: [Int] = []
        if Point.seams.contains(self.seam) {
            let choice: PointChoice
            (choice, own) = try PointChoice.take(from: options, owner: "adapter \"\(id)\"")
            places =
                if let names {
                    try PointChoice.indices(named: names, on: self.seam, for: factory, in: site)
                } else {
                    try choice.indices(on: self.seam, for: factory, in: site)
                }
        }
        let all = site.points
        points = places.map { all[$0] }
        let resolved = try DeclaredOption.resolve(own, against: factory.options, owner: "adapter \"\(id)\"")
        self.options = resolved
        let (length, chosen) = (self.prefixLength, places)
        var instance: UnsafeMutableRawPointer?
        var failure: OpaquePointer?
        let status = self.seam.withCString { [runtime] name in
            let record = backbone.record.pointer
            return chosen.map { record.pointee.points[$0] }.withUnsafeBufferPointer { points in
                var raw = seam_site()
                raw.struct_size = UInt32(MemoryLayout<seam_site>.size)
                raw.seam = name
                raw.backbone = record
                raw.backbone_frozen = backboneFrozen ? 1 : 0
                raw.score_kind = scoreKind.rawValue
                raw.classes = Int64(classes)
                raw.prompts = Int64(prompts)
                store(length, in: &raw.prefix_length)
                raw.points = points.isEmpty ? nil : points.baseAddress
                raw.point_count = points.count
                return table.create(runtime.host, resolved.handle, &raw, &instance, &failure)
            }
        }
        if let error = ErrorObject.failure(
            failure, status: status, origin: origin, during: "creating adapter \"\(id)\"")
        {
            throw error
        }
        do {
            try DeclaredOption.checkResolved(
                resolved, against: factory.options, owner: "adapter \"\(id)\"", origin: origin)
            phases = try Self.phases(of: instance, factory, at: points)
            let declared = try ParameterDeclaration.all(
                count: table.parameter_count(instance), owner: "adapter \"\(id)\"", points: points.map(\.path),
                origin: origin
            ) { table.parameter(instance, $0, &$1) }
            parameters = ParameterSet(
                try declared.map {
                    .init(
                        name: $0.name, isFrozen: $0.isFrozen, point: $0.point,
                        tensor: try $0.makeTensor(seed: seed, pool: backbone.runtime.pool, origin: origin))
                }, points: points.count)
        } catch {
            table.destroy(instance)
            throw error
        }
        self.instance = instance
        factory.plugin.liveInstances.add(1, ordering: .relaxed)
    }

    deinit {
        table.destroy(instance)
        factory.plugin.liveInstances.subtract(1, ordering: .releasing)
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
        // They are inputs of the adapters behind this one as well, which may hand any of them to linear_low_rank.
        for input in inputs { input?.keepValues() }
        let inputHandles = inputs.map { $0?.handle }
        var io = seam_forward()
        io.struct_size = UInt32(MemoryLayout<seam_forward>.size)
        io.point = -1
        context.withPass(parameters.handles, training: training) { pass in
            inputHandles.withUnsafeBufferPointer { inputs in
                outputs.withUnsafeMutableBufferPointer { outputs in
                    io.inputs = inputs.baseAddress
                    io.input_count = inputs.count
                    io.outputs = outputs.baseAddress
                    io.output_count = outputs.count
                    table.forward(instance, pass, &io)
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
                .notFound,
                "adapter \"\(factory.id)\" has no method \"\(name)\"; it has \(known.isEmpty ? "none" : known)",
                origin: origin)
        }
        let context = Context(pool: runtime.pool, recordsGradients: false)
        return try context.withPass(parameters.handles) { pass in
            let value = try method.call(instance, pass, arguments, origin: origin)
            try context.check(origin: origin)
            if case .void = value, method.result == .tensor {
                throw SeamError(.plugin, "method \"\(name)\" returned NULL", origin: origin)
            }
            guard case .tensor(let tensor) = value else { return value }
            return .tensor(try context.copied(tensor))
        }
    }
}
