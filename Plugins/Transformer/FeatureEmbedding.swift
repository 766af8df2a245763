import SeamPlugin

/// Frames of features to the first hidden states of an encoder: two convolutions over time, each with a GELU behind it, the
/// second of which makes one position of two frames, and vectors by position (Whisper, Radford et al. 2022, section 2.2).
///
/// A frame that the mask hides is as none: convolutions see 0 there, as they do beyond the ends, and attention does not
/// see its position, so that a row has the states that its own frames have alone. transformers knows no mask here: what it
/// computes is what all frames of a row give.
struct FeatureEmbedding {
    /// Frames of a position.
    static let stride = 2

    private let first, second: Convolution
    /// [positions, d_model]
    private let positions: Parameter

    init(_ weights: Weights, _ names: StackNames, _ features: Family.Features, _ family: Family) {
        first = Convolution(
            weights, names.stack + features.firstConvolution, from: features.width, to: family.dModel, stride: 1)
        second = Convolution(
            weights, names.stack + features.secondConvolution, from: family.dModel, to: family.dModel,
            stride: Self.stride)
        positions = weights.parameter(
            names.embedding.positions, [features.limit, family.dModel], frozen: true)
    }

    /// States without positions, [batch, frames / 2 rounded up, d_model], with their mask: that of each pair's first frame.
    /// - Parameters:
    ///   - features: [batch, frames, width].
    ///   - mask: [batch, frames] i32.
    func states(_ features: Tensor, mask: Tensor, in context: Context) -> EmbeddedTokens {
        let shown = mask.cast(to: .f32).reshape([features.size(0), features.size(1), 1])
        let x = context.scope {
            let inner = first(features * shown, in: context).gelu() * shown
            return second(inner, in: context).gelu()
        }
        return EmbeddedTokens(x: x, mask: positionMask(mask, in: context), positions: nil)
    }

    /// The mask of positions, [batch, positions] i32, from that of frames.
    func positionMask(_ mask: Tensor, in context: Context) -> Tensor {
        let (batch, frames) = (mask.size(0), mask.size(1))
        let count = (frames + Self.stride - 1) / Self.stride
        let rest = count * Self.stride - frames
        let pairs = rest == 0 ? mask : mask.concat([context.full(0, [batch, rest], .i32)], axis: 1)
        return pairs.reshape([batch, count, Self.stride]).slice(2, from: 0, length: 1).reshape([batch, count])
    }

    /// The states at their positions, from 0.
    func placed(_ x: Tensor, in context: Context) -> Tensor {
        x + context[positions].slice(0, from: 0, length: x.size(1)).cast(to: .f32)
    }
}

/// A convolution over time of three taps, with a frame of 0 beyond each end: a product of each place's three frames, side
/// by side, with the taps' matrices.
private struct Convolution {
    private static let taps = 3

    /// [out, in, taps], as files have it.
    private let weight: Parameter
    private let bias: Parameter
    private let input, output, stride: Int

    init(_ weights: Weights, _ name: String, from input: Int, to output: Int, stride: Int) {
        weight = weights.parameter(name + ".weight", [output, input, Self.taps])
        bias = weights.parameter(name + ".bias", [output])
        (self.input, self.output, self.stride) = (input, output, stride)
    }

    /// [batch, frames, in] to [batch, frames / stride rounded up, out].
    func callAsFunction(_ x: Tensor, in context: Context) -> Tensor {
        let (batch, frames) = (x.size(0), x.size(1))
        let count = (frames + stride - 1) / stride
        // Frames by `stride` side by side, so that each tap's frames are a slice.
        let rows = count + (Self.taps - 1) / stride
        func nothing(_ frames: Int) -> Tensor { context.full(0, [batch, frames, input]) }
        let padded = nothing(1).concat([x, nothing(rows * stride - frames - 1)], axis: 1)
            .reshape([batch, rows, stride * input])
        func tap(_ index: Int) -> Tensor {
            padded.slice(1, from: index / stride, length: count)
                .slice(2, from: index % stride * input, length: input)
        }
        let matrix = context[weight].permute([0, 2, 1]).reshape([output, Self.taps * input])
        return tap(0).concat((1..<Self.taps).map(tap), axis: 2).linear(matrix, context[bias])
    }
}
