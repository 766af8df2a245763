import Files
import Glibc
import Plotting
import Support

extension SweepReport {
    /// metric.svg: the metric on the development examples against the first axis, a line for each series, with one
    /// standard deviation over seeds.
    public var metricPlot: String {
        var chart = LineChart(title: title, xLabel: axis.name, yLabel: "\(metric.title), development")
        if let counts = axis.counts {
            chart.axis = .logarithmic(counts.sorted())
        } else {
            chart.axis = .categories(axis.values)
        }
        let all = series
        for (number, series) in all.enumerated() {
            // A little beside each other, so that error bars can be told apart.
            let places = places(shift: 0.01 * (Double(number) - Double(all.count - 1) / 2))
            let points = zip(places, axis.values).compactMap { place, value -> LineChart.Point? in
                guard let spread = cell(series, value).spread else { return nil }
                return LineChart.Point(
                    x: place, y: metric.shown(spread.mean), spread: metric.shown(spread.deviation ?? 0))
            }
            guard !points.isEmpty else { continue }
            var line = LineChart.Line(name: series.name, points: points.sorted { $0.x < $1.x }, number: number)
            line.spreadStyle = .errorBars
            chart.lines.append(line)
        }
        return chart.svg
    }

    /// The places of the first axis's values in metric.svg.
    /// - Parameter shift: to the right, in shares of the axis.
    private func places(shift: Double) -> [Double] {
        guard let counts = axis.counts?.map(Double.init), let low = counts.min(), let high = counts.max() else {
            return axis.values.indices.map { Double($0 + 1) + shift * Double(axis.values.count) }
        }
        return counts.map { $0 * pow(max(high / low, 1.2), shift) }
    }

    /// loss.svg: for each value of the first axis a chart with the running mean of the training loss of each series, the
    /// mean over seeds.
    public var lossPlot: String {
        let charts = axis.values.map { value -> ChartPanel.Chart in
            var chart = LineChart(
                title: "\(axis.name) \(value)", xLabel: "step", yLabel: "training loss")
            for (number, series) in series.enumerated() {
                let means = runs(series, value).compactMap { curves[$0]?.means }
                guard let steps = means.map(\.count).min(), steps > 0 else { continue }
                var line = LineChart.Line(
                    name: series.name,
                    points: Self.shownSteps(of: steps).map { step in
                        let sum = means.reduce(0) { $0 + $1[step - 1] }
                        return LineChart.Point(x: Double(step), y: sum / Double(means.count))
                    }, number: number)
                line.hasDots = false
                line.width = 1.5
                chart.lines.append(line)
            }
            return .lines(chart)
        }
        return ChartPanel(title: "Training loss, running mean. \(title)", charts: charts).svg
    }

    /// At most about 300 steps, the last among them: more are not seen.
    private static func shownSteps(of count: Int) -> [Int] {
        let stride = max(1, count / 300)
        return Swift.stride(from: count, to: 0, by: -stride).reversed()
    }
}
