import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// The weights by name, and what the plugin refuses.
@Suite struct MethodTests {
    private func weights(_ adapter: Adapter) throws -> Tensor {
        guard case .tensor(let tensor) = try adapter.call("weights") else {
            throw SeamError(.internal, "weights gives no tensor")
        }
        return tensor
    }

    private func gate(_ backbone: Backbone, _ tokens: [Int], _ options: JSON = .null) throws -> Adapter {
        try Adapter(backbone: backbone, id: "gate", options: options, prefixLength: tokens)
    }

    @Test func theyAreRecorded() throws {
        let methods = try OpenModel().runtime.adapterFactory("gate").methods
        #expect(methods.map(\.name) == ["weights"] && methods[0].isRecorded)
    }

    @Test func oneRowForAllLayers() throws {
        let model = try OpenModel()
        let adapter = try gate(model.backbone, [2, 0, 1])
        #expect(adapter.parameters.entries.map(\.name) == ["encoder.gate", "cross.gate"])
        adapter.parameters["encoder.gate"]!.assign([0, 2])
        adapter.parameters["cross.gate"]!.assign([-2])
        let found = try weights(adapter)
        #expect(found.shape == [1, 3])
        #expect(distance(found.floats, [0.5, 0.880797, 0.119203]) < 1e-6)
    }

    @Test func aRowForEachLayer() throws {
        let model = try OpenModel()
        let adapter = try gate(model.backbone, [2, 1, 0], ["scope": "token-layer"])
        adapter.parameters["encoder.gate"]!.assign([0, 2, -2, 0])
        adapter.parameters["decoder.gate"]!.assign([2, -2])
        let found = try weights(adapter)
        #expect(found.shape == [2, 3])
        #expect(distance(found.floats, [0.5, 0.880797, 0.880797, 0.119203, 0.5, 0.119203]) < 1e-6)
    }

    @Test func aShallowerStackHasZeros() throws {
        let model = try OpenModel(TinyModel(.marian, encoderLayers: 3))
        let adapter = try gate(model.backbone, [1, 2, 0], ["scope": "token-layer"])
        #expect(adapter.parameters.entries.map(\.tensor.shape) == [[3, 1], [2, 2]])
        let found = try weights(adapter)
        #expect(found.shape == [3, 3] && found.floats == [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0, 0])
    }

    @Test func aPrefixIsNeeded() throws {
        let model = try OpenModel()
        expectError(.invalidArgument, "there are none here: attach a prefix adapter before it") {
            try gate(model.backbone, [0, 0, 0])
        }
        // Where the backbone takes none, a length means nothing.
        expectError(.invalidArgument, "attach a prefix adapter before it") {
            try gate(try OpenModel(TinyModel(.gpt2)).backbone, [4, 0, 4])
        }
        for value in [0.0, 1] {
            expectError(.invalidArgument, "option \"initial_weight\"") {
                try gate(model.backbone, [1, 1, 1], ["initial_weight": .double(value)])
            }
        }
    }

    @Test func aPrefixOfAnotherLength() throws {
        let model = try OpenModel()
        let given = GivenPrefixes(model.info, tokens: [2, 3, 1])
        for (tokens, sentence) in [
            ([2, 2, 1], "made for 2 prefix tokens of the decoder attention, found 3"),
            ([1, 3, 1], "made for 1 prefix tokens of the encoder attention, found 2"),
            ([2, 3, 0], "made for 0 prefix tokens of the cross attention, found 1"),
        ] {
            expectError(.shape, sentence) { try given.through(try gate(model.backbone, tokens), model.session) }
        }
    }
}
