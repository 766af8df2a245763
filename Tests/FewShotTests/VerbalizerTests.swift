import FewShot
import Files
import Support
import TestSupport
import Testing

@Suite struct VerbalizerTests {
    private func read(_ text: String) throws -> Verbalizer {
        try Verbalizer(JSON.parse(text, name: "words"), name: "words")
    }

    @Test func theOrderOfTheFileIsThatOfTheClasses() throws {
        let scratch = try ScratchFolder()
        let path = try scratch.write("words.json", "{\"pos\": \"great\", \"neg\": [\"bad\", \"terrible\"]}")
        let verbalizer = try Verbalizer(path: path)
        #expect(verbalizer.labels == ["pos", "neg"])
        #expect(verbalizer.words == [["great"], ["bad", "terrible"]])
        #expect(verbalizer.allWords == ["great", "bad", "terrible"])
    }

    @Test func labelsAreTheirOwnWords() throws {
        let verbalizer = try Verbalizer(labels: ["card_arrival", "top-up"])
        #expect(verbalizer.labels == ["card_arrival", "top-up"])
        #expect(verbalizer.words == [["card arrival"], ["top up"]])
        expectError(.format, "\"a b\"", "\"a_b\"", "\"a-b\"") { try Verbalizer(labels: ["a_b", "a-b"]) }
    }

    @Test func theMaximumOfAClassCounts() throws {
        let verbalizer = try read("{\"a\": [\"x\", \"y\"], \"b\": \"z\"}")
        #expect(try verbalizer.classScores(wordScores: [1, 3, 2, -4, -5, -6], count: 2) == [3, 2, -4, -6])
        #expect(try verbalizer.classScores(wordScores: [], count: 0) == [])
        expectError(.shape, "wordScores", "2 x 3", "5") {
            try verbalizer.classScores(wordScores: [0, 0, 0, 0, 0], count: 2)
        }
    }

    @Test func aTaskSaysItsRevision() throws {
        func task(_ schema: String) throws -> ClassificationTask {
            let text = "{\(schema)\"template\": \"{text} [MASK]\", \"labels\": {\"a\": \"x\", \"b\": \"z\"}}"
            return try ClassificationTask(try JSON.parse(text, name: "task"), name: "task")
        }
        #expect(try task("").json["schema"] == 1)
        #expect(try task("\"schema\": 1, ").classes == 2)
        expectError(.incompatible, "schema of a task must be 1, which this version reads, found 2") {
            try task("\"schema\": 2, ")
        }
    }

    @Test func mistakesAreExplained() {
        expectError(.format, "words", "an array") { try read("[1]") }
        expectError(.format, "2 labels", "1") { try read("{\"a\": \"x\"}") }
        expectError(.format, "\"b\"", "no words") { try read("{\"a\": \"x\", \"b\": []}") }
        expectError(.format, "\"b\"", "empty word") { try read("{\"a\": \"x\", \"b\": [\"y\", \"\"]}") }
        expectError(.format, "\"b\"", "an integer") { try read("{\"a\": \"x\", \"b\": 3}") }
        expectError(.format, "\"b\"", "null") { try read("{\"a\": \"x\", \"b\": [null]}") }
        expectError(.format, "\"x\"", "\"a\"", "\"b\"") { try read("{\"a\": \"x\", \"b\": [\"y\", \"x\"]}") }
        expectError(.format, "\"x\"", "twice", "\"a\"") { try read("{\"a\": [\"x\", \"x\"], \"b\": \"y\"}") }
        expectError(.format, "\" x\"", "white space", "template") { try read("{\"a\": \" x\", \"b\": \"y\"}") }
    }
}
