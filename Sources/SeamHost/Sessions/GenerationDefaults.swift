import Files
import Generation
import Support

/// A model's own settings of a generation: those of generation_config.json or, where there is no such file, of
/// config.json, or those of a GGUF file.
///
/// End tokens are those of that one file, as in transformers; other token ids that it does not name are those of
/// config.json or of the backbone. docs/model-folders.md lists what becomes of each key.
enum GenerationDefaults {
    static func options(for backbone: Backbone, ignoresFile: Bool = false) throws -> GenerationOptions {
        let info = backbone.info
        try info.requireDecoder()
        let sources = try sources(backbone.model?.files)
        /// Ids below 0 stand for none.
        func first(of keys: String...) throws -> Int32? {
            for source in sources {
                for key in keys {
                    if let token = try source.tokens(key).first(where: { $0 >= 0 }) { return token }
                }
            }
            return nil
        }
        let ends = try sources.first.map { try $0.tokens("eos_token_id").filter { $0 >= 0 } } ?? info.eosTokens
        // It is fed to rows that have ended and never part of a result, so that any will do.
        let pad = try first(of: "pad_token_id") ?? info.padToken ?? ends.first ?? 0
        // A continuation starts with its prompt: the search's own start token is not shown to the model.
        let isContinuation = info.architecture == .decoderOnly
        let named = isContinuation ? pad : try first(of: "decoder_start_token_id", "bos_token_id")
        guard let start = named ?? info.decoderStartToken ?? info.bosToken else {
            throw SeamError(
                .invalidArgument,
                "the model names neither decoder_start_token_id nor bos_token_id, so it cannot generate")
        }
        var options = GenerationOptions(decoderStartToken: start, eosTokens: ends, padToken: pad)
        if let settings = sources.first, !ignoresFile {
            let forced = try info.readsFeatures ? sources.lazy.compactMap { try $0.forcedTokens() }.first ?? [] : nil
            try settings.apply(to: &options, isContinuation: isContinuation, forced: forced)
        }
        guard info.maxTargetPositions > 0 else { return options }
        if options.maxLength == nil, options.maxNewTokens > info.maxTargetPositions {
            options.maxNewTokens = info.maxTargetPositions
        }
        options.fitsRoom = true
        return options
    }

    private static func sources(_ files: ModelFiles?) throws -> [GenerationSettings] {
        guard let files else { return [] }
        let config = GenerationSettings(json: files.config, name: files.configPath)
        if let generation = files.generation {
            return [GenerationSettings(json: generation, name: files.configPath), config]
        }
        guard let path = files.folder.map({ FileSystem.join($0, "generation_config.json") }), FileSystem.exists(path)
        else {
            return [config]
        }
        let json = try JSON.read(path)
        guard json.objectValue != nil else {
            throw SeamError(.format, "\(path): expected a JSON object, found \(json.kind)")
        }
        return [GenerationSettings(json: json, name: path), config]
    }
}
