/// Lines over a common pair of axes as an SVG picture, readable on white and on dark pages, since it draws its own
/// background. Written here because no plotting library can be had for Swift on Linux.
///
/// A value type. Values that are not finite (or beyond 1e150), and on a logarithmic axis places that are not above 0,
/// are left out: the line has a gap there.
public struct LineChart: Sendable {
    /// One point of a line.
    public struct Point: Sendable {
        /// The place of the point, in the units of the axes.
        public let x, y: Double
        /// Ends of the point's spread, in the units of `y` (not distances from it): a confidence interval, quantiles,
        /// or mean ± standard deviation over seeds. Both equal to `y` for no spread; not finite where it is unknown.
        public let low, high: Double

        /// A point with a spread from `low` to `high`.
        public init(x: Double, y: Double, low: Double, high: Double) {
            self.x = x
            self.y = y
            self.low = low
            self.high = high
        }

        /// A point, with a spread of this much above and below where it was measured several times.
        public init(x: Double, y: Double, spread: Double = 0) {
            self.init(x: x, y: y, low: y - spread, high: y + spread)
        }
    }

    /// How the spread of a line's points is drawn.
    public enum SpreadStyle: Sendable {
        /// A transparent band in the line's colour.
        case band
        /// A bar with caps through each point, which reads better than bands where many lines overlap.
        case errorBars
    }

    /// The shape of the marks at points, so that lines differ without their colours, too.
    public enum Marker: Sendable, CaseIterable {
        case circle, square, triangle, diamond
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
        /// Whether each point is marked.
        public var hasDots = false
        /// The shape of the marks.
        public var marker = Marker.circle
        /// Dashes instead of a solid stroke.
        public var isDashed = false
        /// How the spread of the points is drawn.
        public var spreadStyle = SpreadStyle.band

        /// A solid line of two pixels without dots.
        public init(name: String?, points: [Point], colour: String) {
            self.name = name
            self.points = points
            self.colour = colour
        }

        /// The line with this number, from 0 on, with marks at its points. The first 28 numbers differ in colour, and
        /// neighbours also in the shape of the marks; from the eighth on, every second seven are dashed.
        public init(name: String, points: [Point], number: Int) {
            let number = max(number, 0)
            self.init(name: name, points: points, colour: LineChart.colours[number % LineChart.colours.count])
            hasDots = true
            marker = Marker.allCases[number % Marker.allCases.count]
            isDashed = number / LineChart.colours.count % 2 == 1
        }
    }

    /// What the horizontal axis shows.
    public enum Axis: Sendable {
        /// Numbers from 0 on in equal steps, labelled at round whole numbers.
        case counts
        /// Each of these values, above 0 and rising, at the logarithm of its place, labelled as it is. Where two stand
        /// too close for their labels, only the first has one.
        case logarithmic([Int])
        /// These words in equal steps, the first at 1, the second at 2. Labelled as values of a logarithmic axis are.
        case categories([String])
    }

    /// Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008), without the yellow, which is
    /// too pale on white.
    public static let colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000"]

    /// The words above the picture and along the axes.
    public var title, xLabel, yLabel: String
    /// The horizontal axis.
    public var axis = Axis.counts
    /// The vertical axis; nil for what the named lines and their spreads need. A range without height, or one that is
    /// not finite, counts as nil.
    public var yRange: ClosedRange<Double>?
    /// The least end of an axis of counts, so that several charts can have the same.
    var xEnd: Double?
    /// The lines, later ones in front.
    public var lines: [Line] = []
    /// The size of the picture in pixels, at least 240 x 180, without a legend beside it, which makes it wider: one or
    /// two short names stand above the plane, others beside it, so that no line is covered.
    public var width = 720.0, height = 420.0

    /// A picture without lines yet.
    public init(title: String, xLabel: String, yLabel: String) {
        self.title = title
        self.xLabel = xLabel
        self.yLabel = yLabel
    }

    /// The picture.
    public var svg: String { drawing().svg }
}

extension LineChart.Point {
    var hasSpread: Bool { low.isDrawable && high.isDrawable }
}

extension LineChart.Line {
    /// Stretches of points that are shown, in order, between those that are not.
    func runs(_ isShown: (LineChart.Point) -> Bool) -> [[LineChart.Point]] {
        points.split { !isShown($0) }.map(Array.init)
    }

    var dashes: String { isDashed ? " stroke-dasharray=\"7 5\"" : "" }
}
