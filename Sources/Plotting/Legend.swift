/// The names of a chart's lines, each beside a piece of its line.
struct Legend {
    /// Names are broken into lines of at most this many pixels.
    private static let limit = 260.0
    /// The piece of line and its distance from the name.
    private static let sample = 28.0

    let entries: [LineChart.Line]
    private let names: [[String]]

    /// The legend of those lines that have a name.
    init(_ lines: [LineChart.Line]) {
        entries = lines.filter { $0.name != nil }
        names = entries.map { Words.lines($0.name ?? "", width: Self.limit) }
    }

    /// Pixels with the entries one below the other; 0 without entries.
    var width: Double { (names.joined().map { Words.width($0) }.max() ?? -40) + 40 }

    /// Whether a name takes several lines.
    var isBroken: Bool { names.contains { $0.count > 1 } }

    /// Pixels with entries 22 pixels apart.
    var height: Double { names.reduce(0) { $0 + 22 + Self.extra($1) } }

    private static func extra(_ name: [String]) -> Double { Double(name.count - 1) * Words.size * Words.leading }

    /// The entries one below the other, the first around `top`.
    func elements(_ left: Double, _ top: Double, apart: Double) -> [String] {
        var y = top
        return zip(entries, names).flatMap { line, name in
            defer { y += apart + Self.extra(name) }
            return Self.entry(line, name, left, y)
        }
    }

    /// The entries one after the other in rows of at most `width` pixels, with the height of all rows.
    func rows(width: Double) -> Drawing {
        var (x, y) = (0.0, 11.0)
        var tallest = 0.0
        var parts: [String] = []
        for (line, name) in zip(entries, names) {
            let size = Self.sample + (name.map { Words.width($0) }.max() ?? 0) + 20
            if x > 0, x + size > width { (x, y, tallest) = (0, y + 22 + tallest, 0) }
            parts += Self.entry(line, name, x, y)
            x += size
            tallest = max(tallest, Self.extra(name))
        }
        return Drawing(width: width, height: entries.isEmpty ? 0 : y + 11 + tallest, elements: parts)
    }

    private static func entry(_ line: LineChart.Line, _ name: [String], _ x: Double, _ y: Double) -> [String] {
        let look = "stroke=\"\(line.paint)\" stroke-width=\"\(line.thickness)\"\(line.dashes)"
        return [stroke(x, y, x + 22, y, look)] + (line.hasDots ? [line.mark(x + 11, y, 3.5)] : [])
            + Words.block(name, x + sample, y + 4)
    }
}

extension LineChart.Line {
    /// The colour as an attribute.
    var paint: String { Words.escaped(colour) }

    /// The stroke width, held to what can be drawn.
    var thickness: Double { width.isFinite ? min(max(width, 0), 100) : 2 }

    /// A mark of the line's shape around a place; `size` is the radius of a circle of the same area.
    func mark(_ x: Double, _ y: Double, _ size: Double) -> String {
        func path(_ corners: [(Double, Double)]) -> String {
            let points = corners.map { "\(pixels(x + size * $0.0)),\(pixels(y + size * $0.1))" }
            return "<path d=\"M\(points.joined(separator: "L"))Z\" fill=\"\(paint)\"/>"
        }
        switch marker {
        case .circle: return "<circle cx=\"\(pixels(x))\" cy=\"\(pixels(y))\" r=\"\(size)\" fill=\"\(paint)\"/>"
        case .square: return path([(-0.89, -0.89), (0.89, -0.89), (0.89, 0.89), (-0.89, 0.89)])
        case .triangle: return path([(0, -1.5), (1.3, 0.8), (-1.3, 0.8)])
        case .diamond: return path([(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)])
        }
    }
}
