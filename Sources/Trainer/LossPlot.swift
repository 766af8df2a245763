import Plotting

/// A loss curve as an SVG picture: training loss (each step thin, a running mean thick) and, where there are any, the
/// losses on the development set.
public struct LossPlot {
    public struct Point: Sendable {
        public let step: Int
        public let loss: Double
        public init(step: Int, loss: Double) {
            self.step = step
            self.loss = loss
        }
    }

    public var title: String
    /// What the loss is a mean over: "token" or "example".
    public var unit: String
    public var training: [Point] = []
    public var development: [Point] = []

    public init(title: String, unit: String = "token") {
        self.title = title
        self.unit = unit
    }

    /// The picture.
    public var svg: String {
        func points(_ points: [Point]) -> [LineChart.Point] { points.map { .init(x: Double($0.step), y: $0.loss) } }
        var chart = LineChart(title: title, xLabel: "step", yLabel: "loss (nats per \(unit))")
        // Without a name: single steps may lie far off and do not stretch the axis.
        var single = LineChart.Line(name: nil, points: points(training), colour: "#9ecae1")
        single.width = 0.7
        let mean = LineChart.Line(
            name: "training (mean)", points: points(runningMean(window: max(1, training.count / 40))),
            colour: "#1f77b4")
        chart.lines = [single, mean]
        if !development.isEmpty {
            var line = LineChart.Line(name: "development", points: points(development), colour: "#d95f02")
            line.width = 1.5
            line.hasDots = true
            chart.lines.append(line)
        }
        return chart.svg
    }

    private func runningMean(window: Int) -> [Point] {
        var sum = 0.0
        return training.enumerated().map { index, point in
            sum += point.loss
            if index >= window { sum -= training[index - window].loss }
            return Point(step: point.step, loss: sum / Double(min(index + 1, window)))
        }
    }
}
