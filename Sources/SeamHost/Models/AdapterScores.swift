import CSeam
import Engine
import Support

// An adapter on decoder.output, which may read the answers to several prompts about each text.
extension Adapter {
    /// - Throws: `.invalidArgument` for a number out of range, `.unsupported` for several prompts on another seam or of an
    ///   adapter that reads one.
    static func check(prompts: Int, of factory: AdapterFactory, on seam: String) throws {
        // It may come from the file of a saved adapter, and go to a plugin.
        guard prompts >= 1, prompts <= 1 << 20 else {
            throw SeamError(.invalidArgument, "the number of prompts must be 1 ... \(1 << 20), found \(prompts)")
        }
        guard prompts == 1 || factory.readsPrompts && seam == SEAM_DECODER_OUTPUT else {
            throw SeamError(
                .unsupported, "adapter \"\(factory.id)\" on \(seam) reads one prompt about each text, found \(prompts)")
        }
    }

    /// The axis of prompts in the shape of what flows in, also of one; empty where there is none.
    var promptAxis: [Int] { factory.readsPrompts && seam == SEAM_DECODER_OUTPUT ? [prompts] : [] }

    /// The tensors as the plugin reads them, of an adapter on decoder.output.
    /// - Parameter inputs: scores and hidden, and what else there is of their first sizes: [examples, prompts, width], of
    ///   one prompt also [examples, width].
    public func withPromptAxis(_ inputs: [Tensor], in context: Context) throws -> [Tensor] {
        try inputs.map { input in
            let width = input.shape[input.rank - 1]
            let rows = input.shape[0]
            return context.retain(
                try context.reshape(input, Shape([rows] + promptAxis + [width])))
        }
    }

    /// Runs an adapter on decoder.output.
    /// - Parameters:
    ///   - scores: [examples, prompts, classes], of one prompt also [examples, classes].
    ///   - hidden: [examples, prompts, d_model], of one prompt also [examples, d_model].
    /// - Returns: scores [examples, classes], alive as long as the context.
    public func scores(_ context: Context, scores: Tensor, hidden: Tensor, training: Bool) throws -> Tensor {
        try forward(
            context, inputs: withPromptAxis([scores, hidden], in: context), expected: [[scores.shape[0], classes]],
            training: training)[0]
    }
}

/// The mean over the prompts of x [examples, prompts, width]: [examples, width], alive as long as the context.
public func meanOverPrompts(_ x: Tensor, in context: Context) throws -> Tensor {
    x.rank == 2 ? x : context.retain(try context.mean(x, axis: 1, keep: false))
}
