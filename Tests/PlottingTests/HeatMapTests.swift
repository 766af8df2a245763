import Glibc
import Plotting
import Testing

@Suite struct HeatMapTests {
    private func map(_ values: [[Double]]) -> HeatMap {
        HeatMap(title: "title", xLabel: "step", yLabel: "token", valueLabel: "gate", values: values)
    }

    /// The colour of each cell of a picture, from its paths; nil where none is.
    private func cells(_ root: Element, rows: Int, columns: Int) throws -> [[String?]] {
        var cells = [[String?]](repeating: .init(repeating: nil, count: columns), count: rows)
        for path in root.all("path") {
            let numbers = path["d"].split { "M mh".contains($0) }.compactMap { Double($0) }
            let height = try #require(Int(path["stroke-width"]))
            try #require(numbers.count % 3 == 2 && numbers[0] == 0 && numbers[1] == Double(height) / 2)
            var (x, y) = (0, 0)
            for index in stride(from: 2, to: numbers.count, by: 3) {
                (x, y) = (x + Int(numbers[index]), y + Int(numbers[index + 1]))
                let end = x + Int(numbers[index + 2])
                try #require((0..<columns).contains(x) && (0..<rows).contains(y) && x < end, "a stroke out of place")
                for row in y..<min(y + height, rows) {
                    for column in x..<min(end, columns) {
                        #expect(cells[row][column] == nil, "painted twice")
                        cells[row][column] = path["stroke"]
                    }
                }
                x = end
            }
        }
        return cells
    }

    @Test func viridis() {
        let map = ColourMap.viridis
        #expect([0, 0.5, 1].map(map.colour) == ["#440154", "#21908c", "#fde725"])
        // Halfway between 44 01 54 and 47 2d 7b, and held to both ends.
        #expect(map.colour(1.0 / 16) == "#461768")
        #expect([-1, 2, Double.nan].map(map.colour) == ["#440154", "#fde725", "#440154"])
        #expect(ColourMap([]).colour(1) == "#ffffff")
    }

    @Test func cellsOfAColourAreOnePath() throws {
        var map = map([[0, 0, 1], [1, 0.5, 0]])
        map.range = 0...1
        let paths = try picture(map.svg).all("path")
        #expect(paths.map { $0["d"] } == ["M0 0.5m0 0h2m0 1h1", "M0 0.5m1 1h1", "M0 0.5m2 0h1m-3 1h1"])
        #expect(paths.map { $0["stroke"] } == [0.5, 32.5, 63.5].map { ColourMap.viridis.colour($0 / 64) })
    }

    /// 200 tokens over 500 steps: every cell has the colour of its level, and the file stays small.
    @Test func gatesOverTraining() throws {
        let values = (0..<200).map { row in
            (0..<500).map { column in 0.5 + 0.5 * sin(Double(row)) * (1 - exp(-Double(column) / 100)) }
        }
        var map = map(values)
        map.range = 0...1
        #expect(map.svg.utf8.count < 100_000)
        let root = try picture(map.svg)
        let cells = try cells(root, rows: 200, columns: 500)
        func colour(_ value: Double) -> String? { ColourMap.viridis.colour((floor(min(value * 64, 63)) + 0.5) / 64) }
        let expected = values.map { $0.map(colour) }
        #expect(cells == expected)
        #expect(root.texts.contains("500") && root.texts.contains("200") && root.texts.contains("1.0"))
        #expect(!root.texts.contains { $0.contains("mean") })
    }

    /// Noise has no equal neighbours: fewer colours, then means of blocks, keep the file within its bounds.
    @Test func noiseStaysWithinTheBounds() throws {
        var state: UInt64 = 1
        let values = (0..<200).map { _ in
            (0..<500).map { _ in
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return Double(state >> 40)
            }
        }
        var map = map(values)
        for limit in [280_000, 100_000, 20_000] {
            map.byteLimit = limit
            let svg = map.svg
            #expect(svg.utf8.count <= limit)
            let root = try picture(svg)
            #expect(root.texts.contains { $0.hasPrefix("Each cell is the mean of") })
            #expect(try cells(root, rows: 200, columns: 500).joined().allSatisfy { $0 != nil })
        }
    }

    /// Values that lie by turns above and below the middle of a level come out on it as means of two.
    @Test func blocksAreMeans() throws {
        let levels = (0..<2000).map { $0 / 4 * 7 % 16 }
        let values = levels.enumerated().map { column, level in
            (Double(level) + 0.5) / 16 + (column.isMultiple(of: 2) ? 0.04 : -0.04)
        }
        var map = map([values])
        map.range = 0...1
        map.byteLimit = 0
        #expect(map.svg.utf8.count <= 20_000)
        let root = try picture(map.svg)
        #expect(root.texts.contains("Each cell is the mean of 1 x 2 values (rows x columns)."))
        let expected = levels.map { ColourMap.viridis.colour((Double($0) + 0.5) / 16) as String? }
        #expect(try cells(root, rows: 1, columns: 2000) == [expected])
    }

    @Test func cellsWithoutValueStayGrey() throws {
        var map = map([[0, .nan, 1], [.infinity, 0.5], [-7, 7, 0]])
        map.range = 0...1
        let root = try picture(map.svg)
        let cells = try cells(root, rows: 3, columns: 3)
        #expect(cells[0][1] == nil && cells[1][0] == nil && cells[1][2] == nil)
        #expect(cells[2][0] == cells[0][0] && cells[2][1] == cells[0][2])
        #expect(root.texts.contains("Grey: no value."))
        #expect(root.texts.joined(separator: " ").contains("Values beyond the colours' range"))
        let whole = try picture(self.map([[0, 1]]).svg)
        #expect(!whole.texts.contains { $0.contains("Grey") || $0.contains("beyond") })
    }

    @Test func axesHaveTheNumbersOfTheData() throws {
        var map = map([[1, 2, 3], [4, 5, 6]])
        (map.firstRow, map.firstColumn, map.columnStep) = (7, 100, 50)
        let texts = try picture(map.svg).texts
        for label in ["7", "8", "100", "150", "200"] { #expect(texts.contains(label)) }
    }

    @Test func anyDataMakeAPicture() throws {
        let values: [[[Double]]] = [
            [], [[]], [[], [1]], [[3]], [[2, 2], [2, 2]], [[.nan]], [[0]], [[1e149, -1e149]],
            [[.leastNonzeroMagnitude, 0]], [[1e300, 1]], [[Double](repeating: 1, count: 9000)],
            .init(repeating: [0, 1], count: 5000),
        ]
        for values in values {
            for range in [nil, 0...0, 0...Double.infinity, -1e149...1e149, 0...Double.leastNonzeroMagnitude] {
                var map = map(values)
                map.range = range
                try picture(map.svg)
            }
        }
        var map = map([[1, 2], [3, 4]])
        (map.title, map.xLabel, map.yLabel, map.valueLabel) = ("<&>\"", "<", "&", ">")
        (map.firstRow, map.firstColumn, map.columnStep) = (.max, .max, .max)
        let texts = try picture(map.svg).texts
        for word in ["<&>\"", "<", "&", ">"] { #expect(texts.contains(word)) }
        (map.firstRow, map.firstColumn, map.columnStep, map.byteLimit) = (.min, .min, .min, .min)
        for size in [0, -1, .nan, .infinity, 1e9] {
            (map.width, map.height) = (size, size)
            try picture(map.svg)
        }
    }
}
