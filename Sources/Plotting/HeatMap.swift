/// A matrix of values as coloured cells with a colour bar, as an SVG picture on a background of its own: say, the
/// weight of each prefix token over the steps of training.
///
/// A value type. Row 0 is at the top. Values that are not finite (or beyond 1e150), and those missing at the end of a
/// short row, stay grey; values beyond the range have the colour of its nearer end; a line below the picture says so
/// where there are any.
public struct HeatMap: Sendable {
    /// The words above the picture and along the axes; `valueLabel` stands along the colour bar.
    public var title, xLabel, yLabel, valueLabel: String
    /// Rows from the top, each from left to right. The longest row gives the number of columns.
    public var values: [[Double]]
    /// The values at the ends of the colour bar; nil for the least and the greatest value. A range without width, or
    /// one that is not finite, counts as nil.
    public var range: ClosedRange<Double>?
    /// The colours from the lowest value to the highest.
    public var colours = ColourMap.viridis
    /// The number of the first row, as the vertical axis labels it.
    public var firstRow = 1
    /// The number of the first column and how much each further one adds (1 or more), as the horizontal axis labels it.
    public var firstColumn = 1, columnStep = 1
    /// About the size of the picture in pixels, at least 240 x 180. The cells have whole pixels, and at most 40 each
    /// way, so that the picture may come out smaller, or larger for more cells than pixels.
    public var width = 720.0, height = 420.0
    /// About the greatest size of the file in bytes, at least 20,000. More is avoided by fewer colours (64 down to 16),
    /// then by drawing means of neighbouring cells; a line below the picture says so in the second case.
    public var byteLimit = 280_000

    /// A picture of these values.
    public init(title: String, xLabel: String, yLabel: String, valueLabel: String, values: [[Double]]) {
        self.title = title
        self.xLabel = xLabel
        self.yLabel = yLabel
        self.valueLabel = valueLabel
        self.values = values
    }

    /// The picture.
    public var svg: String { drawing().svg }

    /// The values at the ends of the colour bar.
    var span: Span {
        if let range, range.lowerBound.isDrawable, range.upperBound.isDrawable,
            range.upperBound - range.lowerBound > max(1e-150, 1e-12 * range.upperBound.magnitude)
        {
            return Span(low: range.lowerBound, high: range.upperBound)
        }
        let known = values.joined().filter(\.isDrawable)
        guard let low = known.min(), let high = known.max(),
            high - low > max(1e-150, 1e-9 * max(low.magnitude, high.magnitude))
        else { return Span(around: Array(known.prefix(1))) }
        return Span(low: low, high: high)
    }

    var notes: [String] {
        let columns = values.map(\.count).max() ?? 0
        let span = span
        var notes: [String] = []
        if values.contains(where: { $0.count < columns || !$0.allSatisfy(\.isDrawable) }) {
            notes.append("Grey: no value.")
        }
        let beyond = values.joined().contains { $0.isDrawable && ($0 < span.low || $0 > span.high) }
        if beyond { notes.append("Values beyond the colours' range have the colour of its nearer end.") }
        return notes
    }

    /// The colour of a level, that of the middle of its values.
    func colour(_ level: Int, of levels: Int) -> String { colours.colour((Double(level) + 0.5) / Double(levels)) }
}
