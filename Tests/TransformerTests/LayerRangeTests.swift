import CSeam
import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// Stacks that run a part of their layers.
@Suite struct LayerRangeTests {
    /// A model of three layers, with adapters at all points and a prefix.
    private func open(_ family: TinyModel.Family) throws -> OpenModel {
        var tiny = TinyModel(family)
        tiny.layers = 3
        let model = try OpenModel(tiny)
        try model.runtime.loadPlugin(
            try compilePlugin("low-rank-plugin/low_rank.c", into: model.scratch.path))
        try model.attach("prefix-tuning", ["prefix_length": 2])
        try model.attach("low-rank", ["targets": model.projections])
        try model.attach("steer")
        for adapter in model.session.adapters {
            for (index, entry) in adapter.parameters.entries.enumerated() {
                randomise(entry.tensor, deviation: 0.2, seed: UInt64(index))
            }
        }
        return model
    }

    /// What leaves any layer, given back at that layer, is as good as the tokens: positions, biases, masks and prefixes are
    /// those of a whole run, and adapters at the layer's output have not run yet.
    @Test(arguments: TinyModel.Family.allCases) func aRunGoesOnFromAnyLayer(_ family: TinyModel.Family) throws {
        let model = try open(family)
        let session = model.session
        let own = try RoutedBatch(try model.batch(), in: session)
        let context = session.makeContext(recordsGradients: false)
        let prefix = try session.prefix(context, own.rows)
        func encoded(_ layers: LayerRange) throws -> Tensor {
            try session.encode(context, own, prefix: prefix, training: false, layers: layers)
        }
        func decoded(_ layers: LayerRange) throws -> Tensor {
            var input = try #require(try session.decoderInput(context, own))
            input.layers = layers
            return try model.backbone.decodeHidden(session.pass(context, rows: own.rows), input)
        }
        let stacks = [(model.info.encoderLayers, encoded), (model.info.decoderLayers, decoded)]
        for (count, run) in stacks where count > 0 {
            let whole = try context.contiguous(try run(LayerRange())).floats
            for layer in 1...count {
                let state = try run(LayerRange(stop: layer))
                #expect(distance(try context.contiguous(state).floats, whole) > 1e-3, "layer \(layer)")
                let kept = try context.contiguous(state).floats
                let found = try run(LayerRange(start: LayerStart(layer: layer, state: state)))
                #expect(bitEqual(try context.contiguous(found).floats, whole), "layer \(layer)")
                #expect(bitEqual(try context.contiguous(state).floats, kept), "an adapter wrote into the state")
            }
        }
    }

    /// The points that a run comes by, whoever wants them: those of the layers that it runs.
    @Test(arguments: TinyModel.Family.allCases) func theOtherLayersAreNotComputed(_ family: TinyModel.Family) throws {
        var tiny = TinyModel(family)
        tiny.layers = 3
        let model = try OpenModel(tiny)
        let (session, points) = (model.session, model.info.points)
        let own = try RoutedBatch(try model.batch(), in: session)
        let context = session.makeContext(recordsGradients: false)
        let pass = session.pass(context, rows: own.rows)
        let tally = Tally(points.count)
        func visited(_ stack: Stack, _ layers: LayerRange) throws -> (points: Set<Int>, state: Tensor) {
            let state = try tally.counting { visitor in
                let (start, state, stop) = layers.members
                if stack == .encoder {
                    var io = seam_encode()
                    io.struct_size = UInt32(MemoryLayout<seam_encode>.size)
                    let shape: Shape = [own.batch.count, own.batch.sourceLength]
                    let (ids, mask) = (
                        try context.constant(own.batch.inputIDs, shape),
                        try context.constant(own.batch.attentionMask, shape)
                    )
                    (io.input_ids, io.attention_mask, io.visitor) = (ids.handle, mask.handle, visitor)
                    (io.start_layer, io.start_state, io.stop_layer) = (start, state, stop)
                    context.withPass(pass.weights) { model.backbone.table.encode(model.backbone.instance, $0, &io) }
                    withExtendedLifetime((ids, mask)) {}
                    return try #require(io.hidden)
                }
                let input = try #require(try session.decoderInput(context, own))
                var io = seam_decode()
                io.struct_size = UInt32(MemoryLayout<seam_decode>.size)
                io.hidden_only = 1
                (io.decoder_input_ids, io.visitor) = (input.ids.handle, visitor)
                (io.encoder_hidden, io.encoder_attention_mask) = (
                    input.encoderHidden?.handle, input.encoderMask?.handle
                )
                (io.start_layer, io.start_state, io.stop_layer) = (start, state, stop)
                context.withPass(pass.weights) { model.backbone.table.decode(model.backbone.instance, $0, &io) }
                withExtendedLifetime(input) {}
                return try #require(io.hidden)
            }
            try context.check(origin: "Transformer")
            return (tally.visited, Tensor.from(state))
        }
        for (stack, count) in [(Stack.encoder, model.info.encoderLayers), (.decoder, model.info.decoderLayers)]
        where count > 0 {
            func expected(_ keep: (Point) -> Bool) -> Set<Int> {
                Set(points.indices.filter { points[$0].stack == stack && keep(points[$0]) })
            }
            #expect(try visited(stack, LayerRange()).points == expected { _ in true })
            let (below, state) = try visited(stack, LayerRange(stop: 2))
            #expect(
                below == expected { $0.isEmbedding || $0.layer == 0 || $0.layer == 1 && $0.isProjection }, "\(stack)")
            let (above, _) = try visited(stack, LayerRange(start: LayerStart(layer: 2, state: state)))
            #expect(above == expected { $0.layer == 2 || $0.layer == 1 && !$0.isProjection }, "\(stack)")
        }
    }
}

/// A visitor that wants every point and changes nothing.
private final class Tally {
    private(set) var visited: Set<Int> = []
    private let wanted: [UInt8]

    init(_ points: Int) { wanted = [UInt8](repeating: UInt8(SEAM_PHASE_BEFORE | SEAM_PHASE_AFTER), count: points) }

    func counting<Result>(_ body: (UnsafePointer<seam_visitor>) throws -> Result) rethrows -> Result {
        visited = []
        return try wanted.withUnsafeBufferPointer { wanted in
            var visitor = seam_visitor()
            visitor.struct_size = UInt32(MemoryLayout<seam_visitor>.size)
            (visitor.wanted, visitor.point_count) = (wanted.baseAddress, wanted.count)
            visitor.host = Unmanaged.passUnretained(self).toOpaque()
            visitor.visit = { visitor, _, io in
                guard let io, let host = visitor?.pointee.host else { return }
                Unmanaged<Tally>.fromOpaque(host).takeUnretainedValue().visited.insert(io.pointee.point)
            }
            return try body(&visitor)
        }
    }
}
