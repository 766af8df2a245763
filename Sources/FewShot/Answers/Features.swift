import CSeam
import Engine
import Session
import Support

/// The scores that adapters of decoder.output, run in the given order, give to each class: row-major
/// [examples x classes]. The arguments are those of `fit`; labels play no part, and any number of examples will do.
public func classScores(adapters: [Adapter], scores: [Float], hidden: [Float]) throws -> [Float] {
    let (classes, width) = try sizes(of: adapters)
    return try withFeatures(scores, hidden, count: scores.count / classes, classes, width) { scores, hidden in
        try classScores(adapters: adapters, scores: scores, hidden: hidden).floats
    }
}

/// The same on tensors, f32 and row-major: scores [examples, classes], hidden [examples, d_model]. The result is
/// [examples, classes], in memory of its own.
public func classScores(adapters: [Adapter], scores: Tensor, hidden: Tensor) throws -> Tensor {
    try Features(adapters, scores: scores, hidden: hidden).classScores()
}

/// The classes and the width of the hidden states that all adapters were made for.
func sizes(of adapters: [Adapter]) throws -> (classes: Int, width: Int) {
    guard let first = adapters.first else { throw SeamError(.invalidArgument, "there is no adapter") }
    for (index, adapter) in adapters.enumerated() {
        guard adapter.seam == SEAM_DECODER_OUTPUT else {
            throw SeamError(
                .invalidArgument, "adapter \"\(adapter.factory.id)\" is on \(adapter.seam), not on decoder.output")
        }
        guard adapter.classes == first.classes, adapter.site.dModel == first.site.dModel else {
            throw SeamError(
                .incompatible,
                "adapter \(index) was made for \(adapter.classes) classes and d_model \(adapter.site.dModel), the first one for \(first.classes) and \(first.site.dModel)"
            )
        }
        guard !adapters[..<index].contains(where: { $0 === adapter }) else {
            throw SeamError(.invalidArgument, "adapter \"\(adapter.factory.id)\" is given twice")
        }
    }
    return (first.classes, first.site.dModel)
}

/// Reads two arrays as tensors, in place.
func withFeatures<R>(
    _ scores: [Float], _ hidden: [Float], count: Int, _ classes: Int, _ width: Int, _ body: (Tensor, Tensor) throws -> R
) throws -> R {
    for (name, values, columns) in [("scores", scores, classes), ("hidden", hidden, width)] {
        guard values.count == count * columns else {
            throw SeamError(
                .shape, "\(name) must hold \(count) x \(columns) = \(count * columns) numbers, found \(values.count)")
        }
    }
    return try scores.withTensor([count, classes]) { scores in
        try hidden.withTensor([count, width]) { hidden in try body(scores, hidden) }
    }
}

/// What a backbone said of a number of examples, checked, and the adapters that read it.
struct Features {
    /// Some examples in a row, as views.
    struct Rows {
        let start: Int
        let scores: Tensor
        let hidden: Tensor
        var count: Int { scores.shape[0] }
    }

    let scores: Tensor
    let hidden: Tensor
    let classes: Int
    var count: Int { scores.shape[0] }
    var pool: MemoryPool { adapters[0].runtime.pool }
    private let adapters: [Adapter]

    init(_ adapters: [Adapter], scores: Tensor, hidden: Tensor) throws {
        let width: Int
        (classes, width) = try sizes(of: adapters)
        guard scores.rank == 2, scores.shape[1] == classes, scores.dtype == .f32, scores.isContiguous else {
            throw SeamError(.shape, "scores must be row-major f32 [examples, \(classes)], found \(scores.shape)")
        }
        guard hidden.shape == [scores.shape[0], width], hidden.dtype == .f32, hidden.isContiguous else {
            throw SeamError(
                .shape, "hidden must be row-major f32 [\(scores.shape[0]), \(width)], found \(hidden.shape)")
        }
        guard scores.shape[0] > 0 else { throw SeamError(.invalidArgument, "there are no examples") }
        for (name, tensor) in [("scores", scores), ("hidden", hidden)] {
            if let position = NativeEngine.firstNonFinite(tensor.baseAddress, .f32, count: tensor.elementCount) {
                throw SeamError(
                    .numeric,
                    "\(name) of example \(position / tensor.shape[1]) must be finite, found NaN or infinity at column \(position % tensor.shape[1])"
                )
            }
        }
        (self.adapters, self.scores, self.hidden) = (adapters, scores, hidden)
    }

    func check(emptyScores: [Float]?) throws {
        guard let emptyScores else { return }
        guard emptyScores.count == classes else {
            throw SeamError(
                .shape, "the scores of an empty text must be \(classes) numbers, found \(emptyScores.count)")
        }
        if let index = emptyScores.firstIndex(where: { !$0.isFinite }) {
            throw SeamError(
                .numeric, "the scores of an empty text must be finite, found \(emptyScores[index]) for class \(index)")
        }
    }

    func chunks(of size: Int) throws -> [Rows] {
        let context = Context(pool: pool, recordsGradients: false)
        return try stride(from: 0, to: count, by: size).map { start in
            let length = min(size, count - start)
            return Rows(
                start: start, scores: try context.slice(scores, axis: 0, start: start, length: length),
                hidden: try context.slice(hidden, axis: 0, start: start, length: length))
        }
    }

    /// What leaves the last adapter, alive as long as the context.
    func scores(_ context: Context, _ rows: Rows, training: Bool) throws -> Tensor {
        var current = rows.scores
        for adapter in adapters {
            current = try adapter.forward(
                context, inputs: [current, rows.hidden], expected: [rows.scores.shape], training: training)[0]
        }
        return current
    }

    /// What leaves the last adapter for every example: [examples, classes].
    func classScores() throws -> Tensor {
        let context = Context(pool: pool, recordsGradients: false)
        let result = try context.makeTensor(scores.shape)
        for rows in try chunks(of: HeadTrainingOptions().chunkSize) {
            let part = try context.contiguous(try scores(context, rows, training: false))
            let start = result.baseAddress + rows.start * classes * DType.f32.byteCount
            start.copyMemory(from: part.baseAddress, byteCount: part.elementCount * DType.f32.byteCount)
            context.reset()
        }
        return result
    }
}

/// Throws unless each of `count` examples has one of the classes, and each class an example.
func checkLabels(_ labels: [Int32], count: Int, classes: Int) throws {
    guard labels.count == count else {
        throw SeamError(.shape, "labels must hold a class for each of the \(count) examples, found \(labels.count)")
    }
    var sizes = [Int](repeating: 0, count: classes)
    for (index, label) in labels.enumerated() {
        guard label >= 0, Int(label) < classes else {
            throw SeamError(
                .invalidArgument, "the label of example \(index) must be 0 ... \(classes - 1), found \(label)")
        }
        sizes[Int(label)] += 1
    }
    if let missing = sizes.firstIndex(of: 0) {
        throw SeamError(.invalidArgument, "every class needs an example, and class \(missing) has none")
    }
}
