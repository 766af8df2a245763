import Files
import Support
import TestSupport
import Testing

@Suite struct JSONTests {
    @Test func readsEveryKindInOrder() throws {
        let text = #" {"z": null, "a": [true, false], "n": -12, "x": 1.5e2, "s": "é\n\u0000\ud83d\ude00", "o": {}} "#
        let value = try JSON.parse(text, name: "t.json")
        #expect(value.objectValue?.map(\.key) == ["z", "a", "n", "x", "s", "o"])
        #expect(value["z"] == .null)
        #expect(value["a"] == [true, false])
        #expect(value["n"] == .int(-12))
        #expect(value["x"] == .double(150))
        #expect(value["s"] == .string("é\n\0😀"))
        #expect(value["o"] == .object([]))
        #expect(value["missing"] == nil)
    }

    @Test func skipsAByteOrderMark() throws {
        #expect(try JSON.parse("\u{FEFF}[1]", name: "t") == [1])
    }

    @Test func readsIntegersBeyond64BitsAsDoubles() throws {
        // As transformers writes model_max_length for "no limit".
        let text = #"{"model_max_length": 1000000000000000019884624838656, "low": -99999999999999999999, "next": 5}"#
        let value = try JSON.parse(text, name: "tokenizer_config.json")
        #expect(value["model_max_length"] == .double(1e30))
        #expect(value["low"] == .double(-1e20))
        #expect(value["next"] == .int(5))
        #expect(try JSON.parse("\(Int64.min)", name: "t") == .int(.min))
        let many = "[" + Array(repeating: "99999999999999999999", count: 65).joined(separator: ",") + "]"
        expectError(.format, "t, line 1", "too big integer") { try JSON.parse(many, name: "t") }
    }

    @Test func accessorsAndPaths() throws {
        let value: JSON = ["a": ["b": [10, 2.5]], "a.b": "dots", "s": "x", "t": true]
        #expect(value.value(at: "a.b") == "dots")
        #expect(value.value(at: "a.b.0")?.intValue == 10)
        #expect(value.value(at: "a.b.0")?.doubleValue == 10)
        #expect(value.value(at: "a.b.1")?.intValue == nil)
        #expect(value.value(at: "a.b.2") == nil)
        #expect(value.value(at: "a.c") == nil)
        #expect(value.value(at: "s.t") == nil)
        #expect(value["s"]?.stringValue == "x")
        #expect(value["t"]?.boolValue == true)
        #expect(value["s"]?.arrayValue == nil)
        #expect(value["s"]?.objectValue == nil)
    }

    /// "é" as one character and as two is one text to `String`, and two to every other program.
    @Test func textsAreComparedByTheirScalars() throws {
        let value = try JSON.parse("{\"e\u{301}\": 1, \"\u{E9}\": 2}", name: "t")
        #expect(value["e\u{301}"] == 1)
        #expect(value["\u{E9}"] == 2)
        #expect(value != ["e\u{301}": 2, "\u{E9}": 1])
        #expect(JSON.string("e\u{301}") != "\u{E9}")
    }

    @Test func aKeyMayHoldAnyCharacter() throws {
        // What stands in for U+0000 while the text is read must not be taken for what the text holds.
        let text = #"{"\u0000": 1, "a\\u0000": 2, "\ue000": 3, "\#u{E001}": "\u0000\uE002", "\\\u0000": 4}"#
        let value = try JSON.parse(text, name: "t")
        #expect(value["\0"] == 1)
        #expect(value["a\\u0000"] == 2)
        #expect(value["\u{E000}"] == 3)
        #expect(value["\u{E001}"] == "\0\u{E002}")
        #expect(value["\\\0"] == 4)
        expectError(.format, "t, line 1", "NUL byte in object key") {
            let used = (0..<16).map { "\u{5C}ue00\(String($0, radix: 16))" }.joined()
            return try JSON.parse("{\"\u{5C}u0000\": \"\(used)\"}", name: "t")
        }
    }

    @Test func equalityIgnoresTheOrderOfKeysOnly() {
        let one: JSON = ["a": 1, "b": 2]
        #expect(one == ["b": 2, "a": 1])
        #expect(one != ["b": 2, "a": 3])
        #expect(one != ["a": 1])
        #expect(JSON.int(1) != .double(1))
        #expect([1, 2] as JSON != [2, 1])
    }

    @Test func writesWhatItReads() throws {
        let value: JSON = [
            "text": "quote \" slash \\ tab \t bell \u{7} é 😀",
            "numbers": [0.1, 1e-7, 5e-300, 1.7976931348623157e308, -0.0, 3],
            "empty": .array([]), "none": .object([]), "deep": [["x": .null]],
        ]
        for indent in [nil, 0, 2, 4] {
            let text = try value.serialized(indent: indent)
            let back = try JSON.parse(text, name: "t")
            #expect(back == value)
            #expect(back.objectValue?.map(\.key) == value.objectValue?.map(\.key))
        }
        #expect(try (["a": [1, .null]] as JSON).serialized() == #"{"a":[1,null]}"#)
        #expect(
            try (["a": [1], "b": .object([])] as JSON).serialized(indent: 2)
                == "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}")
    }

    @Test func doublesKeepTheirBits() throws {
        for _ in 0..<2000 {
            let number = Double(bitPattern: .random(in: .min ... .max))
            guard number.isFinite else { continue }
            let back = try JSON.parse(JSON.double(number).serialized(), name: "t")
            #expect(back.doubleValue?.bitPattern == number.bitPattern)
            if case .double = back {} else { Issue.record("\(number) came back as \(back.kind)") }
        }
    }

    @Test func refusesToWriteWhatJSONCannotHold() {
        expectError(.numeric, "\"a.1\"", "nan", "finite") { try (["a": [1, .double(.nan)]] as JSON).serialized() }
        expectError(.numeric, "inf", "finite") { try JSON.double(.infinity).serialized() }
    }

    @Test func malformedTextNamesThePlace() {
        expectError(.format, "c.json, line 2, column 7", "not valid JSON") {
            try JSON.parse("{\n \"a\": ?}", name: "c.json")
        }
        expectError(.format, "c.json, line 3", "\"k\" appears twice") {
            try JSON.parse("{\n\"k\": 1,\n\"k\": 2}", name: "c.json")
        }
        expectError(.format, "c.json", "empty text") { try JSON.parse(" \n", name: "c.json") }
        expectError(.format, "c.json, line 1", "not valid JSON") { try JSON.parse("{} {}", name: "c.json") }
        expectError(.format, "c.json, line 1", "not valid JSON") { try JSON.parse("[1", name: "c.json") }
        let nested = String(repeating: "[", count: 2000) + String(repeating: "]", count: 2000)
        #expect(throws: Never.self) { try JSON.parse(nested, name: "c.json").serialized() }
        let deep = String(repeating: "[", count: 5000)
        expectError(.format, "c.json", "not valid JSON", "depth") { try JSON.parse(deep, name: "c.json") }
    }

    @Test(arguments: ["NaN", "Infinity", "-Infinity"])
    func nonFiniteNumbersAreRefusedClearly(_ word: String) {
        let bare = word.hasPrefix("-") ? String(word.dropFirst()) : word
        expectError(.format, "config.json, line 1", "JSON has no \(bare)", "expected a finite number") {
            try JSON.parse("{\"eps\": \(word), \"b\": 1}", name: "config.json")
        }
    }

    @Test func invalidUTF8NamesLineAndByte() {
        let bytes = Array("{\"a\": 1,\n\"b\": \"".utf8) + [0xC3, 0x28] + Array("\"}".utf8)
        expectError(.format, "c.json, line 2", "expected UTF-8", "0xc3") {
            try bytes.withUnsafeBytes { try JSON.parse($0, name: "c.json") }
        }
    }

    @Test func requirersGiveTheValueOrASentence() throws {
        let value: JSON = [
            "d_model": "wide", "n": 3, "f": 0.5, "s": "x", "b": false, "null": .null, "ids": [1, 2],
            "words": ["a", "b"], "mixed": [1, "x"], "inner": ["n": 4],
        ]
        let name = "config.json"
        #expect(try value.requireInt("n", in: name) == 3)
        #expect(try value.requireInt("inner.n", in: name) == 4)
        #expect(try value.requireDouble("n", in: name) == 3)
        #expect(try value.requireDouble("f", in: name) == 0.5)
        #expect(try value.requireString("s", in: name) == "x")
        #expect(try value.requireBool("b", in: name) == false)
        #expect(try value.requireInts("ids", in: name) == [1, 2])
        #expect(try value.requireStrings("words", in: name) == ["a", "b"])
        #expect(try value.requireArray("mixed", in: name).count == 2)
        #expect(try value.requireObject("inner", in: name).count == 1)
        #expect(try value.optionalInt("absent", in: name) == nil)
        #expect(try value.optionalDouble("null", in: name) == nil)
        #expect(try value.optionalString("s", in: name) == "x")
        #expect(try value.optionalBool("b", in: name) == false)
        #expect(try value.optionalInts("ids", in: name) == [1, 2])
        #expect(try value.optionalStrings("absent", in: name) == nil)

        expectError(.format, "config.json: \"d_model\" must be an integer, found a string") {
            try value.requireInt("d_model", in: name)
        }
        expectError(.format, "config.json: \"d_model\" must be an integer, found a string") {
            try value.optionalInt("d_model", in: name)
        }
        expectError(.format, "config.json: \"layers\" is missing, it must be an integer") {
            try value.requireInt("layers", in: name)
        }
        expectError(.format, "\"f\" must be an integer, found a decimal number") { try value.requireInt("f", in: name) }
        expectError(.format, "\"null\" must be a number, found null") { try value.requireDouble("null", in: name) }
        expectError(.format, "\"mixed\" must be an array of integers", "holding an integer and a string") {
            try value.requireInts("mixed", in: name)
        }
    }

    @Test func aLargeTokenizerParsesFast() throws {
        var members: [(key: String, value: JSON)] = []
        for id in 0..<150_000 { members.append((key: "▁token\(id)", value: .int(Int64(id)))) }
        let merges = JSON.array((0..<100_000).map { .string("▁tok en\($0)") })
        let text = try JSON.object([(key: "vocab", value: .object(members)), (key: "merges", value: merges)])
            .serialized()
        #expect(text.utf8.count > 4_500_000)
        let clock = ContinuousClock()
        var parsed = JSON.null
        let time = try clock.measure { parsed = try JSON.parse(text, name: "tokenizer.json") }
        #expect(parsed["vocab"]?.objectValue?.count == 150_000)
        print("parsed \(text.utf8.count) bytes of JSON in \(time)")
        // Generous, since debug builds and busy machines are slow; release takes a small part of it.
        #expect(time < .seconds(5))
    }
}
