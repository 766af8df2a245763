import CSeam
import Engine
import Files
import SeamHost
import Support

/// Which adapter a caller wants (`seam_adapter_options`).
struct AdapterRequest {
    private let seam: String?
    private let options: JSON
    private let trainsBackbone: Bool
    private let scoreKind: ScoreKind
    private let classes, prompts: Int
    private let seed: UInt64
    private let prefixLength: [Int]
    private let points: [String]?

    /// - Parameter pointer: NULL for what all zeros say.
    init(_ pointer: UnsafePointer<seam_adapter_options>?) throws {
        let given = try pointer.map { try read($0, "options") } ?? seam_adapter_options()
        seam = try optionalText(given.seam, "options.seam")
        options = try CAPI.options(given.options_json, "options.options_json")
        trainsBackbone = try flag(given.train_backbone, "train_backbone")
        guard let kind = ScoreKind(rawValue: given.score_kind) else {
            throw SeamError(.invalidArgument, "score_kind must be 0 ... 4, found \(given.score_kind)")
        }
        scoreKind = kind
        classes = Int(given.classes)
        prompts = given.prompts == 0 ? 1 : Int(given.prompts)
        seed = given.seed
        prefixLength = withUnsafeBytes(of: given.prefix_length) { $0.bindMemory(to: Int64.self).map { Int($0) } }
        let count = try CAPI.count(given.point_count, "options.point_count", atMost: 1 << 16)
        points = try given.points.map { names in
            try (0..<count).map { try text(names[$0], "options.points[\($0)]") }
        }
    }

    /// Makes the adapter.
    /// - Parameter prefixLength: of the adapters before it (`Session.prefixLength`); nil: as the caller says.
    func make(_ id: String, for backbone: Backbone, prefixLength: [Int]? = nil) throws -> Adapter {
        try Adapter(
            backbone: backbone, id: id, seam: seam, options: options, backboneFrozen: !trainsBackbone, classes: classes,
            prompts: prompts, scoreKind: scoreKind, prefixLength: prefixLength ?? self.prefixLength, points: points,
            seed: seed)
    }
}

@c @implementation
public func seam_adapter_create(
    _ backbone: OpaquePointer?, _ id: UnsafePointer<CChar>?, _ options: UnsafePointer<seam_adapter_options>?,
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let owner = try object(backbone, "backbone", as: BackboneHandle.self)
        let out = try required(out, "out")
        let adapter = try AdapterRequest(options).make(try text(id, "id"), for: owner.backbone)
        out.pointee = handOver(AdapterHandle(adapter, owner: owner))
    }
}

@c @implementation
public func seam_adapter_load(
    _ backbone: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<OpaquePointer?>?,
    _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let owner = try object(backbone, "backbone", as: BackboneHandle.self)
        let out = try required(out, "out")
        let adapter = try AdapterFolder.load(try text(path, "path"), backbone: owner.backbone)
        out.pointee = handOver(AdapterHandle(adapter, owner: owner))
    }
}

@c @implementation
public func seam_adapter_save(
    _ adapter: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ backbonePath: UnsafePointer<CChar>?,
    _ notes: UnsafePointer<CChar>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(adapter, "adapter", as: AdapterHandle.self)
        try AdapterFolder.save(
            handle.adapter, backbone: handle.owner.backbone, isBackboneTrained: handle.trainsBackbone,
            weights: try optionalText(backbonePath, "backbone_path").map { try ModelFiles($0) },
            notes: try optionalText(notes, "notes") ?? "", to: try text(path, "path"))
    }
}

@c @implementation
public func seam_adapter_fold(
    _ adapter: OpaquePointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(adapter, "adapter", as: AdapterHandle.self)
        let out = try required(out, "out")
        let folded = try handle.adapter.folded(for: handle.owner.backbone)
        out.pointee = handOver(folded === handle.adapter ? handle : AdapterHandle(folded, owner: handle.owner))
    }
}

@c @implementation
public func seam_adapter_release(_ adapter: OpaquePointer?) { release(adapter, AdapterHandle.self) }

@c @implementation
public func seam_adapter_describe(
    _ adapter: OpaquePointer?, _ json: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        let out = try required(json, "json")
        out.pointee = copyCString(try description(of: adapter).serialized(indent: 2))
    }
}

private func description(of adapter: Adapter) -> JSON {
    let parameters = adapter.parameters.entries.map { entry -> JSON in
        [
            "name": .string(entry.name), "shape": .array(Array(entry.tensor.shape).map { .int(Int64($0)) }),
            "frozen": .bool(entry.isFrozen), "point": .int(Int64(entry.point ?? -1)),
        ]
    }
    return [
        "id": .string(adapter.factory.id), "plugin": .string(adapter.factory.plugin.id),
        "seam": .string(adapter.seam), "options": adapter.options.json, "classes": .int(Int64(adapter.classes)),
        "prompts": .int(Int64(adapter.prompts)),
        "score_kind": .string(adapter.scoreKind.name),
        "prefix_length": .array(adapter.prefixLength.map { .int(Int64($0)) }),
        "trains_backbone": .bool(!adapter.backboneFrozen), "starts_from_examples": .bool(adapter.startsFromExamples),
        "foldable": .bool(adapter.isFoldable), "phases": .array(adapter.phases.map { .int(Int64($0)) }),
        "points": .array(adapter.points.map { .string($0.path) }),
        "parameters": .array(parameters),
    ]
}

@c @implementation
public func seam_adapter_set_learning_rate(_ adapter: OpaquePointer?, _ learningRate: Double, _ error: ErrorSlot)
    -> seam_status
{
    attempt(error) {
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        guard learningRate.isFinite else {
            throw SeamError(.invalidArgument, "learning_rate must be a finite number, found \(learningRate)")
        }
        adapter.learningRate = learningRate < 0 ? nil : learningRate
    }
}

@c @implementation
public func seam_adapter_parameter_count(_ adapter: OpaquePointer?) -> Int {
    (try? object(adapter, "adapter", as: AdapterHandle.self))?.adapter.parameters.entries.count ?? 0
}

@c @implementation
public func seam_adapter_parameter(
    _ adapter: OpaquePointer?, _ index: Int, _ name: UnsafeMutablePointer<UnsafePointer<CChar>?>?,
    _ tensor: UnsafeMutablePointer<UnsafeMutablePointer<DLManagedTensorVersioned>?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(adapter, "adapter", as: AdapterHandle.self)
        let found = try entry(handle.adapter.parameters.entries, at: index, "parameters")
        name?.pointee = handle.strings.lend(found.name)
        tensor?.pointee = DLPack.exporting(found.tensor)
    }
}

// MARK: Methods

@c @implementation
public func seam_adapter_call(
    _ adapter: OpaquePointer?, _ method: UnsafePointer<CChar>?, _ arguments: UnsafePointer<seam_value>?,
    _ argumentCount: Int, _ result: UnsafeMutablePointer<seam_value>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        // Before anything else can fail: tensors among the arguments are taken over in any case.
        let values = Result { try methodValues(arguments, argumentCount) }
        let handle = try object(adapter, "adapter", as: AdapterHandle.self)
        let value = try handle.adapter.call(try text(method, "method"), try values.get())
        result?.pointee = cValue(value)
    }
}

/// The arguments of a method call; every tensor is taken over, even when another argument is wrong.
private func methodValues(_ arguments: UnsafePointer<seam_value>?, _ count: Int) throws -> [Method.Value] {
    // A C function of more arguments would have to be called by hand.
    let count = try CAPI.count(count, "argument_count", atMost: 127)
    guard count > 0 else { return [] }
    let source = UnsafeBufferPointer(start: try required(arguments, "arguments"), count: count)
    let converted = source.enumerated().map { index, value in
        Result { try methodValue(value, "arguments[\(index)]") }
    }
    return try converted.map { try $0.get() }
}

private func methodValue(_ value: seam_value, _ name: String) throws -> Method.Value {
    switch Int(value.kind) {
    case SEAM_VALUE_INT: return .int(value.integer)
    case SEAM_VALUE_DOUBLE: return .double(value.number)
    case SEAM_VALUE_STRING: return .string(try text(value.string, "\(name).string"))
    case SEAM_VALUE_TENSOR: return .tensor(try DLPack.importing(try required(value.tensor, "\(name).tensor")))
    case SEAM_VALUE_NONE: return .void
    default: throw SeamError(.invalidArgument, "\(name) has the unknown kind \(value.kind)")
    }
}

private func cValue(_ value: Method.Value) -> seam_value {
    var result = seam_value()
    switch value {
    case .void: result.kind = seam_value_kind(SEAM_VALUE_NONE)
    case .int(let integer):
        result.kind = seam_value_kind(SEAM_VALUE_INT)
        result.integer = integer
    case .double(let number):
        result.kind = seam_value_kind(SEAM_VALUE_DOUBLE)
        result.number = number
    case .string(let text):
        result.kind = seam_value_kind(SEAM_VALUE_STRING)
        result.string = UnsafePointer(copyCString(text))
    case .tensor(let tensor):
        result.kind = seam_value_kind(SEAM_VALUE_TENSOR)
        result.tensor = DLPack.exporting(tensor)
    }
    return result
}
