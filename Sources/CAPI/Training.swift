import CSeam
import Files
import SeamHost
import Support
import Trainer

@c @implementation
public func seam_train_options_init(_ options: UnsafeMutablePointer<seam_train_options>?, _ error: ErrorSlot)
    -> seam_status
{
    attempt(error) { write(cOptions(TrainingOptions()), to: try place(options, "options")) }
}

@c @implementation
public func seam_session_prepare(
    _ session: OpaquePointer?, _ route: UnsafePointer<CChar>?, _ adapter: OpaquePointer?,
    _ batches: UnsafePointer<UnsafePointer<seam_batch>?>?, _ batchCount: Int, _ progress: seam_progress_callback?,
    _ user: UnsafeMutableRawPointer?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        let count = try count(batchCount, "batch_count", atMost: 1 << 20)
        let given = count > 0 ? try required(batches, "batches") : nil
        try handle.refuseWhileTraining("prepared")
        let examples = try (0..<count).map { index in
            try handle.batch(try required(given?[index], "batches[\(index)]"), isToPrepare: true)
        }
        let progress = Progress(progress, user)
        try handle.session.prepare(adapter, route: try routeName(route), from: examples) {
            progress.report(.prepare, done: $0, total: $1)
        }
    }
}

@c @implementation
public func seam_session_begin_training(
    _ session: OpaquePointer?, _ options: UnsafePointer<seam_train_options>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let given = try read(options, "options")
        guard handle.training == nil else {
            throw SeamError(.invalidArgument, "training of this session has begun already: end it first")
        }
        let options = try trainingOptions(given)
        let cache = try seamCache(given, options, for: handle.session)
        handle.training = try Optimisation(session: handle.session, options: options)
        handle.seamCache = cache
    }
}

@c @implementation
public func seam_session_train_step(
    _ session: OpaquePointer?, _ batch: UnsafePointer<seam_batch>?, _ out: UnsafeMutablePointer<seam_step>?,
    _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let (source, out) = (try handle.batch(batch), try place(out, "out"))
        guard let training = handle.training else {
            throw SeamError(.invalidArgument, "training of this session has not begun")
        }
        // A row that is refused is computed for nobody.
        try training.requireTrained(source.takenRoutes)
        let report = try training.update(source, kept: try handle.seamCache?.states(of: source))
        var step = seam_step()
        step.step = Int64(report.step)
        step.loss = report.loss
        step.gradient_norm = report.gradientNorm
        step.learning_rate = report.learningRate
        write(step, to: out)
    }
}

@c @implementation
public func seam_session_end_training(_ session: OpaquePointer?) {
    guard let handle = try? object(session, "session", as: SessionHandle.self) else { return }
    handle.training?.end()
    handle.training = nil
    handle.seamCache = nil
}

// MARK: Options

/// What keeps the constant part of the examples of a training; nil where none is wanted, or nothing is constant.
private func seamCache(
    _ source: seam_train_options, _ options: TrainingOptions, for session: Session
) throws -> SeamCache? {
    guard source.seam_cache_bytes >= -1 else {
        throw SeamError(
            .invalidArgument,
            "seam_cache_bytes must be a number of bytes, 0 to keep nothing or -1 for a quarter of the machine's memory, found \(source.seam_cache_bytes)"
        )
    }
    let folder = try optionalText(source.seam_cache_folder, "options.seam_cache_folder")
    if let folder, !FileSystem.isDirectory(folder) {
        throw SeamError(.notFound, "seam_cache_folder must be a folder, found \"\(folder)\"")
    }
    guard source.seam_cache_bytes != 0, !options.trainsBackbone,
        try SeamCache.isUseful(for: session, routes: options.routes)
    else { return nil }
    let log = session.runtime.log
    let limit = source.seam_cache_bytes > 0 ? Int(source.seam_cache_bytes) : StateStore.usualMemoryLimit
    return SeamCache(
        session: session, routes: options.routes,
        store: StateStore(memoryLimit: limit, folder: folder ?? StateStore.usualFolder) { log?(.warning, $0) })
}

private func cOptions(_ source: TrainingOptions) -> seam_train_options {
    var options = seam_train_options.sized
    options.optimizer = Int32(source.optimizer.isDecoupled ? SEAM_OPTIMIZER_ADAMW : SEAM_OPTIMIZER_ADAM)
    options.schedule =
        switch source.schedule {
        case .constant: Int32(SEAM_SCHEDULE_CONSTANT)
        case .linear: Int32(SEAM_SCHEDULE_LINEAR)
        case .cosine: Int32(SEAM_SCHEDULE_COSINE)
        }
    options.train_backbone = source.trainsBackbone ? 1 : 0
    options.learning_rate = source.learningRate
    options.backbone_learning_rate = source.backboneLearningRate
    options.beta1 = source.optimizer.beta1
    options.beta2 = source.optimizer.beta2
    options.epsilon = source.optimizer.epsilon
    options.weight_decay = source.optimizer.weightDecay
    options.max_grad_norm = source.maxGradientNorm
    options.label_smoothing = source.labelSmoothing
    options.warmup_steps = Int64(source.warmupSteps)
    options.total_steps = Int64(source.totalSteps)
    options.seed = source.seed
    return options
}

private func trainingOptions(_ source: seam_train_options) throws -> TrainingOptions {
    var options = TrainingOptions()
    switch Int(source.optimizer) {
    case SEAM_OPTIMIZER_ADAMW: options.optimizer.isDecoupled = true
    case SEAM_OPTIMIZER_ADAM: options.optimizer.isDecoupled = false
    default: throw SeamError(.invalidArgument, "optimizer must be 0 or 1, found \(source.optimizer)")
    }
    switch Int(source.schedule) {
    case SEAM_SCHEDULE_CONSTANT: options.schedule = .constant
    case SEAM_SCHEDULE_LINEAR: options.schedule = .linear
    case SEAM_SCHEDULE_COSINE: options.schedule = .cosine
    default: throw SeamError(.invalidArgument, "schedule must be 0, 1 or 2, found \(source.schedule)")
    }
    options.trainsBackbone = try flag(source.train_backbone, "train_backbone")
    options.learningRate = source.learning_rate
    options.backboneLearningRate = source.backbone_learning_rate
    options.optimizer.beta1 = source.beta1
    options.optimizer.beta2 = source.beta2
    options.optimizer.epsilon = source.epsilon
    options.optimizer.weightDecay = source.weight_decay
    options.maxGradientNorm = source.max_grad_norm
    options.labelSmoothing = source.label_smoothing
    options.warmupSteps = Int(source.warmup_steps)
    options.totalSteps = Int(source.total_steps)
    options.seed = source.seed
    let count = try count(source.route_count, "options.route_count", atMost: 1 << 20)
    if source.routes != nil || count > 0 {
        let names = try required(source.routes, "options.routes")
        options.routes = try (0..<count).map { try optionalText(names[$0], "options.routes[\($0)]") }
    }
    return options
}
