import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// What the plugin refuses, in sentences for the user.
@Suite struct ErrorTests {
    @Test func anAttentionThatTheBackboneHasNot() throws {
        let decoder = try OpenModel(TinyModel(.gpt2))
        for name in ["encoder", "cross"] {
            expectError(.unsupported, "has no attention '\(name)' that takes a prefix, it has 'decoder'") {
                try decoder.attach("prefix-tuning", ["attention": .string(name)])
            }
        }
        expectError(.unsupported, "has no attention 'cross'", "it has 'encoder'") {
            try OpenModel(TinyModel(.bert)).attach("prefix-tuning", ["attention": "cross"])
        }
        expectError(.invalidArgument, "option \"attention\"", "all, encoder, decoder, cross") {
            try decoder.attach("prefix-tuning", ["attention": "self"])
        }
    }

    @Test func moreTokensThanPositions() throws {
        let model = try OpenModel(TinyModel(.gpt2))
        let limit = model.info.maxPrefixLength[PrefixAttention.decoder.rawValue]
        #expect(limit > 20)
        let tokens = Int64(limit) - 20
        try model.attach("prefix-tuning", ["prefix_length": 20])
        expectError(
            .invalidArgument, "the decoder attention of this backbone takes a prefix of at most \(limit) tokens",
            "found prefix_length \(tokens + 1) behind 20 of other adapters"
        ) { try model.attach("prefix-tuning", ["prefix_length": .int(tokens + 1)]) }
        try model.attach("prefix-tuning", ["prefix_length": .int(tokens)])
        expectError(.invalidArgument, "at most \(limit) tokens, found prefix_length \(limit + 1)") {
            try OpenModel(TinyModel(.gpt2)).attach("prefix-tuning", ["prefix_length": .int(Int64(limit) + 1)])
        }
        // Attentions without positions take any.
        try OpenModel(TinyModel(.t5)).attach("prefix-tuning", ["prefix_length": 100])
    }

    @Test func numbersOutOfRange() throws {
        let model = try OpenModel()
        for (name, values) in [("prefix_length", [0, 4097]), ("mlp_hidden_size", [0, 65537])] as [(String, [Int64])] {
            for value in values {
                expectError(.invalidArgument, "option \"\(name)\"", "found \(value)") {
                    try model.attach("prefix-tuning", .object([(key: name, value: .int(value))]))
                }
            }
        }
        expectError(.invalidArgument, "option \"deviation\"", "found -1") {
            try model.attach("prefix-tuning", ["deviation": -1])
        }
        #expect(model.session.adapters.isEmpty)
    }
}
