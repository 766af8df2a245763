import Datasets
import Files
import Support
import TestSupport
import Testing

@Suite struct LabelledTextsTests {
    private func read(
        _ content: String, _ name: String = "data.jsonl", columns: LabelledTexts.Columns = .init(),
        labelNames: [String]? = nil
    ) throws -> LabelledTexts {
        let scratch = try ScratchFolder()
        return try LabelledTexts(try scratch.write(name, content), columns: columns, labelNames: labelNames)
    }

    @Test func labelsInOrderOfAppearance() throws {
        let data = try read(
            """
            {"text": "x", "label": "b"}

            {"text": "y", "label": "a"}
            {"text": "z", "label": "b"}
            """)
        #expect(data.inputs == [InputText("x"), InputText("y"), InputText("z")])
        #expect(data.labelNames == ["b", "a"])
        #expect(data.labels == [0, 1, 0])
        #expect(data.lines == [1, 3, 4])
        let numbers = "{\"text\": \"x\", \"label\": 1}\n{\"text\": \"y\", \"label\": 0}"
        #expect(try read(numbers, labelNames: ["0", "1"]).labels == [1, 0])
    }

    @Test func columnsOfKnownDataSets() throws {
        var columns = LabelledTexts.Columns()
        columns.text = "sentence"
        let sst = try read("sentence\tlabel\nhide new \"secretions\t0\na b\t1\n", "sst.tsv", columns: columns)
        #expect(sst.inputs[0].text == "hide new \"secretions" && sst.labelNames == ["0", "1"])
        columns = .init()
        columns.label = "category"
        let bank = try read("text,category\n\"Where, please?\",card_arrival\n", "bank.csv", columns: columns)
        #expect(bank.inputs == [InputText("Where, please?")] && bank.labelNames == ["card_arrival"])
        let pairs = try read("text,text_b,label\na,b,1\n", "pairs.csv")
        #expect(pairs.inputs == [InputText("a", "b")])
        columns = .init()
        columns.textB = "hypothesis"
        #expect(try read("text,hypothesis,label\na,c,1\n", "nli.csv", columns: columns).inputs == [InputText("a", "c")])
        expectError(.notFound, "\"hypothesis\"", "\"text_b\"") {
            try read("text,text_b,label\na,b,1\n", "pairs.csv", columns: columns)
        }
    }

    @Test func mistakesNameTheLine() {
        let good = "{\"text\": \"x\", \"label\": \"a\"}\n"
        expectError(.format, "line 2", "\"text\"", "empty") { try read(good + "{\"text\": \" \", \"label\": \"a\"}") }
        expectError(.format, "line 2", "\"label\"", "a decimal number") {
            try read(good + "{\"text\": \"x\", \"label\": 0.5}")
        }
        expectError(.format, "line 2", "\"label\"", "empty") { try read(good + "{\"text\": \"x\", \"label\": \"\"}") }
        expectError(.format, "line 2", "\"c\"", "\"a\", \"b\"") {
            try read(good + "{\"text\": \"x\", \"label\": \"c\"}", labelNames: ["a", "b"])
        }
        expectError(.notFound, "\"label\"", "\"text\"") { try read("{\"text\": \"x\"}") }
        expectError(.format, "line 2", "UTF-8") {
            let scratch = try ScratchFolder()
            try FileSystem.atomicWriteFile(
                scratch["a.csv"], Array("text,label\n".utf8) + [0xC3, 0x28, 0x0A] as [UInt8])
            return try LabelledTexts(scratch["a.csv"])
        }
    }

    @Test func trainingRowsAreDistinct() throws {
        let data = try read("text,label\na,0\nb,1\na,0\nb,0\nc,1\n", "d.csv")
        try data.checkTraining(rows: [0, 1, 4])
        expectError(.format, "lines 2 and 4", "same text", "allow duplicates") {
            try data.checkTraining(rows: [0, 1, 2])
        }
        try data.checkTraining(rows: [0, 1, 2], allowingDuplicates: true)
        expectError(.format, "lines 3 and 5", "\"1\"", "\"0\"") {
            try data.checkTraining(rows: [1, 3], allowingDuplicates: true)
        }
        expectError(.invalidArgument, "0 to 4", "5") { try data.checkTraining(rows: [5]) }
        // Composed and decomposed accents are different texts.
        let accents = try read("text,label\ncaf\u{e9},0\ncafe\u{301},1\n", "e.csv")
        try accents.checkTraining(rows: [0, 1])
    }
}
