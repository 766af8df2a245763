import CSeam
import Engine
import SeamHost
import Support

/// How adapters are trained at decoder.output. Names and defaults are those of `seam_fit_options`, and of the paper of
/// DecT (Cui et al., ACL 2023).
public struct HeadTrainingOptions: Sendable, Equatable {
    /// Passes over all examples, each of which ends with one update.
    public var epochs = 30
    public var learningRate = 0.01
    /// Adam without weight decay.
    public var optimizer = Adam()
    /// Largest 2-norm over all gradients together; 0 for no clipping.
    public var maxGradientNorm = 0.0
    /// Examples that are computed at once; their gradients are added up, so it changes memory and rounding only.
    public var chunkSize = 4096
    /// Whether the adapters start from the examples (`Adapter.prepare`); false goes on from the values that they have.
    public var prepares = true

    public init() {}

    /// Throws one sentence that names the first option out of range.
    public func validate() throws {
        func require(_ holds: Bool, _ name: String, _ expected: String, _ found: some Any) throws {
            guard holds else { throw SeamError(.invalidArgument, "\(name) must be \(expected), found \(found)") }
        }
        try require(epochs >= 1, "epochs", "1 or more", epochs)
        // A loss of each is kept.
        let mostEpochs = 1 << 24
        try require(epochs <= mostEpochs, "epochs", "at most \(mostEpochs)", epochs)
        try require(learningRate >= 0 && learningRate.isFinite, "learning_rate", "0 or more", learningRate)
        try require(optimizer.beta1 >= 0 && optimizer.beta1 < 1, "beta1", "in [0, 1)", optimizer.beta1)
        try require(optimizer.beta2 >= 0 && optimizer.beta2 < 1, "beta2", "in [0, 1)", optimizer.beta2)
        try require(optimizer.epsilon > 0 && optimizer.epsilon.isFinite, "epsilon", "positive", optimizer.epsilon)
        try require(
            optimizer.weightDecay >= 0 && optimizer.weightDecay.isFinite, "weight_decay", "0 or more",
            optimizer.weightDecay)
        try require(maxGradientNorm >= 0 && maxGradientNorm.isFinite, "max_grad_norm", "0 or more", maxGradientNorm)
        try require(chunkSize >= 1, "chunk_size", "1 or more", chunkSize)
    }
}

/// Trains the adapters of decoder.output, which run in the given order, on what a backbone said of each example: full
/// passes by cross-entropy over the classes (mean over the examples).
///
/// Adapters without a parameter that is trained, such as a calibration, are fitted by `Adapter.prepare` alone; every epoch's
/// loss is then the one that this gives.
///
/// An error leaves every parameter as it was before the call; so does a stop. One thread; the adapters must belong to
/// one runtime.
/// - Parameters:
///   - adapters: made for `decoder.output` with the same number of classes.
///   - scores: the backbone's for each class, row-major [examples x classes], or [examples x prompts x classes] where the
///     first adapter was made for several prompts.
///   - hidden: its states where the answer stands, row-major [examples x d_model], or [examples x prompts x d_model].
///   - labels: the class of each example, from 0; every class has one.
///   - emptyScores: the scores of an empty text [classes], or [prompts x classes]; nil where they are not known. They go to the first adapter:
///     what flows into later ones is no longer the backbone's.
///   - progress: called before the first epoch and after each with the number of epochs that are done and the loss of
///     the last, nil for none; false stops with `.cancelled`. What needs no epochs is done at once.
/// - Returns: the mean loss of each epoch, before its update.
/// - Throws: `.invalidArgument`, `.shape` for what does not fit together, for an adapter in training elsewhere, or where
///   there is neither a parameter to train nor an adapter that starts from the examples;
///   `.numeric` for NaN or infinity in the features, naming the example, or in training.
public func fit(
    adapters: [Adapter], scores: [Float], hidden: [Float], labels: [Int32], emptyScores: [Float]? = nil,
    options: HeadTrainingOptions = HeadTrainingOptions(), progress: (Int, Double?) -> Bool = { _, _ in true }
) throws -> [Double] {
    return try withFeatures(scores, hidden, count: labels.count, try HeadSizes(adapters)) { scores, hidden in
        try fit(
            adapters: adapters, scores: scores, hidden: hidden, labels: labels, emptyScores: emptyScores,
            options: options, progress: progress)
    }
}

/// The same on tensors, f32 and row-major: scores [examples, classes], hidden [examples, d_model]. They are read in
/// place, in every epoch.
public func fit(
    adapters: [Adapter], scores: Tensor, hidden: Tensor, labels: [Int32], emptyScores: [Float]? = nil,
    options: HeadTrainingOptions = HeadTrainingOptions(), progress: (Int, Double?) -> Bool = { _, _ in true }
) throws -> [Double] {
    let features = try Features(adapters, scores: scores, hidden: hidden)
    try options.validate()
    try checkLabels(labels, count: features.count, classes: features.classes)
    try features.check(emptyScores: emptyScores)
    if let busy = adapters.first(where: { !$0.parameters.variables.isEmpty }) {
        throw SeamError(.invalidArgument, "adapter \"\(busy.factory.id)\" is in training elsewhere: end that first")
    }
    let isTrained = adapters.contains { $0.parameters.trainableCount > 0 }
    guard isTrained || options.prepares && adapters.contains(where: \.startsFromExamples) else {
        throw SeamError(
            .invalidArgument,
            "there is nothing to train: no adapter has a parameter that is not frozen\(options.prepares ? ", or starts from the examples" : ", and none is to start from the examples")"
        )
    }
    func goOn(_ epochs: Int, _ loss: Double?) throws {
        guard progress(epochs, loss) else {
            let place = epochs > 0 ? "after epoch \(epochs)" : "before epoch 1"
            throw SeamError(.cancelled, "the training was stopped \(place)")
        }
    }
    try goOn(0, nil)
    let before = adapters.map { $0.parameters.entries.map(\.tensor.floats) }
    defer { for adapter in adapters { adapter.freeze() } }
    do {
        return try labels.withTensor([labels.count]) { labels in
            if options.prepares { try prepare(adapters, features, labels, emptyScores) }
            let training = try HeadTraining(adapters, features, labels, options)
            guard isTrained else {
                let loss = try training.loss()
                try goOn(options.epochs, loss)
                return Array(repeating: loss, count: options.epochs)
            }
            return try training.run(after: goOn)
        }
    } catch {
        for (adapter, values) in zip(adapters, before) {
            for (entry, old) in zip(adapter.parameters.entries, values) { entry.tensor.assign(old) }
        }
        throw error
    }
}

/// Each adapter sees what the ones before it make of the scores.
private func prepare(_ adapters: [Adapter], _ features: Features, _ labels: Tensor, _ emptyScores: [Float]?) throws {
    var (scores, hidden) = (features.scores, features.hidden)
    let context = Context(pool: features.pool, recordsGradients: false)
    for (index, adapter) in adapters.enumerated() {
        let inputs = try adapter.withPromptAxis([scores, hidden], in: context)
        if index == 0, let emptyScores {
            try emptyScores.withTensor(features.sizes.shape(1, features.classes)) {
                let empty = try adapter.withPromptAxis([$0], in: context)[0]
                try adapter.prepare(inputs: inputs, labels: labels, emptyScores: empty)
            }
        } else {
            try adapter.prepare(inputs: inputs, labels: labels)
        }
        if index + 1 < adapters.count {
            scores = try Features([adapter], scores: scores, hidden: hidden).classScores()
            hidden = try context.contiguous(try meanOverPrompts(hidden, in: context))
        }
    }
}

/// Full-batch training in chunks: their gradients gather in the parameters' slots, one update closes the epoch.
private struct HeadTraining {
    private struct Chunk {
        let rows: Features.Rows
        let labels: Tensor
        /// What the gradient of the chunk's summed loss is multiplied by: one over all examples.
        let seed: Tensor
    }

    private let adapters: [Adapter]
    private let features: Features
    private let options: HeadTrainingOptions
    private let variables: [Variable]
    private let chunks: [Chunk]

    init(_ adapters: [Adapter], _ features: Features, _ labels: Tensor, _ options: HeadTrainingOptions) throws {
        for adapter in adapters { try adapter.unfreeze() }
        variables = adapters.flatMap(\.parameters.variables)
        let context = Context(pool: features.pool, recordsGradients: false)
        let seed = try context.full(1 / Double(features.count), .f32, [])
        chunks = try features.chunks(of: options.chunkSize).map { rows in
            let part = try context.slice(labels, axis: 0, start: rows.start, length: rows.count)
            return Chunk(rows: rows, labels: part, seed: seed)
        }
        (self.adapters, self.features, self.options) = (adapters, features, options)
    }

    /// The mean loss of the adapters as they are.
    func loss() throws -> Double {
        let context = Context(pool: features.pool, recordsGradients: false)
        var loss = 0.0
        for chunk in chunks {
            loss += Double(try self.loss(context, chunk).floats[0])
            context.reset()
        }
        guard loss.isFinite else { throw SeamError(.numeric, "the loss of the prepared adapters is \(loss)") }
        return loss / Double(features.count)
    }

    /// The summed loss of a chunk.
    private func loss(_ context: Context, _ chunk: Chunk) throws -> Tensor {
        let scores = try features.scores(context, chunk.rows, training: true)
        return try context.crossEntropy(
            scores, targets: chunk.labels, ignoreIndex: -1, labelSmoothing: 0, reduction: .sum)
    }

    /// - Parameter isDone: called after each epoch with its number and its loss; what it throws stops.
    func run(after isDone: (Int, Double?) throws -> Void) throws -> [Double] {
        let context = Context(pool: features.pool, recordsGradients: true)
        defer { clearGradients(variables) }
        var losses: [Double] = []
        for epoch in 1...options.epochs {
            var loss = 0.0
            for chunk in chunks {
                loss += try gather(context, chunk)
                context.reset()
            }
            loss /= Double(features.count)
            guard loss.isFinite else {
                throw SeamError(.numeric, "the loss of epoch \(epoch) is \(loss); the learning rate may be too high")
            }
            losses.append(loss)
            if epoch == 1 { Session.warnOfUnreached(adapters, in: "epoch 1") }
            try update(epoch)
            try isDone(epoch, loss)
        }
        return losses
    }

    /// Adds the gradients of a chunk and gives its summed loss.
    private func gather(_ context: Context, _ chunk: Chunk) throws -> Double {
        let loss = try loss(context, chunk)
        try Session.requireReached(adapters, by: loss, "the loss")
        try context.backward(loss, seed: chunk.seed)
        return Double(loss.floats[0])
    }

    private func update(_ epoch: Int) throws {
        var scale = 1.0
        if options.maxGradientNorm > 0 {
            let norm = try gradientNorm(variables, pool: features.pool)
            scale = clippingScale(norm: norm, limit: options.maxGradientNorm)
        }
        try options.optimizer.step(
            variables, learningRate: options.learningRate, gradientScale: scale, number: epoch, pool: features.pool)
        clearGradients(variables)
        for variable in variables {
            let tensor = variable.tensor
            guard NativeEngine.firstNonFinite(tensor.baseAddress, .f32, count: tensor.elementCount) == nil else {
                throw SeamError(
                    .numeric,
                    "parameter \"\(variable.name)\" is no longer finite after epoch \(epoch); the learning rate may be too high"
                )
            }
        }
    }
}
