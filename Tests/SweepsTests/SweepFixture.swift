import Files
import SeamHost
import Support
import Sweeps
import TestSupport
import Trainer

/// A small sweep on a tiny model.
struct SweepFixture {
    let model: OpenModel
    let scratch: ScratchFolder
    var variants = ["plain=prefix-tuning:mlp_hidden_size=8", "gate=prefix-tuning:mlp_hidden_size=8+gate"]
    var axes = ["prefix_length=2,4"]
    var seeds: [UInt64] = [0, 1]
    var task: SweepTask

    init() throws {
        model = try OpenModel(TinyModel(.gpt2))
        scratch = try ScratchFolder()
        func pairs(_ count: Int, _ seed: UInt64) -> TokenPairs {
            let pairs = makePairs(count, seed: seed)
            return TokenPairs(sources: pairs.sources, targets: pairs.targets)
        }
        let (runtime, backbone) = (model.runtime, model.backbone)
        task = SweepTask(
            training: pairs(11, 1), development: pairs(5, 2), test: pairs(5, 3),
            makeSession: { spec, settings, seed in
                let session = Session(backbone: backbone)
                try AdapterComposition(parsing: spec, options: settings, in: runtime).attach(to: session, seed: seed)
                return session
            }, optionNames: { try runtime.adapterFactory($0).options.map(\.name) })
        task.options.training.totalSteps = 10
        task.options.training.learningRate = 0.02
        task.options.batchSize = 4
    }

    var folder: SweepFolder { SweepFolder(scratch["sweep"]) }

    func plan() throws -> SweepPlan {
        try SweepPlan(
            variants: variants.map { try SweepVariant($0) }, axes: axes.map { try SweepAxis($0) }, seeds: seeds)
    }

    func sweep(in folder: SweepFolder? = nil) throws -> Sweep {
        try Sweep(plan: plan(), task: task, folder: folder ?? self.folder, metric: .loss, title: "Title")
    }

    /// - Parameter updates: stops after so many, over all runs.
    @discardableResult
    func run(
        in folder: SweepFolder? = nil, stopAfter updates: Int = .max, observe: (SweepEvent) -> Void = { _ in }
    ) throws -> Sweep.Ending {
        var done = 0
        return try sweep(in: folder).run(
            observe: { event in
                if case .step = event { done += 1 }
                observe(event)
            }, shouldContinue: { done < updates })
    }
}
