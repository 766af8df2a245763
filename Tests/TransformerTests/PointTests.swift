import Files
import SeamHost
import TestSupport
import Testing

/// The points that the families list.
@Suite struct PointTests {
    private func names(_ model: OpenModel, _ stack: Stack) -> [[String]] {
        let layers = stack == .encoder ? model.info.encoderLayers : model.info.decoderLayers
        return (0..<layers).map { layer in
            model.info.points.filter { $0.stack == stack && $0.layer == layer && !$0.isEmbedding }.map(\.name)
        }
    }

    @Test(arguments: TinyModel.Family.allCases)
    func everyLayerHasItsMatricesAndItsOutput(_ family: TinyModel.Family) throws {
        let model = try OpenModel(TinyModel(family, encoderLayers: family == .t5 ? 3 : nil))
        let gated = family == .mt5 || family == .llama
        let network = (gated ? ["gate"] : []) + ["up", "down", ""]
        let own = family == .gpt2 ? ["qkv", "o"] : ["q", "k", "v", "o"]
        let cross = family.isDecoderOnly ? [] : ["cross_q", "cross_k", "cross_v", "cross_o"]
        #expect(names(model, .encoder).allSatisfy { $0 == own + network })
        #expect(names(model, .decoder).allSatisfy { $0 == own + cross + network })
        // In this order: the encoder's, then the decoder's, by layer.
        let places = model.info.points.map { [Int($0.stack.rawValue), $0.isEmbedding ? -1 : $0.layer] }
        #expect(places == places.sorted { $0.lexicographicallyPrecedes($1) })
        let stacks = [model.info.encoderLayers, model.info.decoderLayers].filter { $0 > 0 }
        #expect(Set(places).count == stacks.reduce(0, +) + stacks.count)
        #expect(model.info.points.filter(\.isEmbedding).map(\.path).allSatisfy { $0.hasSuffix(".embedding") })
    }

    @Test func widthsPartsAndParameters() throws {
        let gpt2 = try OpenModel(TinyModel(.gpt2)).info.points.filter { !$0.isEmbedding }
        #expect(gpt2[0].name == "qkv" && (gpt2[0].inputWidth, gpt2[0].outputWidth) == (16, 48) && gpt2[0].isTransposed)
        #expect(gpt2[0].parts.map(\.name) == ["q", "k", "v"] && gpt2[0].parts.map(\.width) == [16, 16, 16])
        let llama = try OpenModel(TinyModel(.llama))
        // One head of keys and values that two of queries share.
        #expect(llama.info.points.filter { !$0.isEmbedding }.prefix(4).map(\.outputWidth) == [16, 8, 8, 16])
        #expect(llama.info.points.first { $0.name == "down" }.map { [$0.inputWidth, $0.outputWidth] } == [24, 16])
        for point in llama.info.points where !point.name.isEmpty {
            let parameter = try #require(point.weightParameter)
            #expect(parameter.contains("layers.\(point.layer)."))
            #expect(parameter.hasSuffix("\(point.name)_proj.weight"))
            #expect(point.biasParameter == nil && !point.isTransposed)
        }
    }

    @Test func endsOfTextAreAListOrOneNumber() throws {
        let scratch = try ScratchFolder()
        let runtime = try makeRuntime()
        let cases: [(String, [Int32])] = [("1", [1]), ("[1, 4, 7]", [1, 4, 7]), ("null", []), ("[]", [])]
        for (text, expected) in cases {
            let path = scratch["model"]
            try TinyModel(.llama).write(to: path)
            let config = FileSystem.join(path, "config.json")
            var members = try JSON.read(config).objectValue!
            members.removeAll { $0.key == "eos_token_id" }
            members.append(("eos_token_id", try JSON.parse(text, name: "a value")))
            try FileSystem.atomicWriteFile(config, text: try JSON.object(members).serialized())
            #expect(try Backbone(runtime: runtime, path: path).info.eosTokens == expected, "\(text)")
        }
    }
}
