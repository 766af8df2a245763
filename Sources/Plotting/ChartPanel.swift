/// Several charts in one SVG picture, in a grid under a common title: say, the loss of four variants, with one
/// chart for each length of a prefix.
///
/// A value type.
public struct ChartPanel: Sendable {
    /// One chart of the grid.
    public enum Chart: Sendable {
        case lines(LineChart)
        case heatMap(HeatMap)
    }

    /// The words above all charts.
    public var title: String
    /// The charts, row by row. Their own sizes do not count.
    public var charts: [Chart]
    /// Charts in a row; nil for a grid about as wide as high, of at most four.
    public var columns: Int?
    /// The size of each chart in pixels, at least 240 x 180.
    public var chartWidth = 380.0, chartHeight = 280.0
    /// Whether line charts with the same words along an axis show the same range there, so that they can be compared:
    /// the vertical range that holds all, the longest axis of counts, the values of all logarithmic ones.
    public var sharesAxes = true

    /// A panel of these charts.
    public init(title: String, charts: [Chart]) {
        self.title = title
        self.charts = charts
    }

    /// The picture. Where no name has two different looks, one legend below the title stands for all line charts;
    /// otherwise each has its own.
    public var svg: String {
        let lineCharts = prepared
        let legend = commonLegend(lineCharts.compactMap { $0 })
        let drawings = zip(charts, lineCharts).map { chart, lines in
            switch chart {
            case .lines(let own): (lines ?? own).drawing(hasLegend: legend == nil)
            case .heatMap(let map): sized(map).drawing()
            }
        }
        let columns = min(max(columns ?? self.defaultColumns, 1), max(charts.count, 1))
        let rows = stride(from: 0, to: drawings.count, by: columns).map {
            Array(drawings[$0..<min($0 + columns, drawings.count)])
        }
        let widths = (0..<columns).map { column in
            rows.compactMap { column < $0.count ? $0[column].width : nil }.max() ?? 0
        }
        let width = max(widths.reduce(0, +), 240)
        let heading = Words.lines(title, width: width - 40, size: 20)
        var y = 12 + 20 * Words.leading * Double(heading.count)
        var parts = Words.block(heading, 20, 30, size: 20)
        if let legend {
            let rows = legend.rows(width: width - 40)
            parts += rows.moved(right: 20, down: y + 4)
            y += rows.height + 4
        }
        for row in rows {
            var x = 0.0
            for (drawing, width) in zip(row, widths) {
                parts += drawing.moved(right: x, down: y)
                x += width
            }
            y += row.map(\.height).max() ?? 0
        }
        return Drawing(width: width, height: y + 8, elements: parts).svg
    }

    private var defaultColumns: Int {
        (1...4).first { $0 * $0 >= charts.count } ?? 4
    }

    private func sized(_ map: HeatMap) -> HeatMap {
        var map = map
        (map.width, map.height) = (chartWidth, chartHeight)
        return map
    }

    /// The line charts in their places, with the panel's size and axes.
    private var prepared: [LineChart?] {
        let found = charts.map { chart -> LineChart? in
            guard case .lines(var lines) = chart else { return nil }
            (lines.width, lines.height) = (chartWidth, chartHeight)
            return lines
        }
        guard sharesAxes else { return found }
        // A chart without values has no say.
        let full = found.compactMap { $0 }.filter { $0.yRange != nil || !$0.isEmpty }
        return found.map { $0?.sharing(axesOf: full) }
    }

    /// One legend for all charts; nil where a name looks different in two of them.
    private func commonLegend(_ charts: [LineChart]) -> Legend? {
        var lines: [LineChart.Line] = []
        for line in charts.flatMap(\.lines) where line.name != nil {
            guard let known = lines.first(where: { $0.name == line.name }) else {
                lines.append(line)
                continue
            }
            guard known.hasLook(of: line) else { return nil }
        }
        return Legend(lines)
    }
}

extension LineChart {
    /// Whether no line has a value.
    fileprivate var isEmpty: Bool { !lines.contains { $0.points.contains { $0.x.isDrawable && $0.y.isDrawable } } }

    /// The chart with the axes that it has in common with some of `others`.
    fileprivate func sharing(axesOf others: [LineChart]) -> LineChart {
        var chart = self
        let spans = others.filter { $0.yLabel == yLabel }.map(\.verticalSpan)
        if let low = spans.map(\.low).min(), let high = spans.map(\.high).max() { chart.yRange = low...high }
        let beside = others.filter { $0.xLabel == xLabel }
        switch axis {
        case .counts:
            chart.xEnd = beside.filter { $0.values == nil }.map(\.horizontalSpan.high).max()
        case .logarithmic(let own):
            chart.axis = .logarithmic(Set(own + beside.flatMap { $0.values ?? [] }).sorted())
        case .categories: break
        }
        return chart
    }

    /// The values of a logarithmic axis.
    private var values: [Int]? {
        guard case .logarithmic(let values) = axis else { return nil }
        return values
    }
}

extension LineChart.Line {
    fileprivate func hasLook(of other: Self) -> Bool {
        colour == other.colour && isDashed == other.isDashed && hasDots == other.hasDots && marker == other.marker
            && width == other.width
    }
}
