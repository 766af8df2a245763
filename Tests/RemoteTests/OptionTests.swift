import Files
import SeamHost
import Support
import TestSupport
import Testing

/// What needs no server: a backbone without hidden states is open before the first request.
@Suite struct OptionTests {
    private func refusal(_ options: JSON) throws -> SeamError {
        let runtime = try makeRuntime()
        return try #require(throws: SeamError.self) {
            try Backbone(runtime: runtime, id: "remote", path: nil, options: options)
        }
    }

    @Test(
        arguments: [
            ("ftp://host/v1", "must start with http:// or https://, found \"ftp://host/v1\""),
            ("host/v1", "must start with http:// or https://, found \"host/v1\""),
            ("http://", "names no host: \"http://\""),
            ("http://:8080/v1", "names no host: \"http://:8080/v1\""),
            ("http://[", "names no host: \"http://[\""),
            ("http://host/v1?key=1", "must be a URL without '?' and '#'"),
            ("http://host/v1#a", "must be a URL without '?' and '#'"),
            ("http://host/v 1", "must be a URL in ASCII without spaces, quotes and backslashes"),
            ("http://höst/v1", "must be a URL in ASCII without spaces, quotes and backslashes"),
            ("http://host\r\nX: y/v1", "must be a URL in ASCII without spaces, quotes and backslashes"),
        ])
    func aURLThatIsNoneIsRefused(_ url: String, _ sentence: String) throws {
        let cases: [(String, JSON)] = [
            ("base_url", ["base_url": .string(url)]),
            ("embeddings_url", ["base_url": "http://127.0.0.1:1/v1", "embeddings_url": .string(url)]),
        ]
        for (option, options) in cases {
            let error = try refusal(options)
            #expect(error.code == .invalidArgument)
            #expect(error.origin == "org.seamkit.remote")
            #expect(error.message == "the option '\(option)' \(sentence)")
        }
    }

    @Test func credentialsInAURLAreRefusedAndNotRepeated() throws {
        for url in ["http://user:hunter2@host/v1", "https://hunter2@host", "hunter2@host", "http://u:hun/ter2@host"] {
            let error = try refusal(["base_url": .string(url)])
            #expect(error.code == .invalidArgument)
            #expect(error.message.contains("credentials do not belong into a URL"))
            #expect(!error.message.contains("ter2") && !error.message.contains("user"))
        }
    }

    @Test func valuesOutOfRangeAreRefusedByTheHost() throws {
        let cases: [(JSON, String)] = [
            (["logprobs": 0], "option \"logprobs\" must be an integer from 1 to"),
            (["timeout": 0], "option \"timeout\" must be a number from 0.01 to"),
            (["hidden": "all"], "option \"hidden\" must be one of embeddings, none"),
            (["max_queries": -1], "option \"max_queries\" must be an integer from 0 to"),
            (["api_key": "sk-secret"], "unknown option \"api_key\""),
        ]
        for (options, sentence) in cases {
            let error = try refusal(options)
            #expect(error.code == .invalidArgument)
            #expect(error.message.contains(sentence))
            #expect(!error.message.contains("sk-secret"))
        }
    }

    @Test func aKeyThatIsNotSetIsTold() throws {
        for name in ["SEAM_TEST_NEVER_SET", "sk-a-key-by-mistake", "A=B"] {
            let error = try refusal(["base_url": "http://127.0.0.1:1/v1", "api_key_env": .string(name)])
            #expect(error.code == .notFound)
            #expect(error.message == "the environment variable that the option 'api_key_env' names is not set")
        }
    }

    @Test func nobodyListensThere() throws {
        let error = try refusal(["base_url": "http://127.0.0.1:1/v1/", "max_retries": 2, "backoff": 0])
        #expect(error.code == .io)
        #expect(error.message.hasPrefix("http://127.0.0.1:1/v1/embeddings cannot be reached: "))
        #expect(error.message.hasSuffix("(after 3 attempts)"))
    }
}
