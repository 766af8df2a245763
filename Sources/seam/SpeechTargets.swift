import ArgumentParser
import Audio
import Datasets
import Files
import Generation
import SeamHost
import Support
import Tokenizers
import Trainer

/// Sound with the texts that are said in it, as a model of speech learns them.
struct SpeechTargets: ParsableArguments {
    @OptionGroup var spoken: LanguageOption

    @Flag(help: "Of sound: leave out what is behind the seconds that the model hears at once.")
    var truncation = false

    /// The first of the options that is given, for what hears nothing.
    var firstGiven: String? { spoken.language != nil ? "--language" : truncation ? "--truncation" : nil }

    /// The features of the sound files, made when they are needed, and the tokens of the texts: those that the model begins
    /// with when it writes, the text with a space in front, as Whisper writes it, and the end.
    /// - Throws: as `AudioFeatureExtractor.init` and `Tokenizer.encode`; `.invalidArgument` where the model would find out
    ///   the language of each row, and for a text that is longer than the model writes.
    func tokens(of texts: TextPairs, _ tokenizer: Tokenizer, _ session: Session) throws -> TokenPairs {
        let extractor = try session.featureExtractor()
        let beginning = try beginning(session)
        let ends = session.backbone.info.eosTokens.first ?? tokenizer.eosToken
        guard let end = ends else {
            throw SeamError(
                .unsupported, "neither the model nor its tokenizer names an eos_token, which is to end every target")
        }
        let targets = try texts.targets.map { text in
            let spaced = text.first?.isWhitespace == false ? " " + text : text
            return beginning + (try tokenizer.encode(spaced, addSpecialTokens: false)) + [end]
        }
        let (paths, longSound) = (texts.sources, truncation ? LongSound.truncate : .refuse)
        var hash = ContentHash()
        for path in paths { hash.update("\(try ContentHash.ofFile(path)) \(truncation)") }
        let features = FeatureSources(
            count: paths.count, frames: extractor.settings.frameCount, width: extractor.settings.featureSize,
            contentHash: hash.hex
        ) { try extractor.features(ofFile: paths[$0], longSound: longSound).values }
        let pairs = TokenPairs(
            features: features, targets: targets, routes: texts.routes,
            origin: TokenPairs.Origin(name: texts.name, lines: texts.lines))
        try pairs.check(fits: session)
        return pairs
    }

    /// What stands between the start token and the text.
    private func beginning(_ session: Session) throws -> [Int32] {
        let options = try spoken.applied(to: session.defaultGenerationOptions())
        guard let start = session.backbone.info.decoderStartToken, let speech = options.speech else { return [] }
        return try speech.beginning(behind: start).dropFirst().map { token in
            guard let token else {
                throw SeamError(
                    .invalidArgument,
                    "the model knows several languages and its settings choose none: give the one that is spoken with --language"
                )
            }
            return token
        }
    }
}
