import Engine
import SeamHost
import Support

/// What one training step reports.
public struct StepReport: Sendable, Equatable {
    /// Counted from 1.
    public let step: Int
    /// Mean over the labels that count, before the update.
    public let loss: Double
    /// Before clipping.
    public let gradientNorm: Double
    /// The learning rate of the adapters in this step.
    public let learningRate: Double
    /// Labels that counted.
    public let tokenCount: Int
}

/// Training of a session, step by step: forward, backward, clip, update. One thread per session.
///
/// Several routes are trained side by side, each as it would be by its own rows alone: by the mean over its labels, with the
/// gradient clipped by its own norm, and an update in the steps that have rows of it. Only the learning rate's schedule
/// counts all steps.
///
/// While it lives, the adapters of these routes (and the backbone, if the options say so) are leaves of the gradient; `end`
/// freezes them again with their trained values.
public final class Optimisation {
    public let session: Session
    public let options: TrainingOptions
    /// Steps done so far.
    public private(set) var step = 0
    /// What is trained of each route: the default one first, then those with a name in the order of the options.
    package private(set) var routes: [TrainedRoute] = []
    /// All trained leaves, those of the adapters first.
    public var variables: [Variable] { routes.flatMap(\.variables) }

    /// - Throws: for options out of range, a route that is not there, nothing to train, an adapter that is on two of the
    ///   routes, or a backbone that passes no gradient to a trained seam.
    public init(session: Session, options: TrainingOptions) throws {
        try options.validate()
        try session.requireUnmerged(toBe: "trained")
        let chains = try Self.chains(options.routes, of: session)
        let adapters = chains.flatMap(\.adapters)
        guard !adapters.isEmpty || options.trainsBackbone else {
            throw SeamError(
                .invalidArgument, "there is nothing to train: no adapter is attached and the backbone is frozen")
        }
        guard adapters.isEmpty || session.backbone.backpropagates else {
            throw SeamError(
                .unsupported,
                "adapter \"\(adapters[0].factory.id)\" needs gradients through \(session.backbone.name), which offers none"
            )
        }
        self.session = session
        self.options = options
        // The backbone first: an opaque one refuses, and then nothing has changed.
        if options.trainsBackbone { try session.backbone.unfreeze() }
        for adapter in adapters { try adapter.unfreeze() }
        routes = chains.map { TrainedRoute(name: $0.name, adapters: $0.adapters, backbone: nil) }
        // It is trained with the default route, which is then the only one.
        if options.trainsBackbone { routes[0].backbone = session.backbone }
        guard !variables.isEmpty else {
            let prepared = adapters.first(where: \.startsFromExamples).map {
                ": adapter \"\($0.factory.id)\" is set from all examples at once, by a fit on features"
            }
            throw SeamError(
                .invalidArgument,
                "there is nothing to train: no attached adapter has a parameter that is not frozen\(prepared ?? "")")
        }
    }

    /// The adapters of the routes that are to be trained.
    private static func chains(_ routes: [String?], of session: Session) throws -> [(
        name: String, adapters: [Adapter]
    )] {
        guard !routes.isEmpty else {
            throw SeamError(.invalidArgument, "there is nothing to train: routes must name one or more, found none")
        }
        var chains: [(name: String, adapters: [Adapter])] = []
        for name in routes.map({ $0 ?? "" }) {
            try session.requireRoute(name)
            let title = routeTitle(name)
            guard !chains.contains(where: { $0.name == name }) else {
                throw SeamError(.invalidArgument, "routes to train must be named once each, found \(title) twice")
            }
            let own = session.adapters(of: name)
            for (other, adapters) in chains {
                guard let shared = adapters.first(where: { adapter in own.contains { $0 === adapter } }) else {
                    continue
                }
                throw SeamError(
                    .unsupported,
                    "adapter \"\(shared.factory.id)\" is on \(routeTitle(other)) and on \(title), which are trained apart: give each an adapter of its own"
                )
            }
            chains.append((name, own))
        }
        // Where the default one is named is no matter to a run that is resumed.
        return chains.filter { $0.name.isEmpty } + chains.filter { !$0.name.isEmpty }
    }

    /// Continues from a checkpoint's step counts.
    /// - Parameter routeSteps: updates of each of `routes`; nil: as many as steps.
    public func resume(at step: Int, routeSteps: [Int]? = nil) {
        self.step = step
        for index in routes.indices { routes[index].updates = routeSteps?[index] ?? step }
    }

    /// One update from a batch with labels, whose rows take routes that are trained.
    /// - Parameter kept: what a seam cache has of the rows; nil computes all of them.
    /// - Throws: `.numeric`, with everything unchanged, when the loss or a gradient is not finite; `.invalidArgument` for a
    ///   row on a route that is not trained.
    public func update(_ batch: Batch, kept: KeptStates? = nil) throws -> StepReport {
        try requireTrained(batch.takenRoutes)
        let context = session.makeContext(recordsGradients: true)
        // By the step, so that a run that is resumed draws what it would have drawn.
        context.random = SeededGenerator(seed: options.seed, stream: "step \(step)")
        let variables = self.variables
        defer { clearGradients(variables) }
        let loss = try session.loss(
            context, batch, kept: kept, labelSmoothing: options.labelSmoothing, training: true)
        for value in [loss.mean, Double(loss.value.floats[0])] where !value.isFinite {
            throw SeamError(.numeric, "the loss of step \(step + 1) is \(value); the learning rate may be too high")
        }
        let taken = routes.indices.filter { index in loss.routes.contains { $0.name == routes[index].name } }
        try Session.requireReached(
            taken.flatMap { routes[$0].adapters }, by: loss.value, "the loss of step \(step + 1)")
        try context.backward(loss.value)
        for index in taken where routes[index].isFirstUpdate {
            routes[index].isFirstUpdate = false
            Session.warnOfUnreached(
                routes[index].adapters, backbone: routes[index].backbone, in: "step \(step + 1)")
        }
        let norms = try taken.map { try gradientNorm(routes[$0].variables, pool: session.runtime.pool) }
        guard norms.allSatisfy(\.isFinite) else {
            throw SeamError(
                .numeric, "the gradient of step \(step + 1) is not finite; the learning rate may be too high")
        }
        let factor = options.schedule.factor(step: step, warmup: options.warmupSteps, total: options.totalSteps)
        step += 1
        for (index, norm) in zip(taken, norms) {
            try routes[index].update(norm: norm, factor: factor, options, pool: session.runtime.pool)
        }
        let norm = norms.count == 1 ? norms[0] : norms.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return StepReport(
            step: step, loss: loss.mean, gradientNorm: norm, learningRate: options.learningRate * factor,
            tokenCount: loss.tokenCount)
    }

    /// Throws `.invalidArgument` for a route that is not trained.
    public func requireTrained(_ taken: [String?]) throws {
        for name in taken.map({ $0 ?? "" }) where !routes.contains(where: { $0.name == name }) {
            try session.requireRoute(name)
            throw SeamError(
                .invalidArgument,
                "a batch to train on has a row of \(routeTitle(name)), which is not trained: the training is of \(routes.map { routeTitle($0.name) }.joined(separator: ", "))"
            )
        }
    }

    /// Freezes what was trained, keeping its values.
    public func end() {
        for route in routes {
            for adapter in route.adapters { adapter.freeze() }
        }
        session.backbone.freeze()
    }
}

/// What is trained of one route.
package struct TrainedRoute {
    /// Empty: the default route.
    let name: String
    let adapters: [Adapter]
    /// The backbone, where it is trained with the route.
    var backbone: Backbone?
    /// Updates so far: the steps that had rows of it.
    package var updates = 0
    /// Until an update has told which parameters the loss does not reach.
    var isFirstUpdate = true

    /// The trained leaves, the adapters' first.
    var variables: [Variable] { adapters.flatMap(\.parameters.variables) + (backbone?.parameters.variables ?? []) }

    /// Updates everything from the gradients that were gathered.
    /// - Parameters:
    ///   - norm: of all gradients of the route together.
    ///   - factor: the schedule's, in this step.
    mutating func update(norm: Double, factor: Double, _ options: TrainingOptions, pool: MemoryPool) throws {
        let scale = clippingScale(norm: norm, limit: options.maxGradientNorm)
        updates += 1
        for adapter in adapters {
            try options.optimizer.step(
                adapter.parameters.variables, learningRate: (adapter.learningRate ?? options.learningRate) * factor,
                gradientScale: scale, number: updates, pool: pool)
        }
        guard let backbone else { return }
        try options.optimizer.step(
            backbone.parameters.variables, learningRate: options.backboneLearningRate * factor, gradientScale: scale,
            number: updates, pool: pool)
    }
}

/// A route as a sentence names it; empty: the default one.
func routeTitle(_ name: String) -> String { name.isEmpty ? "the default route" : "route \"\(name)\"" }
