import Files
import Support
import Sweeps
import TestSupport
import Testing

/// Numbers against those worked out by hand.
@Suite struct ReportTests {
    private let plan: SweepPlan

    init() throws {
        plan = try SweepPlan(
            variants: [try SweepVariant("plain=a"), try SweepVariant("gate=a+b")], axes: [try SweepAxis("n=5,20")],
            seeds: [0, 1])
    }

    private func run(_ variant: Int, _ value: Int, _ seed: UInt64) -> SweepRun {
        plan.runs.first { $0.variant == plan.variants[variant] && $0.point == plan.points[value] && $0.seed == seed }!
    }

    /// A report of accuracies, in the order variant, value, seed; nil for a run that failed.
    private func report(
        _ accuracies: [Double?], losses: [SweepRun: [Double]] = [:], metric: String = "accuracy",
        title: String = "Title"
    ) -> SweepReport {
        var results: [SweepRun: SweepResult] = [:]
        for (index, accuracy) in accuracies.enumerated() {
            let outcome = accuracy.map { value in
                SweepResult.Outcome.finished(
                    .init(
                        development: SweepFigures([(.loss, 2 - value), (SweepMetric("accuracy"), value)]),
                        test: SweepFigures([(SweepMetric("accuracy"), value / 2)]), lastLoss: 1, meanLoss: 1, window: 1,
                        seconds: 3, trainedParameters: 10))
            }
            results[run(index / 4, index / 2 % 2, UInt64(index % 2))] = SweepResult(
                outcome ?? .failed("the loss of step 3 is nan"), settings: [:])
        }
        return SweepReport(
            SweepFolder.Description(plan: plan, metric: SweepMetric(metric), title: title), results: results,
            curves: losses.compactMapValues { LossCurve($0) })
    }

    @Test func meansAndSpreads() throws {
        let report = report([0.5, 0.7, 0.8, 0.8, 0.9, 0.6, nil, 0.4])
        let (plain, gate) = (report.series[0], report.series[1])
        let cell = report.cell(plain, "5")
        #expect(abs(cell.spread!.mean - 0.6) < 1e-12)
        // ((0.1)^2 + (0.1)^2) / 1, its root.
        #expect(abs(cell.spread!.deviation! - 0.02.squareRoot()) < 1e-12)
        let summary = try #require(report.summary(plain))
        #expect(summary.best.value == "20" && abs(summary.best.mean - 0.8) < 1e-12)
        #expect(abs(summary.range! - 0.2) < 1e-12 && abs(summary.deviation! - 0.02.squareRoot()) < 1e-12)
        #expect(report.cell(gate, "20") == .init(spread: try Spread([0.4]), failed: 1, seeds: 2))
        #expect(report.summary(gate)?.best.value == "5")

        let text = report.markdown
        #expect(text.contains("| plain   | 60.00 ± 14.14 |   80.00 ± 0.00 |"), "\(text)")
        #expect(text.contains("| gate    | 75.00 ± 21.21 | 40.00 (1 of 2) |"), "\(text)")
        #expect(text.contains("| variant |  best | at n |    test there | range | deviation |"), "\(text)")
        #expect(text.contains("| plain   | 80.00 |   20 |  40.00 ± 0.00 | 20.00 |     14.14 |"), "\(text)")
        #expect(text.contains("- gate, n 20, seed 0: the loss of step 3 is nan"))
        #expect(try report.lines().split(separator: "\n").count == 8)
    }

    @Test func theLossIsBetterWhenLower() {
        let report = report([0.5, 0.7, 0.8, 0.8], metric: "loss")
        // Losses 2 - accuracy: means 1.4 and 1.2.
        #expect(report.summary(report.series[0])?.best.value == "20")
        #expect(report.summary(report.series[1]) == nil)
        #expect(report.missing == 4 && report.markdown.contains("4 of 8 runs have no result yet."))
    }

    /// 20 steps: windows of 2.
    @Test func stepsToReachALoss() throws {
        let falling = (0..<20).map { 20 - Double($0) }
        let curve = try #require(LossCurve(falling))
        #expect(curve.window == 2 && curve.last == 1.5)
        #expect(curve.means.prefix(3) == [20, 19.5, 18.5])
        #expect(curve.stepReaching(1.5) == 20 && curve.stepReaching(10) == 12 && curve.stepReaching(1) == nil)
        // The first step alone is no window.
        #expect(LossCurve([0] + [Double](repeating: 9, count: 19))?.stepReaching(1) == nil)
        #expect(LossCurve([0] + [Double](repeating: 9, count: 19))?.stepReaching(4.5) == 2)
        #expect(LossCurve([]) == nil && LossCurve([7])?.window == 1)

        let fast = falling.map { $0 / 2 }
        let slow = falling.map { $0 + 1 }
        let losses = [
            run(0, 0, 0): falling, run(0, 0, 1): falling, run(1, 0, 0): fast, run(1, 0, 1): slow,
            run(0, 1, 0): falling, run(1, 1, 0): slow,
        ]
        let report = report([0.5, 0.5, 0.5, nil, 0.5, 0.5, 0.5, nil], losses: losses)
        let (plain, gate) = (report.series[0], report.series[1])
        #expect(report.reaching(plain, "5") == .init(meanStep: 20, reached: 2, seeds: 2))
        // fast: (20 - i + 21 - i) / 4 <= 1.5 first at i = 18, the nineteenth step.
        #expect(report.reaching(gate, "5") == .init(meanStep: 19, reached: 1, seeds: 2))
        #expect(report.reaching(gate, "20") == .init(meanStep: nil, reached: 0, seeds: 1))
        let text = report.markdown
        #expect(text.contains("| plain   |          20 |          20 |"), "\(text)")
        #expect(text.contains("| gate    | 19 (1 of 2) | not reached |"), "\(text)")
    }

    @Test func resultsAreReadAsTheyWereWritten() throws {
        let report = report([0.5, nil])
        for result in report.results.values {
            #expect(try SweepResult(JSON.parse(result.json.serialized(), name: "r"), in: "r") == result)
        }
        expectError(.format, "result.json: \"development\" is missing") {
            try SweepResult(["settings": [:]], in: "result.json")
        }
        expectError(.incompatible, "result.json: schema must be 1, which this version reads, found 2") {
            try SweepResult(["schema": 2, "settings": [:]], in: "result.json")
        }
    }

    @Test func plots() throws {
        let report = report(
            [0.5, 0.7, 0.8, 0.8, 0.9, 0.6, nil, nil], losses: [run(0, 0, 0): [3, 2, 1], run(1, 0, 0): [3, 1, 1]],
            title: "a & b")
        for svg in [report.metricPlot, report.lossPlot] {
            #expect(svg.contains("a &amp; b") && svg.contains("plain") && svg.contains("gate"))
            #expect(!svg.contains("nan"))
        }
    }
}
