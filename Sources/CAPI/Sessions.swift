import CSeam
import Engine
import Files
import SeamHost
import Support

@c @implementation
public func seam_session_create(
    _ backbone: OpaquePointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let owner = try object(backbone, "backbone", as: BackboneHandle.self)
        try owner.backbone.requireComputation()
        try required(out, "out").pointee = handOver(SessionHandle(owner))
    }
}

@c @implementation
public func seam_session_release(_ session: OpaquePointer?) { release(session, SessionHandle.self) }

// MARK: Adapters

@c @implementation
public func seam_session_attach(
    _ session: OpaquePointer?, _ route: UnsafePointer<CChar>?, _ adapter: OpaquePointer?, _ position: Int32,
    _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        try handle.refuseWhileTraining("attached")
        try handle.session.attach(adapter, at: position == -1 ? nil : Int(position), route: try routeName(route))
    }
}

@c @implementation
public func seam_session_add(
    _ session: OpaquePointer?, _ route: UnsafePointer<CChar>?, _ id: UnsafePointer<CChar>?,
    _ options: UnsafePointer<seam_adapter_options>?,
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        try handle.refuseWhileTraining("attached")
        let route = try routeName(route)
        let adapter = try AdapterRequest(options).make(
            try text(id, "id"), for: handle.owner.backbone, prefixLength: handle.session.prefixLength(of: route))
        try handle.session.attach(adapter, route: route)
        out?.pointee = handOver(AdapterHandle(adapter, owner: handle.owner))
    }
}

@c @implementation
public func seam_session_load(
    _ session: OpaquePointer?, _ route: UnsafePointer<CChar>?, _ path: UnsafePointer<CChar>?, _ error: ErrorSlot
)
    -> seam_status
{
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        try handle.refuseWhileTraining("attached")
        let adapters = try AdapterFolder.loadAll(try text(path, "path"), backbone: handle.owner.backbone)
        try handle.session.attach(all: adapters, route: try routeName(route))
    }
}

@c @implementation
public func seam_session_save(
    _ session: OpaquePointer?, _ route: UnsafePointer<CChar>?, _ path: UnsafePointer<CChar>?,
    _ backbonePath: UnsafePointer<CChar>?,
    _ notes: UnsafePointer<CChar>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let session = try object(session, "session", as: SessionHandle.self).session
        try session.requireUnmerged(toBe: "saved")
        let route = try routeName(route)
        try session.requireRoute(route)
        try AdapterFolder.saveAll(
            session.adapters(of: route), backbone: session.backbone, isBackboneTrained: session.backbone.isTrained,
            weights: try optionalText(backbonePath, "backbone_path").map { try ModelFiles($0) },
            notes: try optionalText(notes, "notes") ?? "", to: try text(path, "path"))
    }
}

@c @implementation
public func seam_session_adapter_count(_ session: OpaquePointer?, _ route: UnsafePointer<CChar>?) -> Int {
    guard let handle = try? object(session, "session", as: SessionHandle.self), let route = try? routeName(route) else {
        return 0
    }
    return handle.session.adapters(of: route).count
}

@c @implementation
public func seam_session_adapter(
    _ session: OpaquePointer?, _ route: UnsafePointer<CChar>?, _ index: Int,
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let (route, out) = (try routeName(route), try required(out, "out"))
        try handle.session.requireRoute(route)
        let adapter = try entry(handle.session.adapters(of: route), at: index, "attached adapters")
        out.pointee = handOver(AdapterHandle(adapter, owner: handle.owner))
    }
}

@c @implementation
public func seam_session_detach(
    _ session: OpaquePointer?, _ route: UnsafePointer<CChar>?, _ adapter: OpaquePointer?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        try handle.refuseWhileTraining("detached")
        try handle.session.detach(adapter, route: try routeName(route))
    }
}

@c @implementation
public func seam_session_move(
    _ session: OpaquePointer?, _ route: UnsafePointer<CChar>?, _ adapter: OpaquePointer?, _ position: Int32,
    _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        let route = try routeName(route)
        try handle.refuseWhileTraining("moved")
        let last = handle.session.adapters(of: route).count - 1
        try handle.session.move(adapter, to: position == -1 ? last : Int(position), route: route)
    }
}

@c @implementation
public func seam_session_merge(_ session: OpaquePointer?, _ adapter: OpaquePointer?, _ error: ErrorSlot)
    -> seam_status
{
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        try handle.refuseWhileTraining("merged")
        try handle.session.merge(adapter)
    }
}

@c @implementation
public func seam_session_unmerge(_ session: OpaquePointer?, _ adapter: OpaquePointer?, _ error: ErrorSlot)
    -> seam_status
{
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        try handle.session.unmerge(adapter)
    }
}

@c @implementation
public func seam_session_save_merged(
    _ session: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ dequantize: Int32, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let session = try object(session, "session", as: SessionHandle.self).session
        try session.saveMergedModel(dequantizes: try flag(dequantize, "dequantize"), to: try text(path, "path"))
    }
}

// MARK: Routes

/// The name of a route; empty for the default one, which callers give as NULL or "".
func routeName(_ route: UnsafePointer<CChar>?) throws -> String { try optionalText(route, "route") ?? "" }

@c @implementation
public func seam_session_remove_route(_ session: OpaquePointer?, _ route: UnsafePointer<CChar>?, _ error: ErrorSlot)
    -> seam_status
{
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        try handle.refuseWhileTraining("detached")
        try handle.session.removeRoute(try routeName(route))
    }
}

@c @implementation
public func seam_session_route_count(_ session: OpaquePointer?) -> Int {
    (try? object(session, "session", as: SessionHandle.self))?.session.routes.count ?? 0
}

@c @implementation
public func seam_session_route(_ session: OpaquePointer?, _ index: Int) -> UnsafePointer<CChar>? {
    guard let handle = try? object(session, "session", as: SessionHandle.self),
        handle.session.routes.indices.contains(index)
    else { return nil }
    return handle.strings.lend(handle.session.routes[index])
}

// MARK: Running

public typealias TensorSlot = UnsafeMutablePointer<UnsafeMutablePointer<DLManagedTensorVersioned>?>?

@c @implementation
public func seam_session_encode(
    _ session: OpaquePointer?, _ batch: UnsafePointer<seam_batch>?, _ hidden: TensorSlot, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let (source, hidden) = (try handle.batch(batch), try required(hidden, "hidden"))
        let context = handle.session.makeContext(recordsGradients: false)
        let result = try handle.session.encodeAdapted(context, source)
        hidden.pointee = DLPack.exporting(try context.owned(result))
    }
}

@c @implementation
public func seam_session_forward(
    _ session: OpaquePointer?, _ batch: UnsafePointer<seam_batch>?, _ logits: TensorSlot, _ hidden: TensorSlot,
    _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let (source, logits) = (try handle.batch(batch), try required(logits, "logits"))
        let context = handle.session.makeContext(recordsGradients: false)
        let result = try handle.session.forward(context, source)
        let (scores, states) = (try context.owned(result.logits), try context.owned(result.hidden))
        logits.pointee = DLPack.exporting(scores)
        hidden?.pointee = DLPack.exporting(states)
    }
}

@c @implementation
public func seam_session_pool(
    _ session: OpaquePointer?, _ batch: UnsafePointer<seam_batch>?, _ pooled: TensorSlot, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let (source, pooled) = (try handle.batch(batch), try required(pooled, "pooled"))
        let context = handle.session.makeContext(recordsGradients: false)
        pooled.pointee = DLPack.exporting(try context.owned(try handle.session.pool(context, source)))
    }
}

@c @implementation
public func seam_session_classify(
    _ session: OpaquePointer?, _ batch: UnsafePointer<seam_batch>?, _ classScores: UnsafeMutablePointer<Float>?,
    _ capacity: Int, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let (source, out) = (try handle.batch(batch), try required(classScores, "class_scores"))
        let classes = try handle.session.classes(of: source)
        try requireRoom(
            capacity, "capacity", for: source.count * classes, "\(classes) scores of each of \(source.count) texts")
        let context = handle.session.makeContext(recordsGradients: false)
        let scores = try context.contiguous(try handle.session.classify(context, source)).floats
        out.update(from: scores, count: scores.count)
    }
}

@c @implementation
public func seam_session_score(
    _ session: OpaquePointer?, _ batch: UnsafePointer<seam_batch>?, _ scores: UnsafeMutablePointer<seam_score>?,
    _ capacity: Int, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let (source, out) = (try handle.batch(batch), try required(scores, "scores"))
        try requireRoom(capacity, "capacity", for: source.count, "the scores of \(source.count) examples")
        for (index, score) in try handle.session.score(source).enumerated() {
            out[index] = seam_score(
                log_probability: score.logProbability, token_count: Int64(score.tokenCount),
                correct_count: Int64(score.correctCount))
        }
    }
}

extension SessionHandle {
    /// A caller's batch, copied and checked against the backbone.
    /// - Parameter isToPrepare: its classes may stand beside targets.
    func batch(_ pointer: UnsafePointer<seam_batch>?, isToPrepare: Bool = false) throws -> Batch {
        let raw = try read(pointer, "batch")
        let sizes = [raw.batch, raw.source_length, raw.target_length]
        // Beyond this the arrays cannot be what the caller meant, and their product could overflow.
        let limit = Int64(1) << 20
        guard sizes.allSatisfy({ $0 >= 0 && $0 <= limit }) else {
            throw SeamError(
                .invalidArgument,
                "batch, source_length and target_length must be 0 ... \(limit), found \(sizes[0]), \(sizes[1]), \(sizes[2])"
            )
        }
        let count = Int(raw.batch)
        let most = 1 << 28
        guard count * Int(max(raw.source_length, raw.target_length)) <= most else {
            throw SeamError(
                .invalidArgument,
                "a batch must have at most \(most) tokens, found \(sizes[0]) rows of \(max(sizes[1], sizes[2]))")
        }
        func values(_ pointer: UnsafePointer<Int32>?, _ length: Int64) -> [Int32]? {
            pointer.map { Array(UnsafeBufferPointer(start: $0, count: count * Int(length))) }
        }
        let info = session.backbone.info
        if raw.input_ids == nil, raw.input_features == nil {
            let name = info.readsFeatures ? "batch.input_features" : "batch.input_ids"
            _ = try required(raw.input_ids, name)
        }
        let numbers = count * Int(raw.source_length) * info.featureWidth
        guard raw.input_features == nil || numbers <= most else {
            throw SeamError(
                .invalidArgument,
                "a batch must have at most \(most) numbers of features, found \(sizes[0]) rows of \(sizes[1]) frames of \(info.featureWidth)"
            )
        }
        let features = raw.input_features.map { Array(UnsafeBufferPointer(start: $0, count: numbers)) }
        let hasTargets = raw.target_length > 0
        let classes = values(raw.classes, 1)
        guard classes == nil || !hasTargets || isToPrepare else {
            throw SeamError(
                .invalidArgument,
                "batch.target_length must be 0 where batch.classes is given, found \(raw.target_length)")
        }
        let routes = try raw.routes.map { names in
            try (0..<count).map { try optionalText(names[$0], "batch.routes[\($0)]") }
        }
        return try Batch(
            count: count, sourceLength: Int(raw.source_length),
            inputIDs: values(raw.input_ids, raw.source_length), inputFeatures: features,
            attentionMask: values(raw.attention_mask, raw.source_length), targetLength: Int(raw.target_length),
            labels: (hasTargets ? values(raw.labels, raw.target_length) : nil) ?? [],
            decoderInputIDs: hasTargets ? values(raw.decoder_input_ids, raw.target_length) : nil,
            tokenTypeIDs: values(raw.token_type_ids, raw.source_length), classes: classes ?? [],
            routes: routes ?? [], info: info)
    }
}
