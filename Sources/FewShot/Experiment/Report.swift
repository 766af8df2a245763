import Files
import Plotting
import Support

/// Results of several methods with several numbers of shots, as tables and as a picture.
public struct Report: Sendable {
    /// What one method came to with one number of shots.
    public struct Cell: Sendable {
        /// Share of right answers over seeds, 0...1.
        public var accuracy: Spread
        /// Macro-F1 over seeds, 0...1.
        public var macroF1: Spread
        /// Texts that the model was asked for.
        public var queries: Int
        /// Time that the model took to answer.
        public var secondsQuerying: Double
        /// Time that training took, the mean over seeds.
        public var secondsTraining: Double

        /// A cell of these figures.
        public init(
            accuracy: Spread, macroF1: Spread, queries: Int, secondsQuerying: Double, secondsTraining: Double
        ) {
            self.accuracy = accuracy
            self.macroF1 = macroF1
            self.queries = queries
            self.secondsQuerying = secondsQuerying
            self.secondsTraining = secondsTraining
        }
    }

    /// The data set and the model, for the headings.
    public let title: String
    /// The rows, in order of their first cell.
    public private(set) var methods: [String] = []
    private var cells: [TextKey: [Int: Cell]] = [:]

    /// The columns: examples a class, rising; 0 for methods without training.
    public var shots: [Int] { Set(cells.values.flatMap(\.keys)).sorted() }

    /// A report without results yet.
    public init(title: String) { self.title = title }

    /// A method's result with so many shots; nil where there is none.
    public subscript(method: String, shots: Int) -> Cell? { cells[TextKey(method)]?[shots] }

    /// Adds a result. Throws `SeamError`: `.alreadyExists` when the method has one with so many shots,
    /// `.invalidArgument` for a negative number, `.numeric` for times that are not finite.
    public mutating func add(_ cell: Cell, method: String, shots: Int) throws {
        guard shots >= 0 else {
            throw SeamError(.invalidArgument, "argument shots: expected 0 or more, found \(shots)")
        }
        guard cell.secondsQuerying.isFinite, cell.secondsTraining.isFinite else {
            throw SeamError(
                .numeric,
                "the times of \"\(method)\" must be finite, found \(cell.secondsQuerying) and \(cell.secondsTraining)")
        }
        guard cells[TextKey(method)]?[shots] == nil else {
            throw SeamError(.alreadyExists, "\"\(method)\" has a result with \(shots) shots already")
        }
        if cells[TextKey(method)] == nil { methods.append(method) }
        cells[TextKey(method), default: [:]][shots] = cell
    }

    // MARK: Tables

    private static let parts: [(heading: String, value: @Sendable (Cell) -> String)] = [
        ("accuracy (%)", { percent($0.accuracy) }),
        ("macro-F1 (%)", { percent($0.macroF1) }),
        ("queries", { "\($0.queries)" }),
        ("querying (s)", { fixed($0.secondsQuerying, 2) }),
        ("training (s)", { fixed($0.secondsTraining, 2) }),
    ]

    private static func percent(_ spread: Spread) -> String {
        fixed(100 * spread.mean, 1) + (spread.deviation.map { " ± " + fixed(100 * $0, 1) } ?? "")
    }

    /// The header row, then a row for each method.
    private func rows(_ heading: String, _ value: (Cell) -> String) -> [[String]] {
        let shots = self.shots
        let header = [heading] + shots.map { $0 == 1 ? "1 shot" : "\($0) shots" }
        return [header]
            + methods.map { method in
                [method] + shots.map { self[method, $0].map(value) ?? "–" }
            }
    }

    /// Tables for a terminal: one for each figure, the mean and ± the standard deviation over seeds.
    public var text: String {
        let tables = Self.parts.map { alignedColumns(rows($0.heading, $0.value), between: "  ") }
        return ([title] + tables.map { $0.joined(separator: "\n") }).joined(separator: "\n\n") + "\n"
    }

    /// The same tables in Markdown.
    public var markdown: String {
        let tables = Self.parts.map { markdownTable(rows($0.heading, $0.value)) }
        return (["## \(title)"] + tables).joined(separator: "\n\n") + "\n"
    }

    /// All figures, for programs: shares instead of percents, `null` for a deviation of one value.
    public var json: JSON {
        func spread(_ spread: Spread) -> JSON {
            [
                "mean": .double(spread.mean), "sd": spread.deviation.map { .double($0) } ?? .null,
                "n": .int(Int64(spread.count)),
            ]
        }
        let results = methods.flatMap { method in
            shots.compactMap { shots in
                self[method, shots].map { cell -> JSON in
                    [
                        "method": .string(method), "shots": .int(Int64(shots)), "accuracy": spread(cell.accuracy),
                        "macro_f1": spread(cell.macroF1), "queries": .int(Int64(cell.queries)),
                        "seconds_querying": .double(cell.secondsQuerying),
                        "seconds_training": .double(cell.secondsTraining),
                    ]
                }
            }
        }
        return ["schema": 1, "title": .string(title), "results": .array(results)]
    }

    // MARK: Picture

    /// Accuracy against shots as an SVG picture: a line for each method with a band of one standard deviation, and a
    /// dashed line across for a result without shots.
    public var svg: String {
        let trained = shots.filter { $0 > 0 }
        var chart = LineChart(title: title, xLabel: "examples per class", yLabel: "accuracy (%)")
        chart.axis = .logarithmic(trained.isEmpty ? [1] : trained)
        for (number, method) in methods.enumerated() {
            let colour = LineChart.colours[number % LineChart.colours.count]
            func point(_ shots: Int, _ cell: Cell) -> LineChart.Point {
                .init(x: Double(shots), y: 100 * cell.accuracy.mean, spread: 100 * (cell.accuracy.deviation ?? 0))
            }
            let points = trained.compactMap { shots in self[method, shots].map { point(shots, $0) } }
            if let cell = self[method, 0] {
                // Beyond both ends, which the picture cuts off at its borders.
                let (first, last) = (trained.first ?? 1, trained.last ?? 1)
                var line = LineChart.Line(
                    name: points.isEmpty ? method : "\(method), no shots",
                    points: [Double(first) / 2, Double(last) * 2].map {
                        .init(x: $0, y: 100 * cell.accuracy.mean, spread: 0)
                    }, colour: colour)
                line.isDashed = true
                chart.lines.append(line)
            }
            if !points.isEmpty {
                var line = LineChart.Line(name: method, points: points, colour: colour)
                line.hasDots = true
                chart.lines.append(line)
            }
        }
        return chart.svg
    }
}
