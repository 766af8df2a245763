extension LineChart {
    /// The picture, with a legend or without one.
    func drawing(hasLegend: Bool = true) -> Drawing {
        let (width, height) = (side(width, atLeast: 240), side(height, atLeast: 180))
        let legend = Legend(hasLegend ? lines : [])
        let inner = width - 94
        // The legend stands beside the plane when it does not fit above it.
        let isAbove =
            legend.entries.count <= 2 && !legend.isBroken
            && Words.width(title, size: Words.titleSize) + legend.width + 24 <= inner
        let heading = Words.lines(title, width: inner, size: Words.titleSize)
        let top = 24 + Words.titleSize * Words.leading * Double(heading.count)
        let below = Words.lines(xLabel, width: inner)
        let beside = Words.lines(yLabel, width: max(height - top - 54, 60))
        let plane = LinePlane(self, top: top, height: height, labels: (beside.count, below.count))

        var parts = Words.block(heading, plane.left, 26, size: Words.titleSize)
        parts += axes(plane)
        parts += Words.block(below, (plane.left + plane.right) / 2, plane.bottom + 40, .middle)
        let line = Words.size * Words.leading
        parts += Words.upwards(beside, 2 + line * Double(beside.count), (plane.top + plane.bottom) / 2)
        parts += inside(plane)
        if isAbove {
            parts += legend.elements(plane.right - legend.width, 16, apart: 16)
            return Drawing(width: width, height: height, elements: parts)
        }
        parts += legend.elements(plane.right + 20, plane.top + 8, apart: 22)
        return Drawing(
            width: width + legend.width, height: max(height, plane.top + legend.height + 16), elements: parts)
    }

    private func axes(_ plane: LinePlane) -> [String] {
        var parts: [String] = []
        for (value, label) in zip(plane.yTicks.values, plane.yTicks.labels) {
            parts.append(stroke(plane.left, plane.y(value), plane.right, plane.y(value), "stroke=\"#ddd\""))
            parts.append(Words.text(label, plane.left - 8, plane.y(value) + 4, .end))
        }
        parts.append(stroke(plane.left, plane.bottom, plane.right, plane.bottom, "stroke=\"#999\""))
        return parts + plane.xTicks.below(plane.bottom, limit: plane.right + 24, place: plane.x)
    }

    /// What the plane shows, cut off at its borders by an element of its own; two pixels more for the width of strokes.
    private func inside(_ plane: LinePlane) -> [String] {
        let room = 2.0
        let corner = "x=\"\(pixels(plane.left - room))\" y=\"\(pixels(plane.top - room))\""
        let size = (plane.right - plane.left + 2 * room, plane.bottom - plane.top + 2 * room)
        var parts = [
            "<svg \(corner) width=\"\(pixels(size.0))\" height=\"\(pixels(size.1))\""
                + " viewBox=\"\(pixels(plane.left - room)) \(pixels(plane.top - room)) \(pixels(size.0))"
                + " \(pixels(size.1))\">"
        ]
        // Spreads lie behind all lines.
        let bands = lines.count { $0.spreadStyle == .band && $0.spreads(plane).contains { !$0.isEmpty } }
        for line in lines { parts += line.drawnSpread(plane, opacity: bands > 4 ? 0.09 : 0.13) }
        for line in lines { parts += line.drawnStroke(plane) }
        parts.append("</svg>")
        // Marks at the border are whole.
        return parts + lines.flatMap { $0.drawnMarks(plane) }
    }
}

extension LineChart.Line {
    /// Stretches of points with a spread; none where no point has one.
    fileprivate func spreads(_ plane: LinePlane) -> [[LineChart.Point]] {
        let found = runs { plane.shows($0) && $0.hasSpread }
        return found.joined().contains { $0.low != $0.y || $0.high != $0.y } ? found : []
    }

    fileprivate func drawnSpread(_ plane: LinePlane, opacity: Double) -> [String] {
        spreads(plane).flatMap { points -> [String] in
            // The band of a single point has no width.
            guard spreadStyle == .band, points.count > 1 else { return points.map { bar($0, plane) } }
            let top = points.map { corner(plane.x($0.x), plane.y(max($0.low, $0.high))) }
            let bottom = points.reversed().map { corner(plane.x($0.x), plane.y(min($0.low, $0.high))) }
            return [
                "<polygon points=\"\((top + bottom).joined(separator: " "))\" fill=\"\(paint)\""
                    + " fill-opacity=\"\(opacity)\" stroke=\"\(paint)\" stroke-opacity=\"0.25\"/>"
            ]
        }
    }

    private func bar(_ point: LineChart.Point, _ plane: LinePlane) -> String {
        let (x, low, high) = (plane.x(point.x), plane.y(point.low), plane.y(point.high))
        let caps = [low, high].map { "M\(pixels(x - 4)) \(pixels($0))H\(pixels(x + 4))" }.joined()
        return "<path d=\"M\(pixels(x)) \(pixels(low))V\(pixels(high))\(caps)\" fill=\"none\" stroke=\"\(paint)\""
            + " stroke-width=\"1.5\" stroke-opacity=\"0.6\"/>"
    }

    fileprivate func drawnStroke(_ plane: LinePlane) -> [String] {
        runs(plane.shows).map { points in
            // A point between gaps is no line.
            guard points.count > 1 else { return mark(plane.x(points[0].x), plane.y(points[0].y), 2) }
            let corners = points.map { corner(plane.x($0.x), plane.y($0.y)) }.joined(separator: " ")
            return "<polyline points=\"\(corners)\" fill=\"none\" stroke=\"\(paint)\""
                + " stroke-width=\"\(thickness)\"\(dashes)/>"
        }
    }

    fileprivate func drawnMarks(_ plane: LinePlane) -> [String] {
        guard hasDots else { return [] }
        return points.filter { plane.shows($0) && plane.holds($0) }.map { mark(plane.x($0.x), plane.y($0.y), 3.5) }
    }

    private func corner(_ x: Double, _ y: Double) -> String { "\(pixels(x)),\(pixels(y))" }
}
