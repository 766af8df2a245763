import CSeam
import Engine
import FewShot
import Session
import Support

@c @implementation
public func seam_fit_options_init(_ options: UnsafeMutablePointer<seam_fit_options>?) {
    if let options { write(cOptions(HeadTrainingOptions()), to: options) }
}

@c @implementation
public func seam_adapter_fit(
    _ adapter: OpaquePointer?, _ scores: UnsafePointer<Float>?, _ hidden: UnsafePointer<Float>?,
    _ labels: UnsafePointer<Int32>?, _ emptyScores: UnsafePointer<Float>?, _ examples: Int,
    _ options: UnsafePointer<seam_fit_options>?, _ losses: UnsafeMutablePointer<Double>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        let features = try features(adapter, scores, hidden, examples)
        try Memory.require(examples, MemoryLayout<Int32>.size, for: "a copy of \(examples) labels")
        let classes = Array(UnsafeBufferPointer(start: try required(labels, "labels"), count: examples))
        let found = try fit(
            adapters: [adapter], scores: features.scores, hidden: features.hidden, labels: classes,
            emptyScores: emptyScores.map { Array(UnsafeBufferPointer(start: $0, count: adapter.classes)) },
            options: try headTrainingOptions(options))
        losses?.update(from: found, count: found.count)
    }
}

@c @implementation
public func seam_adapter_classify(
    _ adapter: OpaquePointer?, _ scores: UnsafePointer<Float>?, _ hidden: UnsafePointer<Float>?, _ examples: Int,
    _ classScores: UnsafeMutablePointer<Float>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let adapter = try object(adapter, "adapter", as: AdapterHandle.self).adapter
        let features = try features(adapter, scores, hidden, examples)
        let out = try required(classScores, "class_scores")
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
    return (
        .borrowing(try required(scores, "scores"), [examples, adapter.classes], .f32),
        .borrowing(try required(hidden, "hidden"), [examples, adapter.site.dModel], .f32)
    )
}

// MARK: Options

private func cOptions(_ source: HeadTrainingOptions) -> seam_fit_options {
    seam_fit_options(
        struct_size: UInt32(MemoryLayout<seam_fit_options>.size), prepare: source.prepares ? 1 : 0,
        epochs: Int64(source.epochs), learning_rate: source.learningRate, beta1: source.optimizer.beta1,
        beta2: source.optimizer.beta2, epsilon: source.optimizer.epsilon, max_grad_norm: source.maxGradientNorm,
        chunk_size: Int64(source.chunkSize))
}

/// The caller's options; NULL for the defaults.
func headTrainingOptions(_ pointer: UnsafePointer<seam_fit_options>?) throws -> HeadTrainingOptions {
    guard let pointer else { return HeadTrainingOptions() }
    let source = try read(
        pointer, "options", atLeast: extent(through: \seam_fit_options.chunk_size), defaults: cOptions(HeadTrainingOptions()))
    var options = HeadTrainingOptions()
    options.prepares = source.prepare != 0
    options.epochs = Int(source.epochs)
    options.learningRate = source.learning_rate
    options.optimizer.beta1 = source.beta1
    options.optimizer.beta2 = source.beta2
    options.optimizer.epsilon = source.epsilon
    options.maxGradientNorm = source.max_grad_norm
    options.chunkSize = Int(source.chunk_size)
    return options
}
