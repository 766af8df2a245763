import FewShot
import Files
import Support
import TestSupport
import Testing

@Suite struct ReportTests {
    private func report() throws -> Report {
        var report = Report(title: "SST-2, a <model> & more")
        func add(_ method: String, _ shots: Int, _ values: [Double]) throws {
            let spread = try Spread(values)
            try report.add(
                .init(
                    accuracy: spread, macroF1: spread, queries: 4 * shots, secondsQuerying: 1.5, secondsTraining: 0.25),
                method: method, shots: shots)
        }
        try add("zero-shot", 0, [0.7])
        try add("DecT", 1, [0.8, 0.9])
        try add("DecT", 16, [0.9, 0.91])
        try add("LR | linear", 16, [0.85, 0.89])
        return report
    }

    @Test func aTableForATerminal() throws {
        let lines = try report().text.split(separator: "\n", omittingEmptySubsequences: false)
        let expected: [Substring] = [
            "SST-2, a <model> & more", "",
            "accuracy (%)  0 shots      1 shot    16 shots",
            "zero-shot        70.0           –           –",
            "DecT                –  85.0 ± 7.1  90.5 ± 0.7",
            "LR | linear         –           –  87.0 ± 2.8", "",
        ]
        #expect(Array(lines[..<7]) == expected)
        #expect(lines.contains("DecT                –    0.25      0.25"))
    }

    @Test func aTableInMarkdown() throws {
        let lines = try report().markdown.split(separator: "\n")
        #expect(lines[1] == "| accuracy (%) | 0 shots |     1 shot |   16 shots |")
        #expect(lines[2] == "| --- | ---: | ---: | ---: |")
        #expect(lines[4] == "| DecT         |       – | 85.0 ± 7.1 | 90.5 ± 0.7 |")
        #expect(lines[5].hasPrefix("| LR \\| linear |"))
    }

    @Test func figuresForPrograms() throws {
        let json = try JSON.parse(report().json.serialized(), name: "report")
        let first: JSON = [
            "method": "zero-shot", "shots": 0, "accuracy": ["mean": 0.7, "sd": .null, "n": 1],
            "macro_f1": ["mean": 0.7, "sd": .null, "n": 1], "queries": 0, "seconds_querying": 1.5,
            "seconds_training": 0.25,
        ]
        #expect(json.value(at: "results.0") == first)
        #expect(json["results"]?.arrayValue?.count == 4)
        #expect(json.value(at: "results.2.shots") == 16)
    }

    @Test func aPicture() throws {
        let svg = try report().svg
        #expect(svg.contains("SST-2, a &lt;model&gt; &amp; more"))
        #expect(svg.contains("stroke-dasharray") && svg.contains("<polygon") && svg.contains(">16</text>"))
        for name in ["zero-shot", "DecT", "LR | linear"] { #expect(svg.contains(">\(name)</text>")) }
        #expect(!svg.contains("nan") && !svg.contains("inf"))
        // Without any results, too.
        #expect(Report(title: "").svg.hasSuffix("</svg>\n"))
    }

    @Test func mistakesAreExplained() throws {
        var report = try report()
        let cell = try #require(report["DecT", 16])
        expectError(.alreadyExists, "\"DecT\"", "16") { try report.add(cell, method: "DecT", shots: 16) }
        expectError(.invalidArgument, "shots", "-1") { try report.add(cell, method: "DecT", shots: -1) }
        var odd = cell
        odd.secondsQuerying = .nan
        expectError(.numeric, "\"DecT\"", "nan") { try report.add(odd, method: "DecT", shots: 2) }
    }
}
