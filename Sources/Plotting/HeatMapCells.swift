/// The cells of a heat map as few and short SVG paths: values become levels, neighbours of one level in a row one
/// stroke, and all strokes of a level one path, in which each place is relative to the one before.
struct HeatMapCells {
    /// How many colours there are.
    private(set) var levels = 64
    /// A path for each colour that occurs, in units of cells.
    private(set) var paths: [String] = []
    /// What the reader should know of how cells were drawn.
    private(set) var notes: [String] = []

    /// The cells of a map, in about as many bytes as it allows: with fewer levels, then with means of blocks of cells,
    /// where there would be more.
    init(_ map: HeatMap, span: Span) {
        // What is left of the file by the axes, the bar and the words.
        let limit = max(map.byteLimit, 20_000) - 12_000
        var values = map.values
        var block = (rows: 1, columns: 1)
        draw(map, values, block, span)
        while size > limit, values.contains(where: { $0.count > 1 }) || values.count > 1 {
            if levels > 16 {
                levels -= levels > 32 ? 16 : 8
            } else if values.count > values.map(\.count).max() ?? 0 {
                values = Self.halvedRows(values)
                block.rows *= 2
            } else {
                values = values.map { row in
                    stride(from: 0, to: row.count, by: 2).map { Self.mean(Array(row[$0..<min($0 + 2, row.count)])) }
                }
                block.columns *= 2
            }
            draw(map, values, block, span)
        }
        if block != (1, 1) {
            notes = ["Each cell is the mean of \(block.rows) x \(block.columns) values (rows x columns)."]
        }
    }

    private var size: Int { paths.reduce(0) { $0 + $1.utf8.count } }

    /// The mean of those that have a value.
    private static func mean(_ values: [Double]) -> Double {
        let known = values.filter(\.isDrawable)
        return known.isEmpty ? .nan : known.reduce(0, +) / Double(known.count)
    }

    private static func halvedRows(_ values: [[Double]]) -> [[Double]] {
        stride(from: 0, to: values.count, by: 2).map { row in
            let pair = values[row..<min(row + 2, values.count)]
            return (0..<(pair.map(\.count).max() ?? 0)).map { column in
                mean(pair.compactMap { column < $0.count ? $0[column] : nil })
            }
        }
    }

    /// The level of a value; nil where it has none.
    private func level(_ value: Double, _ span: Span) -> Int? {
        guard value.isDrawable else { return nil }
        let share = (min(max(value, span.low), span.high) - span.low) / (span.high - span.low)
        return min(Int(share * Double(levels)), levels - 1)
    }

    /// Strokes as high as a block of cells.
    private mutating func draw(
        _ map: HeatMap, _ values: [[Double]], _ block: (rows: Int, columns: Int), _ span: Span
    ) {
        var strokes = [String](repeating: "", count: levels)
        var ends = [(x: Int, y: Int)](repeating: (0, 0), count: levels)
        for (row, cells) in values.enumerated() {
            var start = 0
            while start < cells.count {
                let level = level(cells[start], span)
                var end = start + 1
                while end < cells.count, self.level(cells[end], span) == level { end += 1 }
                if let level {
                    let move = (start * block.columns - ends[level].x, (row - ends[level].y) * block.rows)
                    let length = (end - start) * block.columns
                    strokes[level] += "m\(move.0) \(move.1)h\(length)"
                    ends[level] = (start * block.columns + length, row)
                }
                start = end
            }
        }
        paths = strokes.enumerated().filter { !$1.isEmpty }.map { level, stroke in
            "<path d=\"M0 \(Double(block.rows) / 2)\(stroke)\" fill=\"none\""
                + " stroke=\"\(map.colour(level, of: levels))\" stroke-width=\"\(block.rows)\"/>"
        }
    }
}
