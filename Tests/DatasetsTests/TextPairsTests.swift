import Datasets
import Files
import Support
import TestSupport
import Testing

@Suite struct MeaningRepresentations {
    @Test func linearised() throws {
        func text(_ representation: String) throws -> String {
            try MeaningRepresentation(representation, place: "here").linearised
        }
        // A line of src1_test.txt of Li and Liang's data, and all attributes of the challenge.
        #expect(
            try text("name[Blue Spice], eatType[coffee shop], area[city centre]")
                == "name : Blue Spice | Type : coffee shop | area : city centre")
        #expect(
            try text(
                "food[Fast food], priceRange[£20-25], customer rating[3 of 5], familyFriendly[no], near[Café, Ranch]")
                == "food : Fast food | price : £20-25 | customer rating : 3 of 5 | family friendly : no"
                + " | near : Café, Ranch")
        #expect(try text(" customerRating [ low ] ,other[x] ") == "customer rating : low | other : x")
        let attributes = try MeaningRepresentation("eatType[pub], eatType[bar]", place: "").attributes
        #expect(attributes == [.init(name: "eatType", value: "pub"), .init(name: "eatType", value: "bar")])
    }

    @Test func malformed() {
        let cases = [
            ("", "\"\" where an attribute"), ("pub", "\"pub\" where an attribute"),
            ("a[b],", "\"\" where an attribute"),
            ("[b]", "without the name"), ("a[b], [c]", "without the name"), ("a]b[c]", "\"a]b\" where the name"),
            ("a, b[c]", "\"a, b\" where the name"), ("a[b", "no closing bracket behind the value of \"a\""),
            ("a[b[c]]", "no closing bracket behind the value of \"a\""), ("a[ ]", "no value of \"a\""),
            ("a[b] c[d]", "\"c[d]\" behind \"a\", where a comma"), ("a[b]]", "\"]\" behind \"a\""),
        ]
        for (text, words) in cases {
            expectError(.format, "mrs.csv, line 7", "must be a meaning representation like name[Blue Spice]", words) {
                try MeaningRepresentation(text, place: "mrs.csv, line 7: \"mr\"")
            }
        }
    }
}

@Suite struct TextPairsTests {
    private let file = """
        mr,ref
        "name[A], area[x]",One.
        name[B],Two.
        "name[A], area[x]","Three, ""too""."

        """

    @Test func theE2EFormat() throws {
        var options = TextPairs.Options(format: .e2e)
        let pairs = try TextPairs(Table.parse(file, format: .csv, name: "e2e"), options: options)
        #expect(pairs.sources == ["name : A | area : x", "name : B", "name : A | area : x"])
        #expect(pairs.targets == ["One.", "Two.", "Three, \"too\"."])
        #expect(pairs.lines == [2, 3, 4])
        #expect(pairs.rowsBySource() == [[0, 2], [1]])

        (options.sourcePrefix, options.sourceSuffix) = ("Say: ", "\n")
        (options.sourceColumn, options.targetColumn) = ("s", "t")
        let other = try Table.parse("{\"t\": \"T\", \"s\": \"name[A]\"}", format: .jsonl, name: "e2e")
        #expect(try TextPairs(other, options: options).sources == ["Say: name : A\n"])
    }

    @Test func textsThatOnlyLookEqualAreTwoSources() throws {
        let table = try Table.parse(
            "source,target\ncaf\u{E9},a\ncafe\u{301},b\n", format: .csv, name: "pairs")
        #expect(try TextPairs(table).rowsBySource() == [[0], [1]])
    }

    @Test func refusals() throws {
        func read(_ text: String) throws -> TextPairs {
            try TextPairs(Table.parse(text, format: .csv, name: "e2e.csv"), options: .init(format: .e2e))
        }
        expectError(.format, "e2e.csv, line 3: \"mr\" must be a meaning representation", "\"B\" where") {
            try read("mr,ref\nname[A],One.\nB,Two.\n")
        }
        expectError(.format, "e2e.csv, line 2: \"ref\" must be a text, found an empty one") {
            try read("mr,ref\nname[A], \n")
        }
        expectError(.notFound, "e2e.csv has no column \"mr\"") { try read("source,ref\nname[A],One.\n") }
    }
}
