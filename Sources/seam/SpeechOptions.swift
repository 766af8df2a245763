import ArgumentParser
import Audio
import Generation
import SeamHost
import Support
import Tokenizers

/// Sound in the place of source texts, and what a model of speech is asked to write of it.
struct SpeechOptions: ParsableArguments {
    @Option(
        name: .customLong("audio"),
        help: """
            Sound file (WAV, FLAC, Ogg ...) of any length in the place of a source text, for a model of speech. May be \
            repeated.
            """)
    var files: [String] = []

    @Flag(
        help: """
            Leave out what is behind the seconds that the model hears at once; without it such a file is written window \
            by window.
            """)
    var truncation = false

    @Flag(help: "Write each part of a file on a line of its own, with the seconds of its beginning and end.")
    var timestamps = false

    @OptionGroup var spoken: LanguageOption

    @Option(help: "What is written: transcribe, or translate for English. Default: as the model's own settings say.")
    var task: String?

    /// The first of the options that is given, for what hears nothing.
    var firstGiven: String? {
        let given = [
            ("--audio", !files.isEmpty), ("--truncation", truncation), ("--timestamps", timestamps),
            ("--language", spoken.language != nil), ("--task", task != nil),
        ]
        return given.first(where: \.1)?.0
    }

    /// The lines that the model writes of each file, in order; all files take the adapters of one route. Those that it hears
    /// at once are written together, in batches.
    /// - Throws: as `Session.featureExtractor`, `AudioFeatureExtractor.features(ofFile:longSound:)`, `Session.generate` and
    ///   `Session.transcribe`; `.unsupported` for a longer file, and times, of a model whose settings name no times.
    func write(
        _ session: Session, _ tokenizer: Tokenizer, route: String?, batchSize: Int, options: GenerationOptions
    ) throws -> [[String]] {
        let extractor = try session.featureExtractor()
        let longSound: LongSound = truncation ? .truncate : .whole
        let options = try spoken.applied(to: options, task: task)
        let areLong = try files.map {
            try extractor.frameCount(ofFile: $0, longSound: longSound) > extractor.settings.frameCount
        }
        if timestamps { try requireTimes(options, session, "--timestamps takes") }
        if let long = areLong.firstIndex(of: true) {
            try requireTimes(
                options, session,
                "\"\(files[long])\" is longer than the \(extractor.settings.chunkLength) s that the model hears at once:"
                    + " cut it, or give --truncation, since to write it window by window takes")
        }
        var lines: [[String]] = []
        while lines.count < files.count {
            let next = lines.count
            if timestamps || areLong[next] {
                let features = try extractor.features(ofFile: files[next], longSound: longSound)
                lines.append(
                    try transcribe(
                        features, extractor.settings, session, tokenizer, route: route, options: options))
            } else {
                let count = areLong[next...].prefix(batchSize).prefix { !$0 }.count
                let features = try files[next..<next + count].flatMap {
                    try extractor.features(ofFile: $0, longSound: longSound).values
                }
                let batch = try Batch(
                    count: count, sourceLength: extractor.settings.frameCount, inputFeatures: features,
                    routes: route == nil ? [] : [String?](repeating: route, count: count), info: session.backbone.info)
                let isWanted: (GenerationProgress) -> Bool = { _ in !Interruption.isRequested }
                lines += try session.generate(batch, options: options, progress: isWanted).map {
                    [try text($0[0].tokens, tokenizer, options)]
                }
            }
        }
        return lines
    }

    /// The lines of one file, written with times.
    private func transcribe(
        _ features: AudioFeatures, _ settings: FeatureSettings, _ session: Session, _ tokenizer: Tokenizer,
        route: String?, options: GenerationOptions
    ) throws -> [String] {
        var options = options
        options.speech?.returnsTimestamps = true
        let parts = try session.transcribe(
            features: features.values, route: route, options: options,
            secondsPerFrame: Double(settings.hopLength) / Double(settings.samplingRate)
        ) { _, _ in !Interruption.isRequested }
        guard timestamps else { return [try text(parts.flatMap(\.tokens), tokenizer, options)] }
        return try parts.map { part in
            let text = try text(part.tokens, tokenizer, options).drop(while: \.isWhitespace)
            return "[\(fixed(part.start, 2)) --> \(fixed(part.end, 2))] \(text)"
        }
    }

    /// The text of tokens without the times, which a tokenizer need not know as special tokens.
    private func text(_ tokens: [Int32], _ tokenizer: Tokenizer, _ options: GenerationOptions) throws -> String {
        guard let last = options.speech?.noTimestampsToken else { return try tokenizer.decode(tokens) }
        return try tokenizer.decode(tokens.filter { $0 <= last })
    }

    /// Throws where the model has no tokens of times; `reason` is the beginning of the sentence.
    private func requireTimes(_ options: GenerationOptions, _ session: Session, _ reason: String) throws {
        if let last = options.speech?.noTimestampsToken, Int(last) + 1 < session.backbone.info.vocabSize { return }
        throw SeamError(
            .unsupported,
            "\(reason) tokens of times, which the model's own settings name (no_timestamps_token_id); these do not, or are"
                + " ignored")
    }
}
