import Glibc
import Support

/// A loss curve as an SVG picture: training loss (each step thin, a running mean thick) and, where there are any, the
/// losses on the development set. Written here because no plotting library can be had for Swift on Linux.
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
    public var training: [Point] = []
    public var development: [Point] = []

    public init(title: String) { self.title = title }

    private static let size = (width: 720.0, height: 420.0)
    private static let margin = (left: 70.0, right: 24.0, top: 44.0, bottom: 54.0)

    /// The picture; readable on white and on dark pages, since it draws its own background.
    public var svg: String {
        let smooth = runningMean(window: max(1, training.count / 40))
        let all = smooth + development
        let steps = max(1, (training + development).map(\.step).max() ?? 1)
        let values = all.map(\.loss).filter(\.isFinite)
        let (low, high) = bounds(values.min() ?? 0, values.max() ?? 1)
        let (size, margin) = (Self.size, Self.margin)
        func x(_ step: Double) -> Double { margin.left + step / Double(steps) * (size.width - margin.left - margin.right) }
        func y(_ loss: Double) -> Double {
            let clamped = min(max(loss, low), high)
            return margin.top + (high - clamped) / (high - low) * (size.height - margin.top - margin.bottom)
        }
        func path(_ points: [Point]) -> String {
            points.filter(\.loss.isFinite).map { "\(fixed(x(Double($0.step)), 1)),\(fixed(y($0.loss), 1))" }.joined(separator: " ")
        }
        var lines: [String] = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(Int(size.width))\" height=\"\(Int(size.height))\" viewBox=\"0 0 \(Int(size.width)) \(Int(size.height))\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#333\">",
            "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>",
            "<text x=\"\(fixed(margin.left, 0))\" y=\"26\" font-size=\"16\">\(escaped(title))</text>",
        ]
        let lossTicks = ticks(low, high)
        for tick in lossTicks.values {
            let position = fixed(y(tick), 1)
            lines.append(
                "<line x1=\"\(fixed(margin.left, 0))\" x2=\"\(fixed(size.width - margin.right, 0))\" y1=\"\(position)\" y2=\"\(position)\" stroke=\"#ddd\"/>"
            )
            lines.append(
                "<text x=\"\(fixed(margin.left - 8, 0))\" y=\"\(fixed(y(tick) + 4, 1))\" text-anchor=\"end\">\(fixed(tick, lossTicks.decimals))</text>"
            )
        }
        for tick in ticks(0, Double(steps)).values where tick == tick.rounded() {
            lines.append(
                "<text x=\"\(fixed(x(tick), 1))\" y=\"\(fixed(size.height - margin.bottom + 20, 0))\" text-anchor=\"middle\">\(Int(tick))</text>"
            )
        }
        lines.append(
            "<text x=\"\(fixed((margin.left + size.width - margin.right) / 2, 0))\" y=\"\(fixed(size.height - 14, 0))\" text-anchor=\"middle\">step</text>"
        )
        lines.append(
            "<text transform=\"translate(18 \(fixed(size.height / 2, 0))) rotate(-90)\" text-anchor=\"middle\">loss (nats per token)</text>"
        )
        lines.append("<polyline points=\"\(path(training))\" fill=\"none\" stroke=\"#9ecae1\" stroke-width=\"0.7\"/>")
        lines.append("<polyline points=\"\(path(smooth))\" fill=\"none\" stroke=\"#1f77b4\" stroke-width=\"2\"/>")
        lines.append("<polyline points=\"\(path(development))\" fill=\"none\" stroke=\"#d95f02\" stroke-width=\"1.5\"/>")
        for point in development where point.loss.isFinite {
            lines.append(
                "<circle cx=\"\(fixed(x(Double(point.step)), 1))\" cy=\"\(fixed(y(point.loss), 1))\" r=\"3.5\" fill=\"#d95f02\"/>")
        }
        let legend = size.width - margin.right - 150
        lines.append("<rect x=\"\(fixed(legend, 0))\" y=\"14\" width=\"14\" height=\"4\" fill=\"#1f77b4\"/>")
        lines.append("<text x=\"\(fixed(legend + 20, 0))\" y=\"20\">training (mean)</text>")
        if !development.isEmpty {
            lines.append("<circle cx=\"\(fixed(legend + 7, 0))\" cy=\"32\" r=\"3.5\" fill=\"#d95f02\"/>")
            lines.append("<text x=\"\(fixed(legend + 20, 0))\" y=\"36\">development</text>")
        }
        lines.append("</svg>")
        return lines.joined(separator: "\n") + "\n"
    }

    private func runningMean(window: Int) -> [Point] {
        var sum = 0.0
        return training.enumerated().map { index, point in
            sum += point.loss
            if index >= window { sum -= training[index - window].loss }
            return Point(step: point.step, loss: sum / Double(min(index + 1, window)))
        }
    }

    private func bounds(_ low: Double, _ high: Double) -> (Double, Double) {
        let span = max(high - low, 1e-6)
        return (max(0, low - 0.05 * span), high + 0.05 * span)
    }

    /// Four to nine round numbers in a range, and the decimals that tell them apart.
    private func ticks(_ low: Double, _ high: Double) -> (values: [Double], decimals: Int) {
        let rough = (high - low) / 8
        let power = pow(10, floor(log10(max(rough, 1e-12))))
        let step = [1, 2, 5].map { $0 * power }.first { $0 >= rough } ?? 10 * power
        return (
            stride(from: ceil(low / step) * step, through: high, by: step).map { $0 },
            max(0, Int(-floor(log10(step * 1.0001))))
        )
    }

    private func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
    }
}
