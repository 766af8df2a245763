import Files
import Generation
import Support

/// A model's own settings of a generation: those of generation_config.json or, where there is no such file, of
/// config.json, or those of a GGUF file; token ids that neither names are the backbone's.
///
/// docs/model-folders.md lists what becomes of each key.
enum GenerationDefaults {
    static func options(for backbone: Backbone, ignoresFile: Bool = false) throws -> GenerationOptions {
        let info = backbone.info
        try info.requireDecoder()
        let sources = try sources(backbone.model?.files)
        func tokens(_ key: String) throws -> [Int32] {
            try sources.lazy.map { try $0.tokens(key) }.first { !$0.isEmpty } ?? []
        }
        var ends = try tokens("eos_token_id")
        if ends.isEmpty, let end = info.eosToken { ends = [end] }
        guard let pad = try tokens("pad_token_id").first ?? info.padToken ?? ends.first else {
            throw SeamError(.invalidArgument, "the model names neither pad_token_id nor eos_token_id, so it cannot generate")
        }
        // A continuation starts with its prompt: the search's own start token is not shown to the model.
        let isContinuation = info.architecture == .decoderOnly
        let named = isContinuation ? pad : try tokens("decoder_start_token_id").first
        guard let start = named ?? info.decoderStartToken else {
            throw SeamError(.invalidArgument, "the model names no decoder_start_token_id, so it cannot generate")
        }
        var options = GenerationOptions(decoderStartToken: start, eosTokens: ends, padToken: pad)
        if let settings = sources.first, !ignoresFile { try settings.apply(to: &options, isContinuation: isContinuation) }
        if info.maxTargetPositions > 0, options.maxNewTokens > info.maxTargetPositions {
            options.maxNewTokens = info.maxTargetPositions
        }
        return options
    }

    private static func sources(_ files: ModelFiles?) throws -> [GenerationSettings] {
        guard let files else { return [] }
        let config = GenerationSettings(json: files.config, name: files.configPath)
        if let generation = files.generation { return [GenerationSettings(json: generation, name: files.configPath), config] }
        guard let path = files.folder.map({ FileSystem.join($0, "generation_config.json") }), FileSystem.exists(path) else {
            return [config]
        }
        let json = try JSON.read(path)
        guard json.objectValue != nil else {
            throw SeamError(.format, "\(path): expected a JSON object, found \(json.kind)")
        }
        return [GenerationSettings(json: json, name: path), config]
    }
}
