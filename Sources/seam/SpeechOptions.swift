import ArgumentParser
import Audio
import Generation
import SeamHost
import Support

/// Sound in the place of source texts, and what a model of speech is asked to write of it.
struct SpeechOptions: ParsableArguments {
    @Option(
        name: .customLong("audio"),
        help: """
            Sound file (WAV, FLAC, Ogg ...) in the place of a source text, for a model of speech. May be repeated.
            """)
    var files: [String] = []

    @Flag(help: "Leave out what is behind the seconds that the model hears at once; without it such a file is refused.")
    var truncation = false

    @Option(help: "Language that is spoken, such as de. Default: as the model's own settings say, or found out.")
    var language: String?

    @Option(help: "What is written: transcribe, or translate for English. Default: as the model's own settings say.")
    var task: String?

    /// The first of the options that is given, for what hears nothing.
    var firstGiven: String? {
        let given = [
            ("--audio", !files.isEmpty), ("--truncation", truncation), ("--language", language != nil),
            ("--task", task != nil),
        ]
        return given.first(where: \.1)?.0
    }

    /// The options with the language and the task that are asked for.
    func applied(to options: GenerationOptions) throws -> GenerationOptions {
        guard language != nil || task != nil else { return options }
        var options = options
        guard options.speech != nil else {
            throw SeamError(
                .unsupported,
                "--\(language != nil ? "language" : "task") is for models whose own settings name languages and tasks,"
                    + " and this one's do not")
        }
        try options.speech?.choose(language: language, task: task)
        return options
    }

    /// The tokens that the model writes for each file, in order; all files take the adapters of one route.
    func generate(
        _ session: Session, model: String?, route: String?, batchSize: Int, options: GenerationOptions
    ) throws -> [[Int32]] {
        let info = session.backbone.info
        guard info.readsFeatures, let model else {
            throw SeamError(
                .unsupported, "--audio is for models of speech, and \(session.backbone.name) reads texts")
        }
        let extractor = try AudioFeatureExtractor(model: model)
        guard extractor.settings.featureSize == info.featureWidth else {
            throw SeamError(
                .incompatible,
                "\(model): the model reads features of \(info.featureWidth) numbers, and its feature extractor makes"
                    + " \(extractor.settings.featureSize)")
        }
        var found: [[Int32]] = []
        for start in stride(from: 0, to: files.count, by: batchSize) {
            let part = files[start..<min(start + batchSize, files.count)]
            let features = try part.flatMap { path in
                try extractor.features(ofFile: path, truncation: truncation).values
            }
            let batch = try Batch(
                count: part.count, sourceLength: extractor.settings.frameCount, inputFeatures: features,
                routes: route == nil ? [] : [String?](repeating: route, count: part.count), info: info)
            let isWanted: (GenerationProgress) -> Bool = { _ in !Interruption.isRequested }
            found += try session.generate(batch, options: options, progress: isWanted).map { $0[0].tokens }
        }
        return found
    }
}
