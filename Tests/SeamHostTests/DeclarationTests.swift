import CSeam
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// What plugins declare: method signatures and options.
@Suite struct DeclarationTests {
    // MARK: Methods

    @Test func goodSignatures() throws {
        let cases: [(String, Method.ValueType, [Method.ValueType])] = [
            ("void (void *, const seam_pass *)", .void, []),
            ("seam_tensor *(void *, const seam_pass *, double)", .tensor, [.double]),
            (
                "seam_tensor*(void*,const seam_pass*,int64_t,const char*,seam_tensor*)", .tensor,
                [.int, .string, .tensor]
            ),
            ("const char *(void *, const seam_pass *)", .string, []),
            ("  int64_t   ( void *, const   seam_pass  * , double )", .int, [.double]),
        ]
        for (signature, result, arguments) in cases {
            let parsed = try #require(Method.parse(signature), "\(signature)")
            #expect(parsed.0 == result)
            #expect(parsed.1 == arguments)
        }
    }

    @Test(arguments: [
        "", "void", "void ()", "void (void)", "double (double)", "(void *, const seam_pass *)",
        "float (void *, const seam_pass *)", "void (void *, const seam_pass *, float)", "void (void *, seam_pass *)",
        "void (void *, const seam_pass *, void)", "void (void *, const seam_pass *, double",
        "void (void *, const seam_pass *,)",
        "void (void *, const seam_pass *,, double)", "void (, void *, const seam_pass *)",
        "void (void *, const seam_pass *, double x)", "void (void *, const seam_pass *, seam_tensor **)",
        "void (void *, const seam_pass *);", "void (*)(void *, const seam_pass *)",
        "void (void *, const seam_pass *, ...)", "void (const seam_pass *)", "void (const seam_pass *, void *)",
        "void (void *)", "seam_tensor *(const seam_method_call *, double)",
    ]) func badSignatures(_ signature: String) {
        #expect(Method.parse(signature) == nil)
    }

    // MARK: Options

    /// Declares an option as a plugin would.
    private func option(
        _ kind: DeclaredOption.Kind, _ fallback: String, choices: String? = nil, from low: Double = 0,
        to high: Double = 0
    ) throws -> DeclaredOption {
        try "value".withCString { name in
            try fallback.withCString { fallback in
                func make(_ choices: UnsafePointer<CChar>?) throws -> DeclaredOption {
                    var raw = seam_option()
                    raw.struct_size = UInt32(MemoryLayout<seam_option>.size)
                    (raw.kind, raw.name, raw.default_value, raw.choices) = (kind.rawValue, name, fallback, choices)
                    (raw.minimum, raw.maximum) = (low, high)
                    return try DeclaredOption(&raw, owner: "it", origin: "test")
                }
                guard let choices else { return try make(nil) }
                return try choices.withCString { try make($0) }
            }
        }
    }

    private func resolve(_ option: DeclaredOption, _ value: JSON) throws -> JSON? {
        try DeclaredOption.resolve(["value": value], against: [option], owner: "it")["value"]
    }

    @Test func defaultsFillInAndIntegersWiden() throws {
        let options = [try option(.double, "2")]
        #expect(try DeclaredOption.resolve(.null, against: options, owner: "it").json == ["value": .double(2)])
        #expect(try DeclaredOption.resolve([:], against: options, owner: "it").json == ["value": .double(2)])
        #expect(try resolve(options[0], 3) == .double(3))
    }

    @Test func wrongTypesAreRefused() throws {
        let cases: [(DeclaredOption, JSON, String)] = [
            (try option(.bool, "true"), 1, "it: option \"value\" must be a boolean, found 1"),
            (try option(.int, "1"), 1.5, "must be an integer, found 1.5"),
            (try option(.int, "1"), "1", "must be an integer, found \"1\""),
            (try option(.double, "1"), true, "must be a number, found true"),
            (try option(.string, "\"a\""), 3, "must be a string, found 3"),
            (try option(.string, "\"a\""), .null, "must be a string, found null"),
            (try option(.string, "\"a\""), ["a"], "must be a string, found [\"a\"]"),
        ]
        for (option, value, words) in cases { expectError(.invalidArgument, words) { try resolve(option, value) } }
        expectError(.invalidArgument, "it: the options must be a JSON object, found an array") {
            try DeclaredOption.resolve([1], against: [], owner: "it")
        }
    }

    @Test func rangesAndChoices() throws {
        let bounded = try option(.int, "2", from: 1, to: 3)
        for value in [1, 3] as [Int64] { #expect(try resolve(bounded, .int(value)) == .int(value)) }
        for value in [0, 4, .max, .min] as [Int64] {
            expectError(.invalidArgument, "must be an integer from 1 to 3, found \(value)") {
                try resolve(bounded, .int(value))
            }
        }
        let real = try option(.double, "0.5", from: 0, to: 1)
        #expect(try resolve(real, 1) == .double(1))
        expectError(.invalidArgument, "must be a number from 0.0 to 1.0, found 1.5") { try resolve(real, 1.5) }
        let named = try option(.string, "\"a\"", choices: "a|b")
        #expect(try resolve(named, "b") == "b")
        expectError(.invalidArgument, "must be one of a, b, found \"c\"") { try resolve(named, "c") }
        #expect(try resolve(try option(.int, "2"), .int(.min)) == .int(.min))
    }

    /// A plugin may leave one end open.
    @Test func openRanges() throws {
        let positive = try option(.int, "2", from: 1, to: .infinity)
        #expect(try resolve(positive, .int(.max)) == .int(.max))
        expectError(.invalidArgument, "must be an integer of 1 or more, found 0") { try resolve(positive, 0) }
        let negative = try option(.double, "-2", from: -.infinity, to: 0)
        expectError(.invalidArgument, "must be a number of 0.0 or less, found 1.0") { try resolve(negative, 1.0) }
        #expect(positive.description["minimum"] == 1 && positive.description["maximum"] == nil)
        #expect(try !negative.description.serialized().isEmpty)
    }

    @Test func unknownKeysAreListedWithTheKnown() throws {
        expectError(.invalidArgument, "it: unknown option \"a\", \"b\"; known are value") {
            try DeclaredOption.resolve(["a": 1, "b": 2], against: [try option(.int, "1")], owner: "it")
        }
        expectError(.invalidArgument, "unknown option \"a\"; known are none") {
            try DeclaredOption.resolve(["a": 1], against: [], owner: "it")
        }
    }

    @Test func aWrongDeclarationIsThePluginsFault() throws {
        expectError(.plugin, "the default of option \"value\" is not valid") { try option(.int, "\"x\"") }
        expectError(.plugin, "the default of option \"value\" is not valid") { try option(.int, "5", from: 1, to: 3) }
        expectError(.plugin, "the default of option \"value\" is not valid") {
            try option(.string, "\"c\"", choices: "a|b")
        }
        for fallback in ["1 2", "1, 2", "", "one"] {
            expectError(.plugin, "the default of option \"value\" must be one JSON value, found \(fallback)") {
                try option(.int, fallback)
            }
        }
        expectError(.plugin, "option \"value\" allows 3.0 to 1.0, which is no range") {
            try option(.int, "3", from: 3, to: 1)
        }
        expectError(.plugin, "option \"value\" allows nan to 1.0, which is no range") {
            try option(.int, "3", from: .nan, to: 1)
        }
    }

    // MARK: Configuration

    @Test func nestedKeysAreJoinedByDots() {
        let configuration = Configuration(flattening: ["a": 1, "b": ["c": ["d": "x"], "e": .null], "f": []])
        #expect(configuration["a"] == 1)
        #expect(configuration["b.c.d"] == "x")
        #expect(configuration["b"] == nil)
        #expect(configuration["b.e"] == nil)
        #expect(configuration["f"] == [])
    }

    @Test func elementsOfListsHaveTheirNumbers() {
        let configuration = Configuration(flattening: [
            "ids": [3, 5, [7, "x"]], "a": ["b": [["c": 1], ["c": 2]]], "a.list": [9], "text": "words",
        ])
        #expect(configuration["ids.0"] == 3 && configuration["ids.1"] == 5 && configuration["ids.2"] == [7, "x"])
        #expect(configuration["ids.2.1"] == "x" && configuration["a.b.1.c"] == 2 && configuration["a.list.0"] == 9)
        for key in ["ids.3", "ids.-1", "ids.", "ids.x", "ids.0.0", "a.b.2.c", "a.b.1.d", "text.0", ".0", "."] {
            #expect(configuration[key] == nil, "\(key)")
        }
    }

    @Test func listsAndObjectsOfPlugins() throws {
        let runtime = Runtime()
        let host = runtime.host.pointee
        let json: JSON = ["ids": [3, 5], "a": ["b": ["c": 1.5, "d": .null]], "s": "one\ntwo", "n": .null]
        let handle = Configuration(flattening: json)
        var count = Int64(-1)
        var text: UnsafePointer<CChar>?
        for (key, expected) in [("ids", 2), ("a", 1), ("a.b", 2), ("", 4)] as [(String, Int64)] {
            #expect(host.config_count(handle.handle, key, &count) == 0 && count == expected, "\(key)")
        }
        for (key, expected) in [
            ("ids", "[3,5]"), ("ids.1", "5"), ("a.b", #"{"c":1.5,"d":null}"#), ("s", #""one\ntwo""#),
            ("", #"{"ids":[3,5],"a":{"b":{"c":1.5,"d":null}},"s":"one\ntwo","n":null}"#),
            ("n", "null"), ("a.b.d", "null"),
        ] {
            #expect(host.config_json(handle.handle, key, &text) == 0 && String(cString: text!) == expected, "\(key)")
        }
        (count, text) = (-1, nil)
        for key in ["none", "n", "a.b.d", "ids.2"] {
            #expect(host.config_count(handle.handle, key, &count) == ErrorCode.notFound.rawValue)
        }
        for key in ["none", "ids.2"] {
            #expect(host.config_json(handle.handle, key, &text) == ErrorCode.notFound.rawValue)
        }
        #expect(host.config_count(handle.handle, "s", &count) == ErrorCode.invalidArgument.rawValue)
        #expect(host.config_int(handle.handle, "a", &count) == ErrorCode.invalidArgument.rawValue)
        #expect(count == -1 && text == nil)

        // A value that was replaced is in the whole, too.
        let options = Configuration(flattening: ["mode": "auto", "rank": 4])
        #expect(host.config_set_string(options.handle, "mode", "fast") == 0)
        #expect(host.config_json(options.handle, "", &text) == 0)
        #expect(String(cString: text!) == #"{"mode":"fast","rank":4}"#)
    }

    /// A key is not longer than what it is worth, however deep a file is.
    @Test func deepObjectsStayOneValue() {
        var json: JSON = ["leaf": 1]
        for _ in 0..<1000 { json = ["a": json] }
        let configuration = Configuration(flattening: json)
        #expect(configuration.json.objectValue?.count == 1)
        #expect(configuration.json.objectValue.map { $0[0].key.count } ?? 1000 < 100)
    }

    @Test func typedReadsOfPlugins() throws {
        let runtime = Runtime()
        let host = runtime.host.pointee
        let configuration = Configuration(flattening: [
            "b": true, "i": 7, "d": 1.5, "s": "text", "n": .null, "big": 1e300,
        ])
        let handle = configuration.handle
        var (flag, integer, number) = (Int32(-1), Int64(-1), -1.0)
        var text: UnsafePointer<CChar>?
        #expect(host.config_bool(handle, "b", &flag) == 0 && flag == 1)
        #expect(host.config_int(handle, "i", &integer) == 0 && integer == 7)
        #expect(host.config_double(handle, "d", &number) == 0 && number == 1.5)
        #expect(host.config_double(handle, "i", &number) == 0 && number == 7)
        #expect(host.config_string(handle, "s", &text) == 0 && String(cString: text!) == "text")
        #expect(host.config_int(handle, "d", &integer) == ErrorCode.invalidArgument.rawValue && integer == 7)
        #expect(host.config_bool(handle, "i", &flag) == ErrorCode.invalidArgument.rawValue)
        #expect(host.config_string(handle, "i", &text) == ErrorCode.invalidArgument.rawValue)
        #expect(host.config_int(handle, "none", &integer) == ErrorCode.notFound.rawValue)
        #expect(host.config_int(handle, "n", &integer) == ErrorCode.notFound.rawValue)
        #expect(host.config_int(nil, "i", &integer) == ErrorCode.invalidArgument.rawValue)
        #expect(host.config_int(handle, nil, &integer) == ErrorCode.invalidArgument.rawValue)
        #expect(host.config_int(handle, "i", nil) == ErrorCode.invalidArgument.rawValue)

        // A string stays where it is while its option gets another value.
        let before = text
        #expect(host.config_set_string(handle, "s", "other") == 0)
        #expect(host.config_string(handle, "s", &text) == 0 && String(cString: text!) == "other")
        #expect(String(cString: before!) == "text")
        #expect(host.config_set_string(handle, "none", "x") == ErrorCode.notFound.rawValue)
    }
}
