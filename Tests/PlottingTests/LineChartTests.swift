import Plotting
import Testing

@Suite struct LineChartTests {
    private func chart(_ points: [LineChart.Point], axis: LineChart.Axis = .counts) -> LineChart {
        var chart = LineChart(title: "title", xLabel: "across", yLabel: "up")
        chart.axis = axis
        chart.lines = [.init(name: "line", points: points, colour: "#123456")]
        return chart
    }

    /// 720 x 420 pixels, less 70, 24, 44 and 54 at the sides: the plane reaches from (70, 44) to (696, 366).
    @Test func pointsLandWhereTheyShould() throws {
        var chart = chart([.init(x: 0, y: 0), .init(x: 50, y: 5), .init(x: 100, y: 10)])
        chart.yRange = 0...10
        var line = try #require(try picture(chart.svg).all("polyline").first)
        #expect(line.corners == [[70, 366], [383, 205], [696, 44]])
        #expect(line["stroke"] == "#123456" && line["stroke-dasharray"] == "")

        // 6 % of room on both sides: 70 + 626 * 0.06 / 1.12 = 103.5, the middle, and 696 less the same.
        chart = self.chart([1, 10, 100].map { .init(x: $0, y: 5) }, axis: .logarithmic([1, 10, 100]))
        chart.lines[0].isDashed = true
        let root = try picture(chart.svg)
        line = try #require(root.all("polyline").first)
        #expect(line.corners.map { $0[0] } == [103.5, 383, 662.5])
        #expect(line["stroke-dasharray"] == "7 5")
        let labels = root.all("text").filter { ["1", "10", "100"].contains($0.text) }
        #expect(labels.map { $0["x"] } == ["103.5", "383.0", "662.5"])
    }

    @Test func aLogarithmicAxisIsLabelledAtItsValues() throws {
        let lengths = [5, 20, 50, 100, 200]
        let root = try picture(
            chart(lengths.map { .init(x: Double($0), y: 1e-3) }, axis: .logarithmic(lengths)).svg)
        #expect(lengths.allSatisfy { root.texts.contains("\($0)") })
        // Crowded values keep their marks, and labels where there is room.
        let crowded = try picture(chart([.init(x: 1, y: 1)], axis: .logarithmic(Array(1000...1100))).svg)
        #expect(crowded.all("line").count { $0["x1"] == $0["x2"] } == 101)
        #expect((2...30).contains(crowded.texts.count { $0.hasPrefix("10") }))
    }

    /// The upper ends from left to right and the lower ones back: 4 corners, closed by being a polygon.
    @Test func aBandGoesAroundItsEnds() throws {
        var chart = chart([.init(x: 0, y: 4, low: 2, high: 6), .init(x: 100, y: 5, low: 5, high: 10)])
        chart.yRange = 0...10
        let root = try picture(chart.svg)
        let band = try #require(root.all("polygon").first)
        #expect(band.corners == [[70, 172.8], [696, 44], [696, 205], [70, 301.6]])
        #expect(band["fill"] == "#123456" && (0.05...0.4).contains(Double(band["fill-opacity"]) ?? 1))
        let same = self.chart([.init(x: 0, y: 4, spread: 2), .init(x: 100, y: 4, low: 2, high: 6)]).svg
        #expect(try picture(same).all("polygon")[0].corners.map { $0[1] }.count == 4)
        #expect(try picture(self.chart([.init(x: 0, y: 1), .init(x: 1, y: 1)]).svg).all("polygon").isEmpty)
        // The axis holds the band, too.
        let tall = try picture(self.chart([.init(x: 0, y: 0, low: -50, high: 1), .init(x: 1, y: 0)]).svg)
        #expect(tall.texts.contains("-50"))
    }

    @Test func errorBarsStandAtTheirPoints() throws {
        var chart = chart([.init(x: 0, y: 4, low: 2, high: 6), .init(x: 100, y: 5, low: .nan, high: 7)])
        chart.yRange = 0...10
        chart.lines[0].spreadStyle = .errorBars
        let bars = try picture(chart.svg).all("path")
        #expect(bars.map { $0["d"] } == ["M70.0 301.6V172.8M66.0 301.6H74.0M66.0 172.8H74.0"])
    }

    /// A line stops before a value that is none and goes on behind it; its band likewise; one point alone is a dot.
    @Test func valuesThatAreNoneLeaveGaps() throws {
        for bad in [Double.nan, .infinity, -.infinity, 1e200] {
            let heights = [1, 2, bad, 3, 4, bad, 5]
            let chart = chart(heights.enumerated().map { .init(x: Double($0), y: $1, low: $1 - 1, high: $1 + 1) })
            let root = try picture(chart.svg)
            #expect(root.all("polyline").map(\.corners.count) == [2, 2])
            #expect(root.all("polygon").map(\.corners.count) == [4, 4])
            #expect(root.all("circle").count == 1)
        }
        let below = chart([0, -1, 1, 10].map { .init(x: $0, y: 1) }, axis: .logarithmic([1, 10]))
        #expect(try picture(below.svg).all("polyline").map(\.corners.count) == [2])
        // A spread that is not known takes nothing from its point.
        let unknown = chart([.init(x: 0, y: 1, spread: 1), .init(x: 1, y: 1, spread: .nan), .init(x: 2, y: 1)])
        #expect(try picture(unknown.svg).all("polyline").map(\.corners.count) == [3])
    }

    @Test func anyDataMakeAPicture() throws {
        let heights: [[Double]] = [
            [], [3], [7, 7, 7], [0, 0], [-5, -5], [.nan], [1e-300, 2e-300], [1e149, -1e149], [1e17, 1e17 + 32],
            [1e6, 2e6], [-1e-9, 1e-9], [.infinity, -.infinity], [.leastNonzeroMagnitude, 0],
        ]
        let axes: [LineChart.Axis] = [
            .counts, .logarithmic([]), .logarithmic([5]), .logarithmic([0, -3]), .logarithmic([1, .max]),
        ]
        for axis in axes {
            for heights in heights {
                for scale in [1, 1e140, -1, 1e-200] {
                    var chart = chart(
                        heights.enumerated().map { .init(x: scale * Double($0), y: $1, spread: 1e-3 * $1.magnitude) },
                        axis: axis)
                    chart.lines[0].hasDots = true
                    try picture(chart.svg)
                }
            }
        }
        for range in [0...0, 0...Double.infinity, 0...Double.leastNonzeroMagnitude, -1e308...1e308] {
            var chart = chart([.init(x: 0, y: 1), .init(x: 1, y: 2)])
            chart.yRange = range
            try picture(chart.svg)
        }
        var chart = chart([.init(x: 0, y: 1)])
        for size in [0, -1, .nan, .infinity, 100, 1e9] {
            (chart.width, chart.height, chart.lines[0].width) = (size, size, size)
            try picture(chart.svg)
        }
    }

    @Test func wordsAreEscapedAndBroken() throws {
        let nasty = "a < b & \"c\" > d, 'e'"
        var chart = LineChart(title: nasty, xLabel: nasty, yLabel: nasty)
        chart.lines = [.init(name: nasty, points: [.init(x: 1, y: 1)], colour: "a\"<b>")]
        let root = try picture(chart.svg)
        #expect(root.texts.count { $0 == nasty } == 4)
        #expect(root.all("line").contains { $0["stroke"] == "a\"<b>" })
        chart.title = "bell \u{7}, nothing \0"
        #expect(try picture(chart.svg).texts.contains("bell \u{fffd}, nothing \u{fffd}"))
        // Long words stay inside, which `picture` expects of all texts.
        for long in [String(repeating: "long words ", count: 40), String(repeating: "W", count: 300)] {
            (chart.title, chart.xLabel, chart.yLabel) = (long, long, "up")
            chart.lines = (0..<8).map { .init(name: long + "\($0)", points: [.init(x: 1, y: 1)], number: $0) }
            try picture(chart.svg)
        }
    }

    /// Names stand above the plane, or right of it.
    @Test func theLegendCoversNoData() throws {
        for count in 1...8 {
            for words in ["x", "a name of some length", String(repeating: "very long ", count: 20)] {
                var chart = LineChart(title: "title", xLabel: "across", yLabel: "up")
                chart.lines = (0..<count).map { .init(name: words, points: [.init(x: 1, y: 1)], number: $0) }
                let root = try picture(chart.svg)
                let plane = try #require(root.all("svg").last)
                let right = Double(plane["x"])! + Double(plane["width"])!
                let samples = root.all("line").filter { $0["stroke"].hasPrefix("#") && $0["stroke-width"] == "2.0" }
                #expect(samples.count == count)
                for sample in samples {
                    #expect(Double(sample["x1"])! > right || Double(sample["y1"])! < Double(plane["y"])!)
                }
            }
        }
    }

    @Test func numberedLinesDiffer() {
        let looks = (0..<28).map { number in
            let line = LineChart.Line(name: "", points: [], number: number)
            return "\(line.colour) \(line.marker)"
        }
        #expect(Set(looks).count == 28)
        #expect(
            (0..<15).map { LineChart.Line(name: "", points: [], number: $0).isDashed }
                == (0..<15).map { (7..<14).contains($0) })
        #expect(LineChart.Line(name: "", points: [], number: .min).colour == LineChart.colours[0])
    }
}
