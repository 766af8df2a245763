import Engine
import Files
import Glibc
import SeamHost
import Support
import TestSupport
import Testing

/// Adapters with a bottleneck where they can stand, against their formula.
@Suite struct BottleneckAdapterTests {
    static let activations: [(String, @Sendable (Double) -> Double)] = [
        ("relu", { max($0, 0) }), ("gelu", { $0 / 2 * (1 + erf($0 / 2.0.squareRoot())) }),
        ("gelu_new", { $0 / 2 * (1 + tanh((2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0))) }),
        ("silu", { $0 / (1 + exp(-$0)) }), ("tanh", { tanh($0) }), ("sigmoid", { 1 / (1 + exp(-$0)) }),
    ]

    @Test(arguments: TinyModel.Family.allCases.map { TinyModel($0) })
    func itStartsAsTheIdentity(_ family: TinyModel) throws {
        for seam in ["layer.output", "projection", "encoder.output"] {
            let model = try OpenModel(family)
            if seam == "encoder.output" && family.family.isDecoderOnly { continue }
            let batch = try model.batch()
            let plain = try model.logits(batch)
            let adapter = try Adapter(backbone: model.backbone, id: "bottleneck-adapter", seam: seam, seed: 1)
            try model.session.attach(adapter)
            #expect(distance(try model.logits(batch), plain) == 0)
            let places = adapter.points.map { "\($0.path)." }
            let parts = ["adapter_down.0.weight", "adapter_down.0.bias", "adapter_up.weight", "adapter_up.bias"]
            #expect(
                adapter.parameters.entries.map(\.name)
                    == (places.isEmpty ? [""] : places).flatMap { place in parts.map { place + $0 } })
            #expect(adapter.points.allSatisfy { ["", "o", "cross_o", "down"].contains($0.name) })
            // Behind random blocks nothing is as it was.
            randomise(adapter, deviation: 0.5)
            let largest = plain.map(abs).max()!
            #expect(distance(try model.logits(batch), plain) > 0.05 * largest)
        }
    }

    @Test(arguments: activations) func itFollowsTheFormula(
        _ name: String, _ activation: @Sendable (Double) -> Double
    ) throws {
        let model = try OpenModel(TinyModel(.bart))
        let adapter = try Adapter(
            backbone: model.backbone, id: "bottleneck-adapter", seam: "encoder.output",
            options: ["bottleneck_size": 3, "non_linearity": .string(name), "scaling": 0.7])
        randomise(adapter, deviation: 0.5)
        let context = model.session.makeContext(recordsGradients: false)
        let given = ClassExamples(2).hidden
        let inputs = [
            try context.constant(given, [1, 2, 16]), try context.constant([Int32](repeating: 1, count: 2), [1, 2]),
        ]
        let output = try adapter.forward(context, inputs: inputs, expected: [[1, 2, 16]], training: false)[0]
        let found = try context.contiguous(output).floats
        func values(_ name: String) -> [Double] { adapter.parameters[name]!.floats.map(Double.init) }
        let (down, downBias) = (values("adapter_down.0.weight"), values("adapter_down.0.bias"))
        let (up, upBias) = (values("adapter_up.weight"), values("adapter_up.bias"))
        func product(_ row: Int, _ matrix: [Double], _ x: [Double]) -> Double {
            x.indices.reduce(0.0) { $0 + matrix[row * x.count + $1] * x[$1] }
        }
        var expected: [Float] = []
        for row in 0..<2 {
            let h = given[row * 16..<(row + 1) * 16].map(Double.init)
            let narrow = (0..<3).map { activation(downBias[$0] + product($0, down, h)) }
            for j in 0..<16 { expected.append(Float(h[j] + 0.7 * (upBias[j] + product(j, up, narrow)))) }
        }
        // Some thirty roundings of numbers below 8.
        #expect(distance(found, expected) < 1.5e-5)
    }

    @Test func theStartAndItsSizes() throws {
        let model = try OpenModel(TinyModel(.marian, dModel: 64))
        for (options, size, deviation) in [
            (.null, 4, 0.125 / 3.0.squareRoot()), (["reduction_factor": 2.5], 25, 0.125 / 3.0.squareRoot()),
            (["bottleneck_size": 40, "init_weights": "bert"], 40, 0.02), (["reduction_factor": 1000], 1, nil),
        ] as [(JSON, Int, Double?)] {
            let adapter = try model.attach("bottleneck-adapter", options)
            let (down, up) = (
                adapter.parameters["encoder.1.adapter_down.0.weight"]!,
                adapter.parameters["encoder.1.adapter_up.weight"]!
            )
            #expect(down.shape == [size, 64] && up.shape == [64, size])
            func spread(_ x: [Float]) -> Double { Double(x.map { $0 * $0 }.reduce(0, +) / Float(x.count)).squareRoot() }
            // Within five deviations of that of some 256 draws.
            if let deviation { #expect(abs(spread(down.floats) / deviation - 1) < 0.25) }
            #expect(abs(spread(up.floats) - (options["init_weights"] == "bert" ? 0.02 : 0)) < 0.005)
        }
        expectError(.invalidArgument, "option \"non_linearity\"", "elu") {
            try model.attach("bottleneck-adapter", ["non_linearity": "elu"])
        }
    }

    @Test func gradientsAreTheSlopes() throws {
        let options: JSON = ["layers": [1], "bottleneck_size": 2, "non_linearity": "tanh"]
        try expectGradients(of: "bottleneck-adapter", options, in: try OpenModel(TinyModel(.bart)))
    }
}
