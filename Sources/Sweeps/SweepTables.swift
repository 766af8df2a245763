import Files
import Support

extension SweepReport {
    /// results.jsonl: a line for each run that has a result, in the order of training.
    public func lines() throws -> String {
        try plan.runs.compactMap { run in
            try results[run].map { result -> String in
                let point = JSON.object(run.point.settings.map { (key: $0.name, value: .string($0.value)) })
                let head: [(key: String, value: JSON)] = [
                    ("variant", .string(run.variant.name)), ("values", point), ("seed", .string("\(run.seed)")),
                ]
                return try JSON.object(head + (result.json.objectValue ?? [])).serialized() + "\n"
            }
        }.joined()
    }

    /// results.md.
    public var markdown: String {
        var parts = ["# \(title)"]
        if missing > 0 { parts.append("\(missing) of \(plan.runs.count) runs have no result yet.") }
        parts += section("Development: \(metric.title)", metric) { $0.development }
        parts += summaries + steps
        for other in developmentMetrics.dropFirst() {
            parts += section("Development: \(other.title)", other) { $0.development }
        }
        for metric in testMetrics { parts += section("Test: \(metric.title)", metric) { $0.test } }
        parts += costs + failed
        return parts.joined(separator: "\n\n") + "\n"
    }

    /// The table for a terminal: the metric on the development examples.
    public var text: String {
        let rows = table(metric) { $0.development[metric] }
        return (["\(metric.title) on the development examples"] + alignedColumns(rows, between: "  "))
            .joined(separator: "\n")
    }

    private var valueTitles: [String] {
        axis.values.enumerated().map { $0 == 0 ? "\(axis.name) \($1)" : $1 }
    }

    private var seedsText: String { plan.seeds.count == 1 ? "1 seed" : "\(plan.seeds.count) seeds" }

    private func table(_ metric: SweepMetric, _ figure: (SweepResult.Finished) -> Double?) -> [[String]] {
        [["variant"] + valueTitles]
            + series.map { series in
                [series.name] + axis.values.map { words(cell(series, $0, figure), metric) }
            }
    }

    /// "81.20 ± 0.40", with the count where it is not of all seeds.
    private func words(_ cell: Cell, _ metric: SweepMetric) -> String {
        guard let spread = cell.spread else { return cell.failed > 0 ? "failed" : "–" }
        let deviation = spread.deviation.map { " ± " + metric.text($0) } ?? ""
        return metric.text(spread.mean) + deviation
            + (spread.count < cell.seeds ? " (\(spread.count) of \(cell.seeds))" : "")
    }

    private func section(
        _ heading: String, _ metric: SweepMetric, _ figures: (SweepResult.Finished) -> SweepFigures?
    ) -> [String] {
        let note = plan.seeds.count == 1 ? "One seed." : "Mean ± standard deviation over \(seedsText)."
        return ["## \(heading)", note, markdownTable(table(metric) { figures($0)?[metric] })]
    }

    /// The best value and how far the values lie apart.
    private var summaries: [String] {
        let hasTest = testMetrics.contains(metric)
        let columns =
            ["variant", "best", "at \(axis.name)"] + (hasTest ? ["test there"] : []) + ["range", "deviation"]
        let rows = series.map { series -> [String] in
            guard let summary = summary(series) else { return [series.name] + columns.dropFirst().map { _ in "–" } }
            let test = hasTest ? [words(cell(series, summary.best.value) { $0.test?[metric] }, metric)] : []
            let spread = [summary.range, summary.deviation].map { $0.map(metric.text) ?? "–" }
            return [series.name, metric.text(summary.best.mean), summary.best.value] + test + spread
        }
        return [
            "## Over \(axis.name): \(metric.title)",
            "Of the means on the development examples: the best, the greatest less the least, and their standard deviation."
                + (hasTest ? " The test examples are looked at where the development examples are best." : ""),
            markdownTable([columns] + rows),
        ]
    }

    private var steps: [String] {
        let first = plan.variants[0].name
        let rows = series.map { series in
            [series.name]
                + axis.values.map { value -> String in
                    let reaching = reaching(series, value)
                    guard reaching.seeds > 0 else { return "–" }
                    guard let step = reaching.meanStep else { return "not reached" }
                    return fixed(step, 0)
                        + (reaching.reached < reaching.seeds ? " (\(reaching.reached) of \(reaching.seeds))" : "")
                }
        }
        return [
            "## Steps to the training loss of \(first)",
            "The first step at which the running mean of the training loss is at or below the one that \(first) ends "
                + "with, with the same settings and seed; mean over the seeds that reach it. The running mean is over a "
                + "tenth of all steps, for all variants.",
            markdownTable([["variant"] + valueTitles] + rows),
        ]
    }

    private var costs: [String] {
        func rows(_ words: (Series, String) -> String) -> [[String]] {
            [["variant"] + valueTitles] + series.map { series in [series.name] + axis.values.map { words(series, $0) } }
        }
        func mean(_ series: Series, _ value: String, _ figure: (SweepResult.Finished) -> Double) -> String {
            cell(series, value, figure).spread.map { fixed($0.mean, 0) } ?? "–"
        }
        return [
            "## Trained parameters", markdownTable(rows { mean($0, $1) { Double($0.trainedParameters) } }),
            "## Seconds of training", markdownTable(rows { mean($0, $1) { $0.seconds } }),
        ]
    }

    private var failed: [String] {
        guard !failures.isEmpty else { return [] }
        return ["## Failed runs", failures.map { "- \($0.run.title): \($0.sentence)" }.joined(separator: "\n")]
    }
}
