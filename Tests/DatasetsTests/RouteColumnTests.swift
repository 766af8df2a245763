import Datasets
import Files
import Support
import TestSupport
import Testing

@Suite struct RouteColumnTests {
    private func table(_ text: String) throws -> Table { try Table.parse(text, format: .jsonl, name: "a.jsonl") }

    @Test func emptyAndNullAreTheDefaultRoute() throws {
        let table = try table(
            "{\"route\": \"fr\", \"x\": 1}\n{\"route\": \"\", \"x\": 2}\n{\"route\": null, \"x\": 3}\n")
        #expect(try table.routes(.optional("route")) == ["fr", nil, nil])
        #expect(try table.routes(.required("route")) == ["fr", nil, nil])
        #expect(try table.routes(.none) == [])
        #expect(try table.routes(.optional("adapter")) == [])
        expectError(.notFound, "a.jsonl has no column \"adapter\"") { try table.routes(.required("adapter")) }
        expectError(.format, "a.jsonl, line 1: \"x\" must be a string, found ") { try table.routes(.required("x")) }
    }

    /// The same source on two routes is two texts.
    @Test func referencesAreOfOneRoute() throws {
        let lines = [("a", "x", "fr"), ("a", "y", "fr"), ("a", "z", "de"), ("a", "w", "")].map {
            "{\"source\": \"\($0.0)\", \"target\": \"\($0.1)\", \"route\": \"\($0.2)\"}\n"
        }
        var options = TextPairs.Options()
        #expect(try TextPairs(table(lines.joined()), options: options).rowsBySource() == [[0, 1, 2, 3]])
        options.routeColumn = .optional("route")
        let pairs = try TextPairs(table(lines.joined()), options: options)
        #expect(pairs.routes == ["fr", "fr", "de", nil] && pairs.rowsBySource() == [[0, 1], [2], [3]])
    }

    @Test func labelledTextsHaveThem() throws {
        let lines = "{\"text\": \"a\", \"label\": 0, \"route\": \"r\"}\n{\"text\": \"b\", \"label\": 1}\n"
        var columns = LabelledTexts.Columns()
        #expect(try LabelledTexts(table(lines), columns: columns).routes.isEmpty)
        columns.route = .optional("route")
        let texts = try LabelledTexts(table(lines), columns: columns)
        #expect(texts.routes == ["r", nil] && texts.prefix(1).routes == ["r"])
    }
}
