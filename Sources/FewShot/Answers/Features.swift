import CSeam
import Engine
import SeamHost
import Support

/// The scores that adapters of decoder.output, run in the given order, give to each class: row-major
/// [examples x classes]. The arguments are those of `fit`; labels play no part, and any number of examples will do.
public func classScores(adapters: [Adapter], scores: [Float], hidden: [Float]) throws -> [Float] {
    let sizes = try HeadSizes(adapters)
    let count = scores.count / (sizes.prompts * sizes.classes)
    return try withFeatures(scores, hidden, count: count, sizes) { scores, hidden in
        try classScores(adapters: adapters, scores: scores, hidden: hidden).floats
    }
}

/// The same on tensors, f32 and row-major: scores [examples, classes], hidden [examples, d_model], of several prompts
/// [examples, prompts, classes] and [examples, prompts, d_model]. The result is
/// [examples, classes], in memory of its own.
public func classScores(adapters: [Adapter], scores: Tensor, hidden: Tensor) throws -> Tensor {
    try Features(adapters, scores: scores, hidden: hidden).classScores()
}

/// The sizes of what adapters on decoder.output read.
struct HeadSizes {
    let classes: Int
    /// Prompts about each text, of the first adapter.
    let prompts: Int
    /// d_model.
    let width: Int

    /// Those that all adapters were made for.
    init(_ adapters: [Adapter]) throws {
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
            guard index == 0 || adapter.prompts == 1 else {
                throw SeamError(
                    .incompatible,
                    "adapter \(index) was made for \(adapter.prompts) prompts, and behind the first adapter there is one"
                )
            }
            guard !adapters[..<index].contains(where: { $0 === adapter }) else {
                throw SeamError(.invalidArgument, "adapter \"\(adapter.factory.id)\" is given twice")
            }
        }
        (classes, prompts, width) = (first.classes, first.prompts, first.site.dModel)
    }

    /// The shape of so many numbers of each prompt of each example.
    func shape(_ count: Int, _ columns: Int) -> Shape {
        prompts == 1 ? [count, columns] : [count, prompts, columns]
    }
}

/// Reads two arrays as tensors, in place.
func withFeatures<R>(
    _ scores: [Float], _ hidden: [Float], count: Int, _ sizes: HeadSizes, _ body: (Tensor, Tensor) throws -> R
) throws -> R {
    for (name, values, columns) in [("scores", scores, sizes.classes), ("hidden", hidden, sizes.width)] {
        let row = sizes.prompts == 1 ? "\(columns)" : "\(sizes.prompts) x \(columns)"
        let total = count * sizes.prompts * columns
        guard values.count == total else {
            throw SeamError(
                .shape, "\(name) must hold \(count) x \(row) = \(total) numbers, found \(values.count)")
        }
    }
    return try scores.withTensor(sizes.shape(count, sizes.classes)) { scores in
        try hidden.withTensor(sizes.shape(count, sizes.width)) { hidden in try body(scores, hidden) }
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
    let sizes: HeadSizes
    var classes: Int { sizes.classes }
    var count: Int { scores.shape[0] }
    var pool: MemoryPool { adapters[0].runtime.pool }
    private let adapters: [Adapter]

    init(_ adapters: [Adapter], scores: Tensor, hidden: Tensor) throws {
        sizes = try HeadSizes(adapters)
        let prompts = sizes.prompts == 1 ? "" : "\(sizes.prompts), "
        guard scores.rank > 0, scores.shape == sizes.shape(scores.shape[0], sizes.classes), scores.dtype == .f32,
            scores.isContiguous
        else {
            throw SeamError(
                .shape, "scores must be row-major f32 [examples, \(prompts)\(sizes.classes)], found \(scores.shape)")
        }
        guard hidden.shape == sizes.shape(scores.shape[0], sizes.width), hidden.dtype == .f32, hidden.isContiguous
        else {
            throw SeamError(
                .shape,
                "hidden must be row-major f32 [\(scores.shape[0]), \(prompts)\(sizes.width)], found \(hidden.shape)")
        }
        guard scores.shape[0] > 0 else { throw SeamError(.invalidArgument, "there are no examples") }
        for (name, tensor) in [("scores", scores), ("hidden", hidden)] {
            if let position = NativeEngine.firstNonFinite(tensor.baseAddress, .f32, count: tensor.elementCount) {
                let (row, columns) = (tensor.elementCount / tensor.shape[0], tensor.shape[tensor.rank - 1])
                let prompt = sizes.prompts == 1 ? "" : " of prompt \(position % row / columns)"
                throw SeamError(
                    .numeric,
                    "\(name) of example \(position / row) must be finite, found NaN or infinity at column \(position % columns)\(prompt)"
                )
            }
        }
        (self.adapters, self.scores, self.hidden) = (adapters, scores, hidden)
    }

    func check(emptyScores: [Float]?) throws {
        guard let emptyScores else { return }
        guard emptyScores.count == sizes.prompts * classes else {
            throw SeamError(
                .shape,
                "the scores of an empty text must be \(sizes.prompts * classes) numbers, found \(emptyScores.count)")
        }
        if let index = emptyScores.firstIndex(where: { !$0.isFinite }) {
            throw SeamError(
                .numeric,
                "the scores of an empty text must be finite, found \(emptyScores[index]) for class \(index % classes)")
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
        var (current, hidden) = (rows.scores, rows.hidden)
        for adapter in adapters {
            current = try adapter.scores(context, scores: current, hidden: hidden, training: training)
            hidden = try meanOverPrompts(hidden, in: context)
        }
        return current
    }

    /// What leaves the last adapter for every example: [examples, classes].
    func classScores() throws -> Tensor {
        let context = Context(pool: pool, recordsGradients: false)
        let result = try context.makeTensor([count, classes])
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
