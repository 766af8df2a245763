import SeamPlugin

/// Two matrices with a non-linearity between them, optionally gated.
struct FeedForward {
    private let inputs: Inputs
    private let down: Linear
    private let activation: Activation
    private let width: Int

    private enum Inputs {
        case plain(up: Linear)
        case gated(gate: Linear, up: Linear)
        case fused(Linear)
    }

    init(_ weights: Weights, _ name: String, _ layer: LayerPlace, _ stack: Family.Stack, _ family: Family) {
        let (names, width) = (stack.names, stack.feedForward)
        func linear(_ part: String, _ place: ProjectionPlace, from input: Int, to output: Int) -> Linear {
            Linear(
                weights, name + part, from: input, to: output, bias: family.biases.feedForward, family, at: place)
        }
        func input(_ part: String, _ point: StaticString) -> Linear {
            linear(part, layer.projection(point), from: family.dModel, to: width)
        }
        if !family.gated {
            inputs = .plain(up: input(names.up, "up"))
        } else if names.gateUp.isEmpty {
            inputs = .gated(gate: input(names.gate, "gate"), up: input(names.up, "up"))
        } else {
            let place = layer.projection(
                "gate_up", parts: [Point.Part("gate", width: width), Point.Part("up", width: width)])
            inputs = .fused(linear(names.gateUp, place, from: family.dModel, to: 2 * width))
        }
        down = linear(names.down, layer.projection("down"), from: width, to: family.dModel)
        (activation, self.width) = (family.activation, width)
    }

    func callAsFunction(_ x: Tensor, in context: Context) -> Tensor {
        let inner: Tensor
        switch inputs {
        case .plain(let up): inner = activation(up(x, in: context))
        case .gated(let gate, let up): inner = activation(gate(x, in: context)) * up(x, in: context)
        case .fused(let both):
            let projected = both(x, in: context)
            inner =
                activation(projected.slice(2, from: 0, length: width)) * projected.slice(2, from: width, length: width)
        }
        return down(inner, in: context)
    }
}

/// Self-attention, attention over an encoder's output where there is one, and feed-forward network.
struct Layer {
    private let attention: Attention
    private let attentionResidual: Residual
    /// Of sums of tokens, where they are seen.
    private let sumNorm: Norm?
    private let cross: (attention: Attention, residual: Residual)?
    private let feedForward: FeedForward
    private let feedForwardResidual: Residual
    private let isParallel: Bool
    /// The point at its end.
    private let output: Int

    init(_ weights: Weights, _ place: LayerPlace, _ stack: Family.Stack, attendsToEncoder: Bool, _ family: Family) {
        let names = stack.names
        let layer = names.layer(place.index)
        attention = Attention(weights, layer + names.selfAttention, place, .own, stack, family)
        /// Nil for a norm that the family does not have.
        func norm(_ name: String) -> String? { name.isEmpty ? nil : layer + name }
        let hasNorm = family.firstAttentionNorm || place.index > 0
        attentionResidual = Residual(
            weights, hasNorm ? norm(names.selfNorm) : nil, output: norm(names.selfOutputNorm), family)
        sumNorm =
            stack.sumBlock > 0 ? Norm(weights, layer + names.selfAttention + "global_input_layer_norm", family) : nil
        if attendsToEncoder {
            cross = (
                Attention(weights, layer + names.crossAttention, place, .cross, stack, family),
                Residual(weights, layer + names.crossNorm, family)
            )
        } else {
            cross = nil
        }
        feedForward = FeedForward(weights, layer, place, stack, family)
        feedForwardResidual = Residual(
            weights, norm(names.feedForwardNorm), output: norm(names.feedForwardOutputNorm), family)
        isParallel = family.parallelBlocks
        output = weights.point(Point(outputOf: place.index, place.stack, width: family.dModel))
    }

    /// What a layer looks up in the encoder's output, with the source's mask and what stands before it.
    struct SourceMemory {
        let memory: KeysValues
        let mask: Tensor
        let prefix: LayerPrefix?
    }

    /// What leaves the layer, before anybody is told of it (`visited`).
    /// `prefix`: what stands before the layer's own keys and values.
    /// `past`: turns the new ones into those of the whole text.
    func callAsFunction(
        _ x: Tensor, _ sight: Sight, prefix: LayerPrefix? = nil, past: (KeysValues) -> KeysValues = { $0 },
        source: SourceMemory? = nil, in context: Context
    ) -> Tensor {
        let attend = { (x: Tensor) -> Tensor in
            let (query, memory) = attention.project(x, rotation: sight.rotation, in: context)
            if let blocks = sight.blocks {
                return attention(
                    query, over: past(memory), and: sums(of: x, blocks, in: context), behind: prefix, blocks,
                    in: context)
            }
            return attention(
                query, over: past(memory).from(sight.firstKey), behind: prefix, prefixBiases: sight.prefixBiases,
                bias: sight.bias, distances: sight.distances, mask: sight.mask, causal: sight.causal, in: context)
        }
        if isParallel {
            let attended = attentionResidual.added(x, in: context, attend)
            return x + attended + feedForwardResidual.added(x, in: context) { feedForward($0, in: context) }
        }
        var x = attentionResidual(x, in: context, attend)
        if let cross, let source {
            x = cross.residual(x, in: context) {
                let query = cross.attention.query(of: $0, in: context)
                return cross.attention(
                    query, over: source.memory, behind: source.prefix, mask: source.mask, in: context)
            }
        }
        return feedForwardResidual(x, in: context) { feedForward($0, in: context) }
    }

    /// What tokens see of the whole text x.
    private func sums(of x: Tensor, _ sight: BlockSight, in context: Context) -> KeysValues? {
        guard let sums = sight.sums, let sumNorm else { return nil }
        let context = context.visitor.map { context.visiting($0, sums: sums.mask) } ?? context
        return attention.keysValues(of: sumNorm(sums(x, in: context), in: context), in: context)
    }

    /// What goes on in the place of what left the layer: the same where nobody wants its `layer.output`.
    func visited(_ x: Tensor, in context: Context) -> Tensor {
        guard let visitor = context.visitor, visitor.wants(output) else { return x }
        return visitor.layerOutput(x, at: output)
    }

    /// What the layer looks up in an encoder's output: the same for every target position. Nil for a layer that
    /// looks up nothing.
    func memory(of encoded: Tensor, in context: Context) -> KeysValues? {
        cross.map { $0.attention.keysValues(of: encoded, in: context) }
    }
}
