import CSeam
import Engine
import Support

/// Where a training begins: what lies before it is a constant of an example, whatever values the trained parameters have.
package struct TrainingStart: Equatable {
    /// Whether all that the encoder computes lies before it.
    package var hasConstantEncoder: Bool
    /// The first layer of each stack that does not, by `Stack`; 0: the stack runs from its tokens.
    var layers: [Int]

    /// - Parameter layers: the first layer of the encoder and of the decoder.
    package init(hasConstantEncoder: Bool = false, layers: [Int] = [0, 0]) {
        (self.hasConstantEncoder, self.layers) = (hasConstantEncoder, layers)
    }

    /// The first layer of a stack that does not lie before it; 0: the stack runs from its tokens.
    package func layer(_ stack: Stack) -> Int { layers[Int(stack.rawValue)] }
}

extension Session {
    /// Where a training of some routes begins, the lowest place of all of them: a pass has rows of any, and one beginning.
    ///
    /// Adapters without a parameter to train, and those of other routes, are a part of what lies before it. The backbone is
    /// taken to be frozen; nothing lies before the beginning where adapters are merged, whose values may go. A stack in
    /// which some route puts vectors before the text, trained or not, runs from its tokens.
    package func trainingStart(ofRoutes routes: [String?]) throws -> TrainingStart {
        let info = backbone.info
        guard merged.isEmpty, info.architecture != .text else { return TrainingStart() }
        // The first layer with something trained in it, by stack; nil: there is none.
        var first: [Int?] = [nil, nil]
        func lower(_ stack: Stack, to layer: Int) {
            let place = Int(stack.rawValue)
            first[place] = min(first[place] ?? layer, layer)
        }
        for chain in try Set(routes.map { try index(ofRoute: $0) }).map({ chains[$0] }) {
            for adapter in chain.adapters where adapter.parameters.trainableCount > 0 {
                for point in adapter.points { lower(point.stack, to: point.firstLayerBehind) }
                if adapter.seam == SEAM_ENCODER_OUTPUT { lower(.decoder, to: 0) }
                guard adapter.isPrefix else { continue }
                for attention in PrefixAttention.allCases where chain.prefixLength[attention.rawValue] > 0 {
                    lower(attention == .encoder ? .encoder : .decoder, to: 0)
                }
            }
        }
        for stack in Stack.allCases
        where chains.indices.contains(where: { promptLength(ofRoute: $0)[Int(stack.rawValue)] > 0 }) {
            lower(stack, to: 0)
        }
        var start = TrainingStart()
        if info.architecture != .decoderOnly {
            if let layer = first[Int(Stack.encoder.rawValue)] {
                lower(.decoder, to: 0)
                if info.encodesLayerRanges { start.layers[Int(Stack.encoder.rawValue)] = layer }
            } else {
                start.hasConstantEncoder = true
            }
        }
        if let layer = first[Int(Stack.decoder.rawValue)], info.decodesLayerRanges {
            start.layers[Int(Stack.decoder.rawValue)] = layer
        }
        return start
    }
}

extension Point {
    /// The first layer that what an adapter does here flows into, counting the whole of the layer that the point is inside:
    /// a pass that begins at this layer visits `layer.output` of the one before.
    fileprivate var firstLayerBehind: Int { seam == SEAM_LAYER_OUTPUT ? layer + 1 : layer }
}

/// What flows into a layer of a stack, as it left the layer before, for a pass that begins there.
package struct LayerStart {
    /// 1 or more.
    let layer: Int
    /// [rows, n, d_model].
    let state: Tensor

    /// - Parameters:
    ///   - layer: 1 or more.
    ///   - state: [rows, n, d_model], as it left the layer before.
    package init(layer: Int, state: Tensor) { (self.layer, self.state) = (layer, state) }
}

/// The part of a stack's layers that a pass runs (`start_layer` and `stop_layer` of the ABI).
package struct LayerRange {
    /// Nil: from the tokens.
    var start: LayerStart?
    /// The layers before this one run, and what leaves the last of them is the result; 0: all.
    var stop: Int

    /// - Parameters:
    ///   - start: nil: from the tokens.
    ///   - stop: the layer before which the run ends; 0: none.
    package init(start: LayerStart? = nil, stop: Int = 0) { (self.start, self.stop) = (start, stop) }

    /// The three members of `seam_encode` and `seam_decode`, alive as long as the range.
    package var members: (start: Int64, state: OpaquePointer?, stop: Int64) {
        // An adapter that is visited first may write into what leaves a layer.
        start?.state.keepValues()
        return (Int64(start?.layer ?? 0), start?.state.handle, Int64(stop))
    }

    /// Whether a pass comes by a point of its stack.
    func visits(_ point: Point) -> Bool {
        let first = start?.layer ?? 0
        if point.isEmbedding { return first == 0 }
        // The cut is before a layer's output is visited.
        let place = point.isProjection ? point.layer : point.layer + 1
        return place >= first && (stop == 0 || place < stop)
    }
}

/// What a pass need not compute of the rows of a batch: what `SeamCache` has kept of them.
public struct KeptStates {
    /// What the encoder gives, before any adapter on encoder.output: [batch, source, d_model].
    public internal(set) var encoded: Tensor?
    /// What flows into a layer of each stack.
    var encoder: LayerStart?
    var decoder: LayerStart?

    /// The rows of a batch in the order of a pass.
    func ordered(_ rows: RowOrder, in context: Context) throws -> KeptStates {
        func ordered(_ start: LayerStart?) throws -> LayerStart? {
            try start.map { LayerStart(layer: $0.layer, state: try rows.ordered($0.state, in: context)) }
        }
        return KeptStates(
            encoded: try encoded.map { try rows.ordered($0, in: context) }, encoder: try ordered(encoder),
            decoder: try ordered(decoder))
    }
}
