import Glibc
import Support

/// Lines over a common pair of axes as an SVG picture, readable on white and on dark pages, since it draws its own
/// background. Written here because no plotting library can be had for Swift on Linux.
///
/// A value type; points that are not finite are left out.
public struct LineChart: Sendable {
    /// One point of a line.
    public struct Point: Sendable {
        /// Where it stands, in the units of the axes.
        public let x, y: Double
        /// How far the line's band reaches above and below it; 0 for none.
        public let spread: Double

        /// A point, with a spread where it was measured several times.
        public init(x: Double, y: Double, spread: Double = 0) {
            self.x = x
            self.y = y
            self.spread = spread
        }

        var isFinite: Bool { x.isFinite && y.isFinite && spread.isFinite }
    }

    /// One line with its place in the legend.
    public struct Line: Sendable {
        /// The legend's words; nil leaves the line out of the legend, and the vertical axis need not show all of it.
        public var name: String?
        /// The points, by rising x.
        public var points: [Point]
        /// An SVG colour.
        public var colour: String
        /// Stroke width in pixels.
        public var width = 2.0
        /// Whether each point is marked by a dot.
        public var hasDots = false
        /// Dashes instead of a solid stroke.
        public var isDashed = false

        /// A solid line of two pixels without dots.
        public init(name: String?, points: [Point], colour: String) {
            self.name = name
            self.points = points
            self.colour = colour
        }
    }

    /// What the horizontal axis shows.
    public enum Axis: Sendable {
        /// From 0 on in equal steps, labelled at round whole numbers.
        case counts
        /// Each of these values, above 0 and rising, at the logarithm of its place, labelled as it is.
        case logarithmic([Int])
    }

    /// Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008), without the yellow, which is
    /// too pale on white.
    public static let colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000"]

    /// The words above the picture and along the axes.
    public var title, xLabel, yLabel: String
    /// The horizontal axis.
    public var axis = Axis.counts
    /// The lines, later ones in front.
    public var lines: [Line] = []
    /// A picture without lines yet.
    public init(title: String, xLabel: String, yLabel: String) {
        self.title = title
        self.xLabel = xLabel
        self.yLabel = yLabel
    }

    private static let size = (width: 720.0, height: 420.0)
    private static let margin = (left: 70.0, right: 24.0, top: 44.0, bottom: 54.0)

    /// The picture.
    public var svg: String {
        let plane = Plane(self)
        let (size, margin) = (Self.size, Self.margin)
        let named = lines.filter { $0.name != nil }
        // The legend stands beside the plane when it does not fit above it.
        let legendWidth = named.count > 2 ? Self.legendWidth(named) : 0
        let width = size.width + legendWidth
        var parts = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(Int(width))\" height=\"\(Int(size.height))\""
                + " viewBox=\"0 0 \(Int(width)) \(Int(size.height))\" font-family=\"sans-serif\" font-size=\"13\""
                + " fill=\"#333\">",
            "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>",
            "<text x=\"\(fixed(margin.left, 0))\" y=\"26\" font-size=\"16\">\(escaped(title))</text>",
        ]
        parts += grid(plane)
        // Bands lie behind all lines.
        for line in lines { parts += band(line, plane) }
        for line in lines { parts += draw(line, plane) }
        let left = legendWidth > 0 ? size.width - margin.right + 20 : size.width - margin.right - 150
        for (place, line) in named.enumerated() {
            let y = (legendWidth > 0 ? margin.top + 8 : 16) + (legendWidth > 0 ? 22 : 16) * Double(place)
            parts += legend(line, left, y)
        }
        return (parts + ["</svg>"]).joined(separator: "\n") + "\n"
    }

    /// Where values stand in the picture.
    private struct Plane {
        let low, high: Double
        let first, last: Double
        let isLogarithmic: Bool

        init(_ chart: LineChart) {
            let points = chart.lines.flatMap(\.points).filter(\.isFinite)
            let shown = chart.lines.filter { $0.name != nil }.flatMap(\.points).filter(\.isFinite)
            let bottom = shown.map { $0.y - $0.spread }.min() ?? 0
            let top = shown.map { $0.y + $0.spread }.max() ?? 1
            let margin = 0.05 * max(top - bottom, 1e-6)
            low = max(min(0, bottom), bottom - margin)
            high = max(top + margin, low + 1e-6)
            switch chart.axis {
            case .counts:
                isLogarithmic = false
                first = 0
                last = max(1, points.map(\.x).max() ?? 1)
            case .logarithmic(let values):
                isLogarithmic = true
                let places = values.filter { $0 > 0 }.map { log(Double($0)) }
                // Room on both sides, and a width when there is one value only.
                let (left, right) = (places.min() ?? 0, places.max() ?? 0)
                let room = max(0.06 * (right - left), 0.1)
                first = left - room
                last = right + room
            }
        }

        func x(_ value: Double) -> Double {
            let value = isLogarithmic ? log(max(value, 1e-300)) : value
            let inner = LineChart.size.width - LineChart.margin.left - LineChart.margin.right
            return LineChart.margin.left + min(max((value - first) / (last - first), 0), 1) * inner
        }

        func y(_ value: Double) -> Double {
            let inner = LineChart.size.height - LineChart.margin.top - LineChart.margin.bottom
            return LineChart.margin.top + (high - min(max(value, low), high)) / (high - low) * inner
        }
    }

    private func grid(_ plane: Plane) -> [String] {
        let (size, margin) = (Self.size, Self.margin)
        let (left, right) = (fixed(margin.left, 0), fixed(size.width - margin.right, 0))
        var parts: [String] = []
        let marks = Self.ticks(plane.low, plane.high)
        for tick in marks.values {
            let y = fixed(plane.y(tick), 1)
            parts.append("<line x1=\"\(left)\" x2=\"\(right)\" y1=\"\(y)\" y2=\"\(y)\" stroke=\"#ddd\"/>")
            parts.append(
                "<text x=\"\(fixed(margin.left - 8, 0))\" y=\"\(fixed(plane.y(tick) + 4, 1))\" text-anchor=\"end\">"
                    + "\(fixed(tick, marks.decimals))</text>")
        }
        let places: [Double] =
            switch axis {
            case .counts: Self.ticks(0, plane.last).values.filter { $0 == $0.rounded() }
            case .logarithmic(let values): values.map(Double.init)
            }
        for place in places {
            parts.append(
                "<text x=\"\(fixed(plane.x(place), 1))\" y=\"\(fixed(size.height - margin.bottom + 20, 0))\""
                    + " text-anchor=\"middle\">\(fixed(place, 0))</text>")
        }
        let middle = fixed((margin.left + size.width - margin.right) / 2, 0)
        parts.append(
            "<text x=\"\(middle)\" y=\"\(fixed(size.height - 14, 0))\" text-anchor=\"middle\">"
                + "\(escaped(xLabel))</text>")
        parts.append(
            "<text transform=\"translate(18 \(fixed(size.height / 2, 0))) rotate(-90)\" text-anchor=\"middle\">"
                + "\(escaped(yLabel))</text>")
        return parts
    }

    private func corners(_ points: [Point], _ plane: Plane, _ height: (Point) -> Double) -> String {
        points.map { "\(fixed(plane.x($0.x), 1)),\(fixed(plane.y(height($0)), 1))" }.joined(separator: " ")
    }

    private func band(_ line: Line, _ plane: Plane) -> [String] {
        let points = line.points.filter(\.isFinite)
        guard points.contains(where: { $0.spread > 0 }) else { return [] }
        let top = corners(points, plane) { $0.y + $0.spread }
        let bottom = corners(points.reversed(), plane) { $0.y - $0.spread }
        // The outline shows the spread of a single point, whose band has no width.
        return [
            "<polygon points=\"\(top) \(bottom)\" fill=\"\(line.colour)\" fill-opacity=\"0.13\""
                + " stroke=\"\(line.colour)\" stroke-opacity=\"0.2\"/>"
        ]
    }

    private func draw(_ line: Line, _ plane: Plane) -> [String] {
        let points = line.points.filter(\.isFinite)
        let path =
            "<polyline points=\"\(corners(points, plane, \.y))\" fill=\"none\" stroke=\"\(line.colour)\""
            + " stroke-width=\"\(line.width)\"\(line.isDashed ? " stroke-dasharray=\"7 5\"" : "")/>"
        guard line.hasDots else { return [path] }
        return [path]
            + points.map { point in
                let (x, y) = (fixed(plane.x(point.x), 1), fixed(plane.y(point.y), 1))
                return "<circle cx=\"\(x)\" cy=\"\(y)\" r=\"3.5\" fill=\"\(line.colour)\"/>"
            }
    }

    private func legend(_ line: Line, _ left: Double, _ y: Double) -> [String] {
        let dash = line.isDashed ? " stroke-dasharray=\"7 5\"" : ""
        var parts = [
            "<line x1=\"\(fixed(left, 0))\" x2=\"\(fixed(left + 22, 0))\" y1=\"\(fixed(y, 0))\" y2=\"\(fixed(y, 0))\""
                + " stroke=\"\(line.colour)\" stroke-width=\"\(line.width)\"\(dash)/>"
        ]
        if line.hasDots {
            parts.append(
                "<circle cx=\"\(fixed(left + 11, 0))\" cy=\"\(fixed(y, 0))\" r=\"3.5\" fill=\"\(line.colour)\"/>")
        }
        let name = escaped(line.name ?? "")
        return parts + ["<text x=\"\(fixed(left + 28, 0))\" y=\"\(fixed(y + 4, 0))\">\(name)</text>"]
    }

    /// Letters of the sans-serif fonts at hand are less than 8 pixels wide on average.
    private static func legendWidth(_ lines: [Line]) -> Double {
        Double(lines.map { $0.name?.count ?? 0 }.max() ?? 0) * 7.5 + 40
    }

    /// Four to nine round numbers in a range, and the decimals that tell them apart.
    private static func ticks(_ low: Double, _ high: Double) -> (values: [Double], decimals: Int) {
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
