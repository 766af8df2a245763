import Support

/// A matrix of values as coloured cells with a colour bar, as an SVG picture on a background of its own: say, the weight
/// of each prefix token over the steps of training.
///
/// A value type. Row 0 is at the top. Values that are not finite (or beyond 1e150), and those missing at the end of a
/// short row, stay grey; values beyond the range have the colour of its nearer end; a line below the picture says so
/// where there are any.
public struct HeatMap: Sendable {
    /// The words above the picture and along the axes; `valueLabel` stands along the colour bar.
    public var title, xLabel, yLabel, valueLabel: String
    /// Rows from the top, each from left to right. The longest row gives the number of columns.
    public var values: [[Double]]
    /// The values at the ends of the colour bar; nil for the least and the greatest value. A range without width, or one
    /// that is not finite, counts as nil.
    public var range: ClosedRange<Double>?
    /// The colours from the lowest value to the highest.
    public var colours = ColourMap.viridis
    /// The number of the first row, as the vertical axis labels it.
    public var firstRow = 1
    /// The number of the first column and how much each further one adds (1 or more), as the horizontal axis labels it.
    public var firstColumn = 1, columnStep = 1
    /// About the size of the picture in pixels, at least 240 x 180. The cells have whole pixels, and at most 40 each way,
    /// so that the picture may come out smaller, or larger for more cells than pixels.
    public var width = 720.0, height = 420.0
    /// About the greatest size of the file in bytes, at least 20,000. More is avoided by fewer colours (64, 32, 16), then by
    /// drawing means of neighbouring cells; a line below the picture says so in the second case.
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
            range.upperBound - range.lowerBound > 1e-12 * range.upperBound.magnitude
        {
            return Span(low: range.lowerBound, high: range.upperBound)
        }
        let known = values.joined().filter(\.isDrawable)
        guard let low = known.min(), let high = known.max(), high - low > 1e-9 * max(low.magnitude, high.magnitude)
        else { return Span(around: Array(known.prefix(1))) }
        return Span(low: low, high: high)
    }

    private var notes: [String] {
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

    func drawing() -> Drawing {
        let (width, height) = (side(width, atLeast: 240), side(height, atLeast: 180))
        let bar = 18.0
        let line = Words.size * Words.leading
        let span = span
        let cells = HeatMapCells(self, span: span)
        let (rows, columns) = (values.count, values.map(\.count).max() ?? 0)
        let lastRow = Double(firstRow) + Double(max(rows, 1) - 1)

        // Left and right margins depend on the labels' widths, which hardly depend on the plane's height.
        let barTicks = Ticks(span.low, span.high, most: max(2, min(8, Int((height - 110) / 36))))
        let upright = Words.lines(yLabel, width: max(height - 110, 60))
        let uprightValues = Words.lines(valueLabel, width: max(height - 110, 60))
        let rowWidth = max(Words.width(fixed(lastRow, 0)), Words.width(fixed(Double(firstRow), 0)))
        let left = rowWidth + 20 + line * Double(upright.count)
        let right = 20 + bar + 10 + barTicks.width + 10 + line * Double(uprightValues.count)
        let cellWidth = Self.cell(width - left - right, columns)
        let inner = max(cellWidth * Double(columns), 100)
        let heading = Words.lines(title, width: max(inner + right - 12, 200), size: Words.titleSize)
        let top = 24 + Words.titleSize * Words.leading * Double(heading.count)
        let below = Words.lines(xLabel, width: max(inner, 120))
        let cellHeight = Self.cell(height - top - 38 - line * Double(below.count), rows)
        let tall = max(cellHeight * Double(rows), 100)
        let bottom = top + tall

        var parts = Words.block(heading, 20, 26, size: Words.titleSize)
        parts.append(
            "<rect x=\"\(pixels(left))\" y=\"\(pixels(top))\" width=\"\(pixels(inner))\" height=\"\(pixels(tall))\""
                + " fill=\"#ddd\"/>")
        if rows > 0, columns > 0 {
            parts.append(
                "<svg x=\"\(pixels(left))\" y=\"\(pixels(top))\" width=\"\(pixels(cellWidth * Double(columns)))\""
                    + " height=\"\(pixels(cellHeight * Double(rows)))\" viewBox=\"0 0 \(columns) \(rows)\""
                    + " preserveAspectRatio=\"none\" shape-rendering=\"crispEdges\">")
            parts += cells.paths + ["</svg>"]
            let last = Double(firstColumn) + Double(columns - 1) * step
            let most = Int(inner / (Words.width(fixed(last, 0)) + 16))
            let ticks = Ticks(Double(firstColumn), last, most: max(1, min(10, most)), isWhole: true)
            parts += ticks.below(bottom) { left + (($0 - Double(firstColumn)) / step + 0.5) * cellWidth }
            let rowTicks = Ticks(
                Double(firstRow), lastRow, most: max(1, min(10, Int(tall / 28))), isWhole: true)
            for (value, label) in zip(rowTicks.values, rowTicks.labels) {
                let y = top + (value - Double(firstRow) + 0.5) * cellHeight
                parts.append(stroke(left - 5, y, left, y, "stroke=\"#999\""))
                parts.append(Words.text(label, left - 8, y + 4, .end))
            }
        }
        parts += Words.block(below, left + inner / 2, bottom + 40, .middle)
        parts += Words.upwards(upright, 2 + line * Double(upright.count), (top + bottom) / 2)
        parts += colourBar(
            x: left + inner + 20, top: top, bottom: bottom, width: bar, span: span, levels: cells.levels, ticks: barTicks)
        let end = left + inner + right
        parts += Words.upwards(uprightValues, end - 6, (top + bottom) / 2)

        var y = bottom + 40 + line * Double(below.count)
        for note in notes + cells.notes {
            let lines = Words.lines(note, width: end - 40)
            parts += Words.block(lines, 20, y)
            y += line * Double(lines.count)
        }
        return Drawing(width: end + 6, height: y, elements: parts)
    }

    private var step: Double { Double(max(columnStep, 1)) }

    /// Whole pixels for each of `count` cells in about so many pixels.
    private static func cell(_ pixels: Double, _ count: Int) -> Double {
        count > 0 ? min(max((pixels / Double(count)).rounded(), 1), 40) : 0
    }

    private func colourBar(
        x: Double, top: Double, bottom: Double, width: Double, span: Span, levels: Int, ticks: Ticks
    ) -> [String] {
        let step = (bottom - top) / Double(levels)
        // Each piece reaches below the next, so that no background shines through between them.
        var parts = (0..<levels).reversed().map { level in
            let upper = bottom - step * Double(level + 1)
            return "<rect x=\"\(pixels(x))\" y=\"\(pixels(upper))\" width=\"\(pixels(width))\""
                + " height=\"\(pixels(min(step + 1, bottom - upper)))\" fill=\"\(colour(level, of: levels))\"/>"
        }
        for (value, label) in zip(ticks.values, ticks.labels) {
            let y = bottom - (value - span.low) / (span.high - span.low) * (bottom - top)
            parts.append(stroke(x + width, y, x + width + 5, y, "stroke=\"#999\""))
            parts.append(Words.text(label, x + width + 8, y + 4))
        }
        return parts
    }

    /// The colour of a level, that of the middle of its values.
    func colour(_ level: Int, of levels: Int) -> String { colours.colour((Double(level) + 0.5) / Double(levels)) }
}
