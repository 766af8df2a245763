import SeamPlugin

/// Two matrices with a non-linearity between them, optionally gated.
struct FeedForward {
    private let up: Linear
    private let gate: Linear?
    private let down: Linear
    private let activation: Activation

    init(_ weights: Weights, _ name: String, _ stack: Family.Stack, _ family: Family) {
        func linear(_ part: String, from input: Int, to output: Int) -> Linear {
            Linear(weights, name + part, from: input, to: output, bias: family.biases)
        }
        let names = stack.names
        gate = family.gated ? linear(names.gate, from: family.dModel, to: stack.feedForward) : nil
        up = linear(names.up, from: family.dModel, to: stack.feedForward)
        down = linear(names.down, from: stack.feedForward, to: family.dModel)
        activation = family.activation
    }

    func callAsFunction(_ x: Tensor, in context: Context) -> Tensor {
        guard let gate else { return down(activation(up(x, in: context)), in: context) }
        return down(activation(gate(x, in: context)) * up(x, in: context), in: context)
    }
}

/// Self-attention and feed-forward network.
struct EncoderLayer {
    private let attention: Attention
    private let attentionResidual: Residual
    private let feedForward: FeedForward
    private let feedForwardResidual: Residual

    init(_ weights: Weights, _ index: Int, _ family: Family) {
        let stack = family.encoder
        let names = stack.names
        let layer = names.layer(index)
        attention = Attention(weights, layer + names.selfAttention, names, heads: stack.heads, family)
        attentionResidual = Residual(weights, layer + names.selfNorm, family)
        feedForward = FeedForward(weights, layer, stack, family)
        feedForwardResidual = Residual(weights, layer + names.feedForwardNorm, family)
    }

    func callAsFunction(_ x: Tensor, bias: Tensor?, mask: Tensor, in context: Context) -> Tensor {
        let attended = attentionResidual(x, in: context) {
            attention($0, over: attention.keysValues(of: $0, in: context), bias: bias, mask: mask, in: context)
        }
        return feedForwardResidual(attended, in: context) { feedForward($0, in: context) }
    }
}

/// Causal self-attention, attention over the encoder's output, and feed-forward network.
struct DecoderLayer {
    private let attention: Attention
    private let attentionResidual: Residual
    private let cross: Attention
    private let crossResidual: Residual
    private let feedForward: FeedForward
    private let feedForwardResidual: Residual

    init(_ weights: Weights, _ index: Int, _ family: Family) {
        let stack = family.decoder
        let names = stack.names
        let layer = names.layer(index)
        attention = Attention(weights, layer + names.selfAttention, names, heads: stack.heads, family)
        attentionResidual = Residual(weights, layer + names.selfNorm, family)
        cross = Attention(weights, layer + names.crossAttention, names, heads: stack.heads, family)
        crossResidual = Residual(weights, layer + names.crossNorm, family)
        feedForward = FeedForward(weights, layer, stack, family)
        feedForwardResidual = Residual(weights, layer + names.feedForwardNorm, family)
    }

    /// `past`: turns this layer's new keys and values into those of the whole prefix.
    /// `memory`: what the layer looks up in the encoder's output.
    func callAsFunction(
        _ x: Tensor, bias: Tensor?, past: (KeysValues) -> KeysValues, memory: KeysValues, mask: Tensor,
        in context: Context
    ) -> Tensor {
        let attended = attentionResidual(x, in: context) {
            attention(
                $0, over: past(attention.keysValues(of: $0, in: context)), bias: bias, causal: true, in: context)
        }
        let informed = crossResidual(attended, in: context) {
            cross($0, over: memory, mask: mask, in: context)
        }
        return feedForwardResidual(informed, in: context) { feedForward($0, in: context) }
    }

    /// What the layer looks up in an encoder's output: the same for every target position.
    func memory(of encoded: Tensor, in context: Context) -> KeysValues {
        cross.keysValues(of: encoded, in: context)
    }
}

extension StackNames {
    /// Before the names of one layer.
    func layer(_ index: Int) -> String { "\(stack)\(layers)\(index)." }
}
