import ArgumentParser
import Files
import Generation
import SeamHost
import Support
import Tokenizers
import Trainer

/// How to generate; what is not given comes from the model's own settings (generation_config.json).
struct GenerationFlags: ParsableArguments {
    @Flag(
        help: """
            Take nothing of the model's own settings (generation_config.json) but its token ids; the rest is as \
            Hugging Face generate has it without them.
            """)
    var ignoreGenerationConfig = false

    @Option(
        help: """
            Of a translator into many languages: the one to write, a token of its tokenizer such as fra_Latn or fr_XX, \
            or fr for __fr__. Default: as the model's own settings say.
            """)
    var targetLanguage: String?

    @Option(help: "Most tokens to generate.")
    var maxNewTokens: Int?

    @Option(help: "Fewest tokens before an end; 0 for no such rule.")
    var minNewTokens: Int?

    @Option(name: .customLong("beams"), help: "Beams of a beam search; 1 is greedy.")
    var beams: Int?

    @Option(help: "Exponent of the length in a beam's score; above 0 favours long texts.")
    var lengthPenalty: Double?

    @Option(
        help: "Above 1 makes tokens that are there, also in the prompt of a decoder, less likely; 1 for no such rule.")
    var repetitionPenalty: Double?

    @Option(help: "No run of this many tokens comes twice, the prompt of a decoder included; 0 for no such rule.")
    var noRepeatNgramSize: Int?

    @Flag(
        inversion: .prefixedNo,
        help: "Draw tokens at random instead of taking the most probable. Default: as the model's own settings say.")
    var sample: Bool?

    @Option(help: "With --sample: divides the scores; above 1 is more random.")
    var temperature: Double?

    @Option(help: "With --sample: draw among the fewest tokens whose probabilities reach this sum.")
    var topP: Double?

    @Option(help: "With --sample: draw among this many best tokens; 0 for all.")
    var topK: Int?

    @Option(name: .customLong("sample-seed"), help: "With --sample: seed. Default: 0.")
    var sampleSeed: UInt64?

    func options(for session: Session, _ tokenizer: Tokenizer) throws -> GenerationOptions {
        var options = try session.defaultGenerationOptions(ignoresFile: ignoreGenerationConfig)
        if let targetLanguage { options.forcedBosToken = try token(of: targetLanguage, session, tokenizer) }
        // One text is written for each source.
        options.numReturnSequences = 1
        if let maxNewTokens { options.maxNewTokens = maxNewTokens }
        if let minNewTokens { options.minNewTokens = minNewTokens }
        if let repetitionPenalty { options.repetitionPenalty = Float(repetitionPenalty) }
        if let noRepeatNgramSize { options.noRepeatNgramSize = noRepeatNgramSize }
        if let beams { options.beams = beams }
        if let lengthPenalty { options.lengthPenalty = lengthPenalty }
        if let temperature { options.temperature = Float(temperature) }
        if let topP { options.topP = topP }
        if let topK { options.topK = topK }
        if let sample { options.sample = sample }
        guard !options.sample || options.beams == 1 else {
            throw SeamError(
                .unsupported, "sampling with \(options.beams) beams is not offered: give --no-sample, or --beams 1")
        }
        options.seed = sampleSeed ?? 0
        try options.validate(vocabularySize: session.backbone.info.vocabSize)
        if !options.sample, let flag = sampling.first(where: \.isGiven)?.name {
            throw SeamError(
                .invalidArgument, "\(flag) is of sampling, and no token is drawn: give --sample, or leave it out")
        }
        guard options.beams > 1 || lengthPenalty == nil else {
            throw SeamError(.invalidArgument, "--length-penalty is of a beam search: give --beams, or leave it out")
        }
        return options
    }

    /// The token that a text of a language begins with.
    private func token(of language: String, _ session: Session, _ tokenizer: Tokenizer) throws -> Int32 {
        guard session.backbone.info.architecture == .encoderDecoder, !session.backbone.info.readsFeatures else {
            throw SeamError(
                .unsupported, "--target-language is for translators, which have an encoder of text and a decoder")
        }
        guard let token = tokenizer.id(of: language) ?? tokenizer.id(of: "__\(language)__") else {
            throw SeamError(
                .invalidArgument,
                "--target-language: the tokenizer has no token \"\(language)\" and no \"__\(language)__\"; expected the"
                    + " token of a language that the model writes")
        }
        return token
    }

    private typealias Given = (name: String, isGiven: Bool)

    private var sampling: [Given] {
        [
            ("--temperature", temperature != nil), ("--top-p", topP != nil), ("--top-k", topK != nil),
            ("--sample-seed", sampleSeed != nil),
        ]
    }

    /// The first of the flags that is given, for what generates nothing.
    var firstGiven: String? {
        let others: [Given] = [
            ("--ignore-generation-config", ignoreGenerationConfig), ("--target-language", targetLanguage != nil),
            ("--max-new-tokens", maxNewTokens != nil),
            ("--min-new-tokens", minNewTokens != nil), ("--beams", beams != nil),
            ("--length-penalty", lengthPenalty != nil), ("--repetition-penalty", repetitionPenalty != nil),
            ("--no-repeat-ngram-size", noRepeatNgramSize != nil),
            (sample == false ? "--no-sample" : "--sample", sample != nil),
        ]
        return (others + sampling).first(where: \.isGiven)?.name
    }
}

struct GenerateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate",
        abstract: "Generate a target for every source text, or write what is said in sound files.",
        discussion: """
            Texts may take different adapters: one that is given as NAME=FOLDER is for those whose route is NAME. They \
            are generated together, in batches.

            Example: seam generate --model model --adapter run/adapter "CCO" "c1ccccc1O"
            Example: seam generate --model model --adapter fr=french --adapter de=german --data texts.jsonl
            Example: seam generate --model whisper-tiny --audio sentence.flac
            """)

    @OptionGroup(title: "Model") var model: ModelOptions
    @OptionGroup(title: "Adapters") var adapters: RoutedAdapterOptions

    @Argument(help: "Source texts. None, and no --data: one a line from standard input.")
    var texts: [String] = []

    @Option(
        help: """
            Source texts from a .jsonl, .csv or .tsv file: the column source, and in the column route, where there is \
            one, the NAME of the adapters that a text takes; empty or null: those without a name.
            """)
    var data: String?

    @Option(help: "The NAME of the adapters that all texts take which are no --data.")
    var route: String?

    @OptionGroup(title: "Speech") var speech: SpeechOptions

    @OptionGroup(title: "Generation") var generation: GenerationFlags

    @Option(help: "Texts in a batch.")
    var batchSize = 32

    @OptionGroup var common: CommonOptions

    func run() throws {
        guard batchSize > 0 else {
            throw SeamError(.invalidArgument, "--batch-size must be positive, found \(batchSize)")
        }
        try checkSpeech()
        let (backbone, tokenizer) = try model.open(try common.makeRuntime())
        let session = Session(backbone: backbone)
        try adapters.attach(to: session)
        if !speech.files.isEmpty { return try transcribe(session, tokenizer) }
        if backbone.info.readsFeatures {
            throw SeamError(.invalidArgument, "\(backbone.name) reads sound, not texts: give --audio FILE")
        }
        let sources = try sources(session)
        adapters.warnOfUntaken(by: sources.routes)
        Interruption.watch()
        let tokens = try sources.tokens(tokenizer, session)
        let generated = try generateAll(
            session, TokenPairs(sources: tokens, targets: tokens, routes: sources.routes), batchSize: batchSize,
            options: try generation.options(for: session, tokenizer), progress: { _ in !Interruption.isRequested })
        for tokens in generated { print(try tokenizer.decode(tokens)) }
    }

    /// Refuses options of speech where texts are given, and texts where sound is.
    private func checkSpeech() throws {
        guard let given = speech.firstGiven else { return }
        guard !speech.files.isEmpty else {
            throw SeamError(.invalidArgument, "\(given) is of sound: give --audio, or leave it out")
        }
        if let other = data.map({ _ in "--data" }) ?? texts.first.map({ "the text " + $0.debugDescription }) {
            throw SeamError(
                .invalidArgument, "--audio takes the place of texts, and \(other) is given: leave one of them out")
        }
    }

    private func transcribe(_ session: Session, _ tokenizer: Tokenizer) throws {
        try session.requireRoute(route)
        adapters.warnOfUntaken(by: [route])
        Interruption.watch()
        let written = try speech.write(
            session, tokenizer, route: route, batchSize: batchSize, options: try generation.options(for: session, tokenizer))
        for (index, lines) in written.enumerated() {
            // The parts of several files are told apart by an empty line.
            if index > 0, speech.timestamps { print() }
            for line in lines { print(line) }
        }
    }

    private func sources(_ session: Session) throws -> RoutedTexts {
        if let data {
            if let stray = texts.first {
                throw SeamError(
                    .invalidArgument, "with --data there is no other text to continue, found \(stray.debugDescription)")
            }
            guard route == nil else {
                throw SeamError(.invalidArgument, "--route is for texts that are no --data, which names routes itself")
            }
            return try RoutedTexts(file: data, in: session)
        }
        var sources = texts
        if sources.isEmpty { sources = try StandardInput.lines() }
        guard !sources.isEmpty else { throw SeamError(.invalidArgument, "there is no source text") }
        return try RoutedTexts(
            GivenTexts(texts: sources, isStandardInput: texts.isEmpty), route: route, in: session)
    }
}
