import Plotting
import Testing

@Suite struct ChartPanelTests {
    private func chart(_ title: String, high: Double, end: Double, colour: String = "#111111") -> LineChart {
        var chart = LineChart(title: title, xLabel: "step", yLabel: "loss")
        chart.lines = [.init(name: "plain", points: [.init(x: 0, y: 0), .init(x: end, y: high)], colour: colour)]
        return chart
    }

    @Test func chartsShareAxesAndLegend() throws {
        var panel = ChartPanel(
            title: "all <of> them",
            charts: [.lines(chart("one", high: 1, end: 50)), .lines(chart("two", high: 10, end: 100))])
        let root = try picture(panel.svg)
        for word in ["all <of> them", "one", "two"] { #expect(root.texts.contains(word)) }
        #expect(root.texts.count { $0 == "plain" } == 1)
        #expect(root.texts.count { $0 == "100" } == 2 && root.texts.count { $0 == "10" } == 2)
        // The first ends in the middle of the axis from 0 to 100, on a tenth of the height of the second.
        let ends = root.all("polyline").map { $0.corners[1] }
        #expect(ends[0][0] == 70 + (380 - 94) / 2 && ends[1][0] == 356)
        let heights = root.all("polyline").map { $0.corners[0][1] - $0.corners[1][1] }
        #expect(abs(heights[0] - heights[1] / 10) < 0.11)

        panel.sharesAxes = false
        let apart = try picture(panel.svg)
        #expect(apart.all("polyline").map { $0.corners[1][0] } == [356, 356])
    }

    /// Loss and another quantity have nothing in common; nor have counts and logarithmic axes.
    @Test func otherQuantitiesKeepTheirAxes() throws {
        var other = chart("two", high: 10, end: 100)
        (other.yLabel, other.axis) = ("BLEU", .logarithmic([1, 100]))
        var third = other
        third.axis = .logarithmic([10])
        let panel = ChartPanel(
            title: "", charts: [.lines(chart("one", high: 1, end: 50)), .lines(other), .lines(third)])
        let root = try picture(panel.svg)
        #expect(root.all("polyline").first?.corners[1][0] == 356)
        #expect(root.texts.count { $0 == "1.0" } == 1)
        // The values of both logarithmic axes stand along both.
        let below = root.all("text").filter { $0["text-anchor"] == "middle" }.map(\.text)
        #expect(below.count { $0 == "1" } == 2 && below.count { $0 == "100" } == 2)
    }

    @Test func namesWithTwoLooksKeepTheirLegends() throws {
        let panel = ChartPanel(
            title: "title",
            charts: [.lines(chart("one", high: 1, end: 1)), .lines(chart("two", high: 1, end: 1, colour: "#222222"))])
        #expect(try picture(panel.svg).texts.count { $0 == "plain" } == 2)
    }

    @Test func theGridHasAsManyColumnsAsAsked() throws {
        let charts = (0..<5).map { ChartPanel.Chart.lines(chart("\($0)", high: 1, end: 1)) }
        var panel = ChartPanel(title: "title", charts: charts)
        func columns() throws -> Int {
            let moves = try picture(panel.svg).all("g").dropFirst().map { $0["transform"].split(separator: " ")[0] }
            return Set(moves).count
        }
        #expect(try columns() == 3)
        for (asked, found) in [(1, 1), (2, 2), (5, 5), (9, 5), (0, 1), (-3, 1)] {
            panel.columns = asked
            #expect(try columns() == found)
        }
    }

    @Test func anyChartsMakeAPicture() throws {
        try picture(ChartPanel(title: "", charts: []).svg)
        let map = HeatMap(title: "map", xLabel: "x", yLabel: "y", valueLabel: "v", values: [[1, .nan], [2]])
        var nothing = LineChart(title: "nothing", xLabel: "step", yLabel: "loss")
        let charts = [
            ChartPanel.Chart.heatMap(map), .lines(nothing), .lines(chart("one", high: .nan, end: .infinity)),
        ]
        try picture(ChartPanel(title: String(repeating: "long title ", count: 60), charts: charts).svg)
        nothing.axis = .logarithmic([])
        let more: [ChartPanel.Chart] = [.lines(nothing), .lines(chart("two", high: 1, end: 2))]
        var panel = ChartPanel(title: "title", charts: charts + more)
        for size in [0, -1, .nan, .infinity] {
            (panel.chartWidth, panel.chartHeight) = (size, size)
            try picture(panel.svg)
        }
    }
}
