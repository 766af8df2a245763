import SeamPlugin

/// The stack that writes a text token by token, over an encoder's output where there is one.
struct Decoder {
    private let embedding: Embedding
    private let layers: [Layer]
    private let bias: RelativeBias?
    private let rotary: Rotary?
    private let norm: Norm?
    private let limit: Int
    private let attendsToEncoder: Bool

    init(_ weights: Weights, _ stack: Family.Stack, _ table: Parameter, _ family: Family) {
        let attendsToEncoder = family.encoder != nil
        embedding = Embedding(weights, stack.names.embedding, table, family)
        layers = (0..<stack.layers).map { Layer(weights, $0, stack, attendsToEncoder: attendsToEncoder, family) }
        bias = RelativeBias(weights, stack, bidirectional: false, family)
        rotary = Rotary(family)
        norm = family.finalNorm ? Norm(weights, stack.names.stack + stack.names.finalNorm, family) : nil
        limit = family.limit
        self.attendsToEncoder = attendsToEncoder
    }

    /// The last states [batch, target, d_model].
    func callAsFunction(_ target: Target, in context: Context) -> Tensor {
        let state = target.state.map { unsafeDowncast($0, to: DecoderState.self) }
        let (start, count) = (state?.position ?? 0, target.ids.size(1))
        if let problem = problem(from: start, count: count, capacity: state?.capacity) {
            return context.fail(.shape, problem)
        }
        var sourceMask: Tensor?
        if attendsToEncoder {
            guard let mask = target.encoderMask else {
                return context.fail(.plugin, "decoding needs the source's mask")
            }
            sourceMask = state?.mask(in: context) ?? mask
            if start == 0 { state?.begin(mask: mask, in: context) }
        }
        let places = Places(start: start, count: count, given: target.positions)
        var x = embedding(target.ids, at: places, in: context)
        let sight = Sight(
            bias: bias.map { $0(queries: count, keys: start + count, in: context) }, mask: target.mask, causal: true,
            rotation: rotary.map { $0(places, in: context) })
        for (index, layer) in layers.enumerated() {
            x = context.scope {
                let source = sourceMask.map { (memory(index, layer, target.encoder, state, in: context), $0) }
                return layer(
                    x, sight, past: { state?.extend(index, by: $0, count: count, in: context) ?? $0 }, source: source,
                    in: context)
            }
        }
        state?.advance(by: count)
        return norm.map { $0(x, in: context) } ?? x
    }

    /// What a layer looks up in the source: remembered, or computed from the encoder's output and
    /// remembered for the next step.
    private func memory(
        _ index: Int, _ layer: Layer, _ encoder: Tensor?, _ state: DecoderState?, in context: Context
    ) -> KeysValues {
        if let memory = state?.memory(index, in: context) { return memory }
        guard let encoder, let memory = layer.memory(of: encoder, in: context) else {
            let failed = context.fail(.plugin, "the first decoding step needs the encoder's output")
            return KeysValues(keys: failed, values: failed)
        }
        state?.remember(memory, in: context)
        return memory
    }

    /// Why a target cannot be decoded, as a sentence; nil when it can.
    private func problem(from start: Int, count: Int, capacity: Int?) -> String? {
        let length = start + count
        if count < 1 { return "there is no target token to decode" }
        if let capacity, length > capacity {
            return "the target has \(length) tokens and its decoding state was made for \(capacity)"
        }
        if limit > 0, length > limit { return "the target has \(length) tokens and this model writes at most \(limit)" }
        return nil
    }
}
