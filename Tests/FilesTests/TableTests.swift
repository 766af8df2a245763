import Files
import Support
import TestSupport
import Testing

@Suite struct TableTests {
    let scratch: ScratchFolder
    init() throws { scratch = try ScratchFolder() }

    @Test func readsCSVWithQuotes() throws {
        let text = "id,text,label\r\n1,\"one, \"\"two\"\"\r\nthree\",pos\r\n\r\n2,,\"\"\r\n3,grüße,neg"
        let table = try Table.parse(text, format: .csv, name: "d.csv")
        #expect(table.columns == ["id", "text", "label"])
        #expect(table.count == 3)
        #expect(try table.integers("id") == [1, 2, 3])
        #expect(try table.strings("text") == ["one, \"two\"\r\nthree", "", "grüße"])
        #expect(try table.strings("label") == ["pos", "", "neg"])
        #expect(table.lines == [2, 5, 6])
    }

    @Test func readsTSVWithoutQuoting() throws {
        let path = try scratch.write("d.tsv", "\u{FEFF}sentence\tlabel\n\" a 'quote\t1\nb, c\t-0.5\n")
        let table = try Table.read(path)
        #expect(try table.strings("sentence") == ["\" a 'quote", "b, c"])
        #expect(try table.numbers("label") == [1, -0.5])
    }

    @Test func readsJSONLines() throws {
        let text = """
            {"text": "a", "ids": [1, 2], "label": 0}

            {"label": 1, "text": "b\\nc", "ids": [], "extra": 0.5}\r
            {"text": "d", "ids": [3], "label": 2}
            """
        for name in ["d.jsonl", "d.NDJSON"] {
            let table = try Table.read(scratch.write(name, text))
            #expect(table.columns == ["text", "ids", "label", "extra"])
            #expect(try table.strings("text") == ["a", "b\nc", "d"])
            #expect(try table.integerArrays("ids") == [[1, 2], [], [3]])
            #expect(try table.integers("label") == [0, 1, 2])
            #expect(try table.values("extra") == [.null, 0.5, .null])
            #expect(table.lines == [1, 3, 4])
        }
    }

    @Test func namesOfOtherScalarsAreOtherColumns() throws {
        let (one, two) = ("cl\u{E9}", "cle\u{301}")
        let lines = "{\"\(two)\": \"z\", \"\(one)\": \"a\"}\n{\"\(one)\": \"b\"}\n"
        let table = try Table.parse(lines, format: .jsonl, name: "d.jsonl")
        #expect(try table.values(one) == ["a", "b"])
        #expect(try table.values(two) == ["z", .null])
        let csv = try Table.parse("\(one),\(two)\n1,2\n", format: .csv, name: "d.csv")
        #expect(try csv.integers(one) == [1])
        #expect(try csv.integers(two) == [2])
        let other = try Table.parse("\(one)\n1\n", format: .csv, name: "d.csv")
        expectError(.notFound, "d.csv has no column") { try other.values(two) }
    }

    @Test func cellsOfAnotherKindNameTheLine() throws {
        let table = try Table.parse("{\"t\": \"a\", \"n\": 1}\n{\"t\": 5}", format: .jsonl, name: "d.jsonl")
        expectError(.format, "d.jsonl, line 2: \"t\" must be a string, found an integer") { try table.strings("t") }
        expectError(.format, "d.jsonl, line 2: \"n\" must be an integer, found null") { try table.integers("n") }
        expectError(.format, "line 1: \"t\" must be an array of integers, found \"a\"") { try table.integerArrays("t") }
        let csv = try Table.parse("n\n1\nmany", format: .csv, name: "d.csv")
        expectError(.format, "d.csv, line 3: \"n\" must be an integer, found \"many\"") { try csv.integers("n") }
        let infinite = try Table.parse("n\ninf", format: .csv, name: "d.csv")
        expectError(.format, "line 2: \"n\" must be a number, found \"inf\"") { try infinite.numbers("n") }
    }

    @Test func missingColumnsAreNamedTogether() throws {
        let table = try Table.parse("text,label\na,1", format: .csv, name: "d.csv")
        try table.require(columns: ["label", "text"])
        expectError(.notFound, "d.csv has no column \"x\", \"y\", its columns are \"text\", \"label\"") {
            try table.require(columns: ["x", "text", "y"])
        }
        expectError(.notFound, "has no column \"x\"") { try table.strings("x") }
    }

    @Test func malformedRowsNameTheLine() throws {
        func refuse(_ words: String, _ text: String, _ format: TableFormat, line: SourceLocation = #_sourceLocation) {
            expectError(.format, "d.txt", words, sourceLocation: line) {
                try Table.parse(text, format: format, name: "d.txt")
            }
        }
        refuse("line 3: expected 2 cells as in the header, found 3", "a,b\n1,2\n1,2,3\n", .csv)
        refuse("line 4: expected 2 cells as in the header, found 1", "a,b\n\"1\n\",2\n1\n", .csv)
        refuse("line 2: expected 2 cells as in the header, found 1", "a\tb\nx\n", .tsv)
        refuse("line 1: the column \"a\" appears twice in the header", "a,b,a\n1,2,3", .csv)
        refuse("line 3: a cell starts with a quote that is never closed", "a,b\n1,2\n3,\"x\n4,5\n", .csv)
        refuse("line 2: a quote stands inside a cell", "a\nsay \"x\"\n", .csv)
        refuse("line 2: expected a comma or the end of the line after a closing quote", "a\n\"x\"y\n", .csv)
        refuse("expected rows after the header, found none", "a,b\n", .csv)
        refuse("expected rows of data, found an empty text", "\n \n", .csv)
        refuse("expected rows of data, found an empty text", "", .jsonl)
        refuse("line 3, column", "{\"a\": 1}\n\n{\"a\": }", .jsonl)
        refuse("line 2: expected a JSON object, found an array", "{\"a\": 1}\n[1]", .jsonl)
        refuse("line 2, column 12: the key \"a\" appears twice", "{\"a\": 1}\n{\"a\": 1, \"a\": 2}", .jsonl)
    }

    @Test func filesAreNamed() throws {
        expectError(.format, "d.csv, line 2", "expected UTF-8 text", "0xe9") {
            try Table.read(scratch.write("d.csv", bytes: Array("a\n".utf8) + [0xE9, 0x0A]))
        }
        expectError(.format, "d.jsonl", "is empty") { try Table.read(scratch.write("d.jsonl", "")) }
        expectError(.notFound, "none.tsv", "no such file") { try Table.read(scratch["none.tsv"]) }
        expectError(.unsupported, "d.parquet", "expected a name ending in .jsonl, .ndjson, .csv or .tsv") {
            try Table.read(scratch.write("d.parquet", "PAR1"))
        }
        #expect(try Table.read(scratch.write("d.dat", "a\n1"), format: .csv).count == 1)
    }
}
