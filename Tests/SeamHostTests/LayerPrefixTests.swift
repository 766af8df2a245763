import Engine
import Files
import Glibc
import SeamHost
import Support
import TestSupport
import Testing

/// Prefixes layer by layer, where layers have other heads and widths.
@Suite struct LayerPrefixTests {
    private let scratch: ScratchFolder
    private let backbone: Backbone
    private let session: Session

    init() throws {
        scratch = try ScratchFolder()
        let runtime = try makeRuntime()
        try runtime.loadPlugin(try compilePlugin("layers-plugin/tiny_layers.c", into: scratch.path))
        backbone = try Backbone(runtime: runtime, id: "tiny-layers", path: nil)
        session = Session(backbone: backbone)
    }

    private func attach(_ id: String, _ options: JSON = .null, to session: Session? = nil) throws -> Adapter {
        let session = session ?? self.session
        let adapter = try Adapter(
            backbone: backbone, id: id, options: options, prefixLength: session.prefixLength, seed: 1)
        try session.attach(adapter)
        return adapter
    }

    private func hidden(_ session: Session) throws -> [Float] {
        let batch = try Batch(sources: [[3, 4, 5], [6, 7]], info: backbone.info)
        let context = session.makeContext(recordsGradients: false)
        return try context.contiguous(try session.encode(context, batch)).floats
    }

    /// softmax(x [K; x]^T / sqrt d) [V; x] head by head and layer by layer, in f64, of the first text.
    private func expected(_ prefixes: [[Float]], weights: [Double], tokens: Int) -> [Double] {
        let embedding = backbone.parameters["embedding"]!.floats.map(Double.init)
        var x = [3, 4, 5].map { id in Array(embedding[id * 8..<(id + 1) * 8]) }
        for (layer, (heads, width)) in [(1, 8), (2, 4)].enumerated() {
            func prefix(_ part: Int, _ head: Int, _ token: Int) -> [Double] {
                let start = ((part * heads + head) * tokens + token) * width
                return prefixes[layer][start..<start + width].map { Double($0) * weights[token] }
            }
            x = x.map { query in
                (0..<heads).flatMap { head -> [Double] in
                    let part = head * width..<(head + 1) * width
                    let keys = (0..<tokens).map { prefix(0, head, $0) } + x.map { Array($0[part]) }
                    let values = (0..<tokens).map { prefix(1, head, $0) } + x.map { Array($0[part]) }
                    let scores = keys.map { key in
                        exp(zip(query[part], key).map(*).reduce(0, +) / Double(width).squareRoot())
                    }
                    let total = scores.reduce(0, +)
                    return (0..<width).map { index in
                        zip(scores, values).map { $0 * $1[index] }.reduce(0, +) / total
                    }
                }
            }
        }
        return x.flatMap { $0 }
    }

    @Test func theSizesOfEachLayer() throws {
        #expect(backbone.info.prefixKVHeads == [[1, 2], [], []] && backbone.info.prefixHeadDim == [[8, 4], [], []])
        let plain = try hidden(session)
        let adapter = try attach("layer-prefix")
        #expect(adapter.parameters.entries.map(\.tensor.shape) == [[2, 1, 3, 8], [2, 2, 3, 4]])
        #expect(session.prefixLength == [3, 0, 0])
        let numbers = adapter.parameters.entries.map(\.tensor.floats)
        let found = try hidden(session)
        let wanted = expected(numbers, weights: [1, 1, 1], tokens: 3)
        for (one, other) in zip(found, wanted) { #expect(abs(Double(one) - other) < 1e-5) }
        // A gate weighs the tokens whatever the layers' sizes are.
        let gate = try attach("gate", ["initial_weight": 0.25])
        let gated = try hidden(session)
        let weighted = expected(numbers, weights: [0.25, 0.25, 0.25], tokens: 3)
        for (one, other) in zip(gated, weighted) { #expect(abs(Double(one) - other) < 1e-5) }
        try session.detach(gate)
        try session.detach(adapter)
        #expect(bitEqual(try hidden(session), plain))
    }

    @Test func methodsOfOneSizeForAllLayersRefuse() {
        for id in ["prefix-tuning", "residual-prefix"] {
            expectError(
                .unsupported, "the encoder attention of this backbone has kv_heads 1 in layer 0 and 2 in layer 1"
            ) { try attach(id) }
        }
    }

    @Test(arguments: [
        ("first", "in layer 1 as NULL, as in layer 0, found f32 [2, 2, 3, 4]"),
        ("last", "in layer 1 as f32 [2, 2, 3, 4], found NULL"),
        ("length", "in layer 1 as f32 [2, 2, 3, 4], found f32 [2, 2, 2, 4]"),
        ("heads", "in layer 1 as f32 [2, 2, 3, 4], found f32 [2, 1, 3, 4]"),
    ])
    func whatIsNoPrefix(_ fault: String, _ sentence: String) {
        expectError(.plugin, "adapter \"layer-prefix\" must return the prefix of encoder attention \(sentence)") {
            try attach("layer-prefix", ["fault": .string(fault)])
        }
        #expect(session.adapters.isEmpty)
    }

    @Test func anotherBackbonesPrefix() throws {
        let other = try OpenModel(TinyModel(.bert))
        let adapter = try Adapter(backbone: other.backbone, id: "prefix-tuning")
        expectError(.incompatible, "was made for a backbone with d_model 16, this one has 8") {
            try session.attach(adapter)
        }
    }
}
