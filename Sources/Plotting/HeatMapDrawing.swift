extension HeatMap {
    /// The picture.
    func drawing() -> Drawing {
        let (rows, columns) = (values.count, values.map(\.count).max() ?? 0)
        let (width, height) = (side(width, atLeast: 240), side(height, atLeast: 180))
        let span = span
        let cells = HeatMapCells(self, span: span)
        let line = Words.size * Words.leading
        // The margins left and right depend on words whose room along the plane is not known yet: about this much.
        let about = height - 110
        let barTicks = Ticks(span.low, span.high, most: min(8, Int(about / 36)))
        let (beside, besideBar) = (Words.lines(yLabel, width: about), Words.lines(valueLabel, width: about))
        let lastRow = Double(firstRow) + Double(max(rows, 1) - 1)
        let left = Ticks([Double(firstRow), lastRow]).width + 20 + line * Double(beside.count)
        let right = 20 + Self.barWidth + 20 + barTicks.width + line * Double(besideBar.count)

        let cellWidth = Self.cell(width - left - right, columns)
        let inner = max(cellWidth * Double(columns), 100)
        let heading = Words.lines(title, width: max(inner + left + right - 32, 200), size: Words.titleSize)
        let below = Words.lines(xLabel, width: max(inner, 120))
        let top = 24 + Words.titleSize * Words.leading * Double(heading.count)
        let cellHeight = Self.cell(height - top - 38 - line * Double(below.count), rows)
        let bottom = top + max(cellHeight * Double(rows), 100)
        let end = left + inner + right

        var parts = Words.block(heading, 20, 26, size: Words.titleSize)
        parts.append(
            "<rect x=\"\(pixels(left))\" y=\"\(pixels(top))\" width=\"\(pixels(inner))\""
                + " height=\"\(pixels(bottom - top))\" fill=\"#ddd\"/>")
        if rows > 0, columns > 0 {
            parts.append(
                "<svg x=\"\(pixels(left))\" y=\"\(pixels(top))\" width=\"\(pixels(cellWidth * Double(columns)))\""
                    + " height=\"\(pixels(cellHeight * Double(rows)))\" viewBox=\"0 0 \(columns) \(rows)\""
                    + " preserveAspectRatio=\"none\" shape-rendering=\"crispEdges\">")
            parts += cells.paths + ["</svg>"]
            parts += columnAxis(columns, bottom, width: inner, limit: end) { left + ($0 + 0.5) * cellWidth }
            parts += rowAxis(rows, left, height: bottom - top) { top + ($0 + 0.5) * cellHeight }
        }
        parts += Words.block(below, left + inner / 2, bottom + 40, .middle)
        parts += Words.upwards(beside, 2 + line * Double(beside.count), (top + bottom) / 2)
        parts += colourBar(left + inner + 20, top, bottom, span: span, levels: cells.levels, ticks: barTicks)
        parts += Words.upwards(besideBar, end - 6, (top + bottom) / 2)
        let notes = (notes + cells.notes).flatMap { Words.lines($0, width: end - 40) }
        let under = bottom + 46 + line * Double(below.count)
        parts += Words.block(notes, 20, under)
        return Drawing(width: end + 6, height: under + line * Double(notes.count), elements: parts)
    }

    private static var barWidth: Double { 18 }

    /// Whole pixels for each of `count` cells in about so many pixels; less than one where they would be too many.
    private static func cell(_ pixels: Double, _ count: Int) -> Double {
        guard count > 0 else { return 0 }
        return count > 4000 ? 4000 / Double(count) : min(max((pixels / Double(count)).rounded(), 1), 40)
    }

    /// Numbers from `first` on in steps: all where they are few and have room, or else round ones.
    private static func ticks(_ first: Double, _ step: Double, _ count: Int, most: Int) -> Ticks {
        let last = first + Double(count - 1) * step
        guard count > min(most, 12) else { return Ticks((0..<count).map { first + Double($0) * step }) }
        return Ticks(first, last, most: min(most, 10), isWhole: true)
    }

    private func columnAxis(
        _ columns: Int, _ y: Double, width: Double, limit: Double, place: (Double) -> Double
    ) -> [String] {
        let (first, step) = (Double(firstColumn), Double(max(columnStep, 1)))
        let widest = Ticks([first, first + Double(columns - 1) * step]).width
        let ticks = Self.ticks(first, step, columns, most: Int(width / (widest + 8)))
        return ticks.below(y, limit: limit) { place(($0 - first) / step) }
    }

    private func rowAxis(_ rows: Int, _ x: Double, height: Double, place: (Double) -> Double) -> [String] {
        let ticks = Self.ticks(Double(firstRow), 1, rows, most: Int(height / 24))
        return zip(ticks.values, ticks.labels).flatMap { value, label in
            let y = place(value - Double(firstRow))
            return [stroke(x - 5, y, x, y, "stroke=\"#999\""), Words.text(label, x - 8, y + 4, .end)]
        }
    }

    private func colourBar(
        _ x: Double, _ top: Double, _ bottom: Double, span: Span, levels: Int, ticks: Ticks
    ) -> [String] {
        let step = (bottom - top) / Double(levels)
        // Each piece reaches below the next, so that no background shines through between them.
        let pieces = (0..<levels).reversed().map { level in
            let upper = bottom - step * Double(level + 1)
            return "<rect x=\"\(pixels(x))\" y=\"\(pixels(upper))\" width=\"\(pixels(Self.barWidth))\""
                + " height=\"\(pixels(min(step + 1, bottom - upper)))\" fill=\"\(colour(level, of: levels))\"/>"
        }
        let right = x + Self.barWidth
        return pieces
            + zip(ticks.values, ticks.labels).flatMap { value, label in
                let y = bottom - (value - span.low) / (span.high - span.low) * (bottom - top)
                return [stroke(right, y, right + 5, y, "stroke=\"#999\""), Words.text(label, right + 8, y + 4)]
            }
    }
}
