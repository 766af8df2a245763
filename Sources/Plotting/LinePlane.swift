import Glibc

/// The places of a line chart's values in its picture.
struct LinePlane {
    /// Borders of the plane in pixels.
    let left, right, top, bottom: Double
    /// Values at the borders; those of a logarithmic axis as logarithms.
    let horizontal, vertical: Span
    let isLogarithmic: Bool
    let xTicks, yTicks: Ticks

    /// A plane in the chart's picture below `top`, with room for the words along `bottom` and the vertical axis.
    init(_ chart: LineChart, top: Double, height: Double, labels: (left: Int, bottom: Int)) {
        self.top = top
        let line = Words.size * Words.leading
        bottom = height - 37.75 - line * Double(max(labels.bottom, 1))
        vertical = chart.verticalSpan
        yTicks = Ticks(vertical.low, vertical.high, most: max(2, min(9, Int((bottom - top) / 36))))
        left = max(70, yTicks.width + 16 + line * Double(max(labels.left, 1)) + 4)
        right = side(chart.width, atLeast: 240) - 24
        horizontal = chart.horizontalSpan
        switch chart.axis {
        case .counts:
            isLogarithmic = false
            let widest = Words.width("\(Int(min(horizontal.high, 1e6)))")
            let most = max(1, min(8, Int((right - left) / (widest + 12))))
            xTicks = Ticks(0, horizontal.high, most: most, isWhole: true)
        case .logarithmic(let values):
            isLogarithmic = true
            xTicks = Ticks(values.filter { $0 > 0 }.map(Double.init))
        case .categories(let names):
            isLogarithmic = false
            xTicks = Ticks(names)
        }
    }

    func x(_ value: Double) -> Double {
        let value = isLogarithmic ? log(value) : value
        return left + (value - horizontal.low) / (horizontal.high - horizontal.low) * (right - left)
    }

    func y(_ value: Double) -> Double {
        top + (vertical.high - value) / (vertical.high - vertical.low) * (bottom - top)
    }

    /// Whether a point has a place; it may lie outside.
    func shows(_ point: LineChart.Point) -> Bool {
        point.x.isDrawable && point.y.isDrawable && (!isLogarithmic || point.x > 0)
    }

    /// Whether a point lies within the borders.
    func holds(_ point: LineChart.Point) -> Bool {
        let (x, y) = (x(point.x), y(point.y))
        return x >= left - 0.5 && x <= right + 0.5 && y >= top - 0.5 && y <= bottom + 0.5
    }
}

extension LineChart {
    /// The vertical axis: what was asked for, or the named lines with their spreads and a margin.
    var verticalSpan: Span {
        if let yRange, yRange.lowerBound.isDrawable, yRange.upperBound.isDrawable,
            yRange.upperBound - yRange.lowerBound > max(1e-150, 1e-12 * yRange.upperBound.magnitude)
        {
            return Span(low: yRange.lowerBound, high: yRange.upperBound)
        }
        let points = lines.filter { $0.name != nil }.flatMap(\.points).filter { $0.x.isDrawable && $0.y.isDrawable }
        return Span(around: points.flatMap { $0.hasSpread ? [$0.y, $0.low, $0.high] : [$0.y] })
    }

    var horizontalSpan: Span {
        switch axis {
        case .counts:
            let places = lines.flatMap(\.points).filter { $0.y.isDrawable && $0.x.isDrawable }.map(\.x)
            return Span(low: 0, high: max(1, places.max() ?? 1, xEnd ?? 1))
        case .logarithmic(let values):
            let places = values.filter { $0 > 0 }.map { log(Double($0)) }
            // Room on both sides, and a width when there is one value only.
            let (left, right) = (places.min() ?? 0, places.max() ?? 0)
            let room = max(0.06 * (right - left), 0.1)
            return Span(low: left - room, high: right + room)
        case .categories(let names): return Span(low: 0.5, high: Double(max(names.count, 1)) + 0.5)
        }
    }
}
