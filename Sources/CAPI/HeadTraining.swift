import CSeam
import Engine
import FewShot
import SeamHost
import Support

@c @implementation
public func seam_fit_options_init(_ options: UnsafeMutablePointer<seam_fit_options>?, _ error: ErrorSlot)
    -> seam_status
{
    attempt(error) { write(cOptions(HeadTrainingOptions()), to: try place(options, "options")) }
}

@c @implementation
public func seam_adapter_fit(
    _ adapter: OpaquePointer?, _ scores: UnsafePointer<Float>?, _ hidden: UnsafePointer<Float>?,
    _ labels: UnsafePointer<Int32>?, _ emptyScores: UnsafePointer<Float>?, _ examples: Int,
    _ options: UnsafePointer<seam_fit_options>?, _ progress: seam_progress_callback?,
    _ user: UnsafeMutableRawPointer?, _ losses: UnsafeMutablePointer<Double>?, _ lossCapacity: Int, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        let features = try features(adapter, scores, hidden, examples)
        let options = try headTrainingOptions(options)
        try requireRoom(losses == nil ? nil : lossCapacity, forLossesOf: options)
        try Memory.require(examples, MemoryLayout<Int32>.size, for: "a copy of \(examples) labels")
        let classes = Array(UnsafeBufferPointer(start: try required(labels, "labels"), count: examples))
        let found = try fit(
            adapters: [adapter], scores: features.scores, hidden: features.hidden, labels: classes,
            emptyScores: emptyScores.map {
                Array(UnsafeBufferPointer(start: $0, count: adapter.prompts * adapter.classes))
            },
            options: options, progress: Progress(progress, user).fitting(options))
        losses?.update(from: found, count: found.count)
    }
}

@c @implementation
public func seam_adapter_classify(
    _ adapter: OpaquePointer?, _ scores: UnsafePointer<Float>?, _ hidden: UnsafePointer<Float>?, _ examples: Int,
    _ classScores: UnsafeMutablePointer<Float>?, _ capacity: Int, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        let features = try features(adapter, scores, hidden, examples)
        let out = try required(classScores, "class_scores")
        try requireRoom(
            capacity, "capacity", for: examples * adapter.classes,
            "\(adapter.classes) scores of each of \(examples) examples")
        let found = try FewShot.classScores(adapters: [adapter], scores: features.scores, hidden: features.hidden)
        withExtendedLifetime(found) {
            UnsafeMutableRawPointer(out).copyMemory(
                from: found.baseAddress, byteCount: found.elementCount * MemoryLayout<Float>.stride)
        }
    }
}

/// The caller's arrays, in place.
private func features(
    _ adapter: Adapter, _ scores: UnsafePointer<Float>?, _ hidden: UnsafePointer<Float>?, _ examples: Int
) throws -> (scores: Tensor, hidden: Tensor) {
    // Beyond this the arrays cannot be what the caller meant, and their sizes could overflow.
    let examples = try count(examples, "examples", atMost: 1 << 31)
    func shape(_ columns: Int) -> Shape {
        adapter.prompts == 1 ? [examples, columns] : [examples, adapter.prompts, columns]
    }
    return (
        .borrowing(try required(scores, "scores"), shape(adapter.classes), .f32),
        .borrowing(try required(hidden, "hidden"), shape(adapter.site.dModel), .f32)
    )
}

extension Progress {
    /// What tells the caller of the epochs of a training.
    func fitting(_ options: HeadTrainingOptions) -> (Int, Double?) -> Bool {
        { report(.fit, done: $0, total: options.epochs, loss: $1) }
    }
}

/// Throws `.invalidArgument` where the losses of a training find too little room.
/// - Parameter capacity: nil where none are wanted.
func requireRoom(_ capacity: Int?, forLossesOf options: HeadTrainingOptions) throws {
    // An unbelievable number of epochs is refused as such.
    try options.validate()
    try requireRoom(capacity, "loss_capacity", for: options.epochs, "the losses of \(options.epochs) epochs")
}

// MARK: Options

private func cOptions(_ source: HeadTrainingOptions) -> seam_fit_options {
    var options = seam_fit_options.sized
    options.prepare = source.prepares ? 1 : 0
    options.epochs = Int64(source.epochs)
    options.learning_rate = source.learningRate
    options.beta1 = source.optimizer.beta1
    options.beta2 = source.optimizer.beta2
    options.epsilon = source.optimizer.epsilon
    options.max_grad_norm = source.maxGradientNorm
    options.chunk_size = Int64(source.chunkSize)
    return options
}

/// The caller's options; NULL for the defaults.
func headTrainingOptions(_ pointer: UnsafePointer<seam_fit_options>?) throws -> HeadTrainingOptions {
    guard let pointer else { return HeadTrainingOptions() }
    let source = try read(pointer, "options")
    var options = HeadTrainingOptions()
    options.prepares = try flag(source.prepare, "prepare")
    options.epochs = Int(source.epochs)
    options.learningRate = source.learning_rate
    options.optimizer.beta1 = source.beta1
    options.optimizer.beta2 = source.beta2
    options.optimizer.epsilon = source.epsilon
    options.maxGradientNorm = source.max_grad_norm
    options.chunkSize = Int(source.chunk_size)
    return options
}
