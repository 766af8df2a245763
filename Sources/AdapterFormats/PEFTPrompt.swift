import Engine
import Files
import SeamHost
import Support

/// Trained prompts as folders of PEFT's prompt tuning, and those of its P-tuning, whose network PEFT computes away.
public enum PEFTPrompt {
    /// Writes the vectors that the adapters attached to a session put before a text, as a folder that
    /// `PeftModel.from_pretrained` reads: adapter_config.json and adapter_model.safetensors (F32), replaced as a whole or
    /// not at all.
    /// - Parameters:
    ///   - baseModel: `base_model_name_or_path`, the model's name or path for whoever loads the folder; nil: none.
    ///   - replaces: whether one of PEFT's that is at `path` is replaced; else it is refused.
    ///   - path: a folder; an adapter of SeamKit's that is there is never replaced.
    /// - Throws: `.unsupported` for what the format has no place for: other adapters, vectors of a decoder beside an
    ///   encoder, vectors that depend on the text; `.numeric` for NaN or infinity.
    public static func export(
        _ session: Session, baseModel: String? = nil, replaces: Bool = true, to path: String
    ) throws {
        if let other = session.adapters.first(where: { !$0.isPrompt }) {
            throw SeamError(
                .unsupported,
                "adapter \"\(other.factory.id)\" is on \(other.seam): PEFT's prompt tuning holds prompts alone, leave it out"
            )
        }
        let info = session.backbone.info
        let prompts = try session.computedPrompts()
        let stack: Stack = info.architecture == .decoderOnly ? .decoder : .encoder
        if stack == .encoder, prompts[Int(Stack.decoder.rawValue)] != nil {
            throw SeamError(
                .unsupported,
                "these adapters put vectors before the decoder's text: PEFT's prompt tuning has them before the encoder's only, train with stack=encoder"
            )
        }
        guard let vectors = prompts[Int(stack.rawValue)] else {
            throw SeamError(.invalidArgument, "there is no prompt to write: give the adapters that make one")
        }
        let numbers = vectors.floats
        if let position = numbers.firstIndex(where: { !$0.isFinite }) {
            throw SeamError(.numeric, "the prompt is not written: it holds NaN or infinity at element \(position)")
        }
        let config = PEFTConfig(promptOf: vectors.shape[0], for: info)
        try config.write(numbers, [config.tokens, config.tokenDim], baseModel: baseModel, replaces: replaces, to: path)
    }

    /// A trained prompt that PEFT saved, as an adapter whose vectors are trained themselves
    /// (reparameterization none), not yet attached.
    ///
    /// For an encoder-decoder PEFT saves as many vectors for the decoder, which it never reads; they are left out, and so
    /// is a classification head beside them, with a warning in the log.
    /// - Parameter folder: one of prompt tuning or P-tuning, with adapter_model.safetensors in F32, F16 or BF16. A pickle
    ///   is never executed.
    /// - Throws: `.notFound` for a missing file; `.format` and `.shape` for a damaged one; `.unsupported` for what is not
    ///   followed; `.incompatible` where the prompt is not one for this backbone; `.numeric`.
    static func adapter(of folder: PEFTFolder, backbone: Backbone) throws -> Adapter {
        let config = try PEFTConfig(folder)
        try config.checkPrompt(for: backbone.info, in: folder.configPath)
        let rows = try config.rows(in: folder, [config.tokenDim], backbone.runtime)
        let adapter = try Adapter(
            backbone: backbone, id: config.method.adapter,
            options: ["prompt_length": .int(Int64(config.tokens)), "reparameterization": "none"])
        guard let parameter = adapter.parameters.entries.first, adapter.parameters.entries.count == 1,
            parameter.tensor.shape == [config.tokens, config.tokenDim]
        else {
            throw SeamError(
                .incompatible,
                "version \(adapter.factory.plugin.version) of \(adapter.origin) keeps its prompt in another form than [prompt, d_model]"
            )
        }
        parameter.tensor.assign(Array(rows.prefix(config.tokens * config.tokenDim)))
        return adapter
    }
}
