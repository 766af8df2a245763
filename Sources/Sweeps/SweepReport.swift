import Files
import Support

/// The numbers of a sweep, from the results in its folder; runs without one are left out.
public struct SweepReport: Sendable {
    /// A line of the tables and plots: a variant with values of all axes but the first.
    public struct Series: Hashable, Sendable {
        public let variant: SweepVariant
        public let rest: [SweepSetting]
        public var name: String { ([variant.name] + rest.map(\.title)).joined(separator: ", ") }
    }

    /// What the seeds of one series came to at one value of the first axis.
    public struct Cell: Equatable, Sendable {
        /// Over the seeds whose run has ended well; nil without any.
        public let spread: Spread?
        /// Seeds whose run failed.
        public let failed: Int
        /// Seeds that there are to be.
        public let seeds: Int

        /// - Parameters:
        ///   - spread: over the seeds whose run has ended well; nil without any.
        ///   - failed: seeds whose run failed.
        ///   - seeds: those that there are to be.
        package init(spread: Spread?, failed: Int, seeds: Int) {
            (self.spread, self.failed, self.seeds) = (spread, failed, seeds)
        }
    }

    /// A series over all values of the first axis.
    public struct Summary: Equatable, Sendable {
        /// The value with the best mean on the development examples, with that mean.
        public let best: (value: String, mean: Double)
        /// The greatest mean less the least, and the standard deviation of the means; nil for a single value.
        public let range, deviation: Double?

        public static func == (left: Self, right: Self) -> Bool {
            left.best == right.best && left.range == right.range && left.deviation == right.deviation
        }
    }

    /// How soon a series has the training loss that the first variant ends with.
    public struct Reaching: Equatable, Sendable {
        /// The mean over those seeds that reach it; nil where none does.
        public let meanStep: Double?
        /// Seeds that reach it, of those with both runs.
        public let reached, seeds: Int

        /// - Parameters:
        ///   - meanStep: over those seeds that reach it; nil where none does.
        ///   - reached: how many do.
        ///   - seeds: those with both runs.
        package init(meanStep: Double?, reached: Int, seeds: Int) {
            (self.meanStep, self.reached, self.seeds) = (meanStep, reached, seeds)
        }
    }

    public let title: String
    public let plan: SweepPlan
    /// What the tables begin with.
    public let metric: SweepMetric
    /// What each run came to; nothing for one that has not ended.
    package let results: [SweepRun: SweepResult]
    let curves: [SweepRun: LossCurve]

    /// Reads a sweep's folder. Throws `.notFound` for one without a sweep, and for files that are not as expected.
    public init(_ folder: SweepFolder) throws {
        guard let description = try folder.readDescription() else {
            throw SeamError(.notFound, "\"\(folder.path)\" holds no sweep: there is no sweep.json")
        }
        var results: [SweepRun: SweepResult] = [:]
        var curves: [SweepRun: LossCurve] = [:]
        for run in description.plan.runs {
            guard let result = try folder.result(of: run) else { continue }
            results[run] = result
            if result.finished != nil { curves[run] = LossCurve(try folder.losses(of: run)) }
        }
        self.init(description, results: results, curves: curves)
    }

    /// A report of results that are known.
    package init(
        _ description: SweepFolder.Description, results: [SweepRun: SweepResult], curves: [SweepRun: LossCurve]
    ) {
        (title, plan, metric) = (description.title, description.plan, description.metric)
        (self.results, self.curves) = (results, curves)
    }

    // MARK: Parts of the grid

    /// The first axis.
    public var axis: SweepAxis { plan.axes[0] }

    public var series: [Series] {
        var rests: [[SweepSetting]] = []
        for point in plan.points where !rests.contains(point.rest) { rests.append(point.rest) }
        return rests.flatMap { rest in plan.variants.map { Series(variant: $0, rest: rest) } }
    }

    /// The runs of a series at a value of the first axis, by seed.
    func runs(_ series: Series, _ value: String) -> [SweepRun] {
        let point = SweepPoint(settings: [SweepSetting(name: axis.name, value: value)] + series.rest)
        return plan.seeds.map { SweepRun(variant: series.variant, point: point, seed: $0) }
    }

    /// Runs in their order with how they failed.
    public var failures: [(run: SweepRun, sentence: String)] {
        plan.runs.compactMap { run in results[run]?.failure.map { (run, $0) } }
    }

    /// Runs without a result.
    public var missing: Int { plan.runs.count - results.count }

    private var finished: [SweepResult.Finished] { plan.runs.compactMap { results[$0]?.finished } }
    /// All figures of the development examples, the metric first.
    var developmentMetrics: [SweepMetric] { metrics { $0.development } }
    var testMetrics: [SweepMetric] { metrics { $0.test } }

    private func metrics(_ figures: (SweepResult.Finished) -> SweepFigures?) -> [SweepMetric] {
        let all = finished.lazy.compactMap(figures).first?.values.map(\.metric) ?? []
        return all.filter { $0 == metric } + all.filter { $0 != metric }
    }

    // MARK: Numbers

    /// A figure over the seeds.
    public func cell(_ series: Series, _ value: String, _ figure: (SweepResult.Finished) -> Double?) -> Cell {
        let runs = runs(series, value)
        let values = runs.compactMap { results[$0]?.finished.flatMap(figure) }
        return Cell(
            spread: try? Spread(values), failed: runs.count { results[$0]?.failure != nil }, seeds: runs.count)
    }

    /// The metric on the development examples.
    public func cell(_ series: Series, _ value: String) -> Cell { cell(series, value) { $0.development[metric] } }

    /// The metric on the development examples over all values; nil without results.
    public func summary(_ series: Series) -> Summary? {
        let means = axis.values.compactMap { value in cell(series, value).spread.map { (value: value, mean: $0.mean) } }
        // The first of equals.
        let best = means.dropFirst().reduce(means.first) { best, next in
            guard let best else { return next }
            return (metric.isLowerBetter ? next.mean < best.mean : next.mean > best.mean) ? next : best
        }
        guard let best else { return nil }
        let numbers = means.map(\.mean)
        return Summary(
            best: best, range: numbers.count > 1 ? numbers.max()! - numbers.min()! : nil,
            deviation: (try? Spread(numbers))?.deviation)
    }

    /// The steps until the running mean of the training loss is at or below the last one of the first variant's run with
    /// the same settings and seed.
    public func reaching(_ series: Series, _ value: String) -> Reaching {
        let first = Series(variant: plan.variants[0], rest: series.rest)
        var seeds = 0
        var steps: [Double] = []
        for (run, reference) in zip(runs(series, value), runs(first, value)) {
            guard let curve = curves[run], let target = curves[reference] else { continue }
            seeds += 1
            if let step = curve.stepReaching(target.last) { steps.append(Double(step)) }
        }
        return Reaching(meanStep: (try? Spread(steps))?.mean, reached: steps.count, seeds: seeds)
    }
}
